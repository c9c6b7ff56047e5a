"""Which files are scans, and what they are called."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pseudo3d.data.scans.dicom_headers import is_dicom

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".npy", ".npz", ".ima")
_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
_EACH, _MOST = 500, 5000  # files looked into: of one folder, and in all; a slow disk takes seconds


def is_scan(path: Path) -> bool:
    """Whether a path is a scan: a file by its name or mark, a folder by DICOM in or below it.

    Other files beside the images, whatever their names, do not count; in a folder only the first
    thousands of files are looked into.
    """
    if path.is_dir():
        return any(map(_opens_as_dicom, files_below(path, _EACH, _MOST)))
    return path.name.lower().endswith(SUFFIXES) or (path.is_file() and _is_marked(path))


def holds_dicom(folder: Path) -> bool:
    """Whether DICOM lies directly in a folder, which makes it one scan."""
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))
    return any(map(_opens_as_dicom, islice(files, _EACH)))


def files_below(folder: Path, each: int, most: int) -> Iterator[Path]:
    """At most `most` files in and below a folder, `each` of one folder; hidden ones left out."""

    def walk() -> Iterator[Path]:
        for home, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            shown = sorted(name for name in names if not name.startswith("."))
            yield from (Path(home, name) for name in shown[:each])

    return islice(walk(), most)


def _opens_as_dicom(path: Path) -> bool:
    """As the reader of a folder knows its files: old ones without the mark count, too."""
    try:
        return path.is_file() and is_dicom(path)
    except OSError:  # what may not be read is no reason to refuse what lies beside it
        return False


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def pairs(root: Path) -> tuple[Path, Path] | None:
    """The folders of scans and of masks, where there are both."""
    for images, labels in _FOLDERS:
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
    return None


def stem(path: Path) -> str:
    """Name without the suffix, .nii.gz included; nnU-Net's channel number is no part of it."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return name.removesuffix("_0000")
