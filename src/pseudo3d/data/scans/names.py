"""Which files are scans, and what they are called."""

from pathlib import Path

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".npy", ".npz", ".ima")
_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))


def is_scan(path: Path) -> bool:
    """Whether a path is a scan by its name, or by the mark of a DICOM file."""
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        return bool(inside) and _is_dicom(inside[0])
    return path.name.lower().endswith(SUFFIXES) or (path.is_file() and _is_dicom(path))


def _is_dicom(path: Path) -> bool:
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
