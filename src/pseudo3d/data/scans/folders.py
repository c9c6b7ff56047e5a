"""Scans in folders: one folder per class, perhaps below splits, or scans beside their masks."""

from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from pseudo3d.data.folders import SPLITS
from pseudo3d.data.scans.item import ScanItem
from pseudo3d.data.scans.names import is_scan, pairs, stem
from pseudo3d.errors import ManifestError

Found = tuple[list[ScanItem], list[Path]]


def read_folder(root: Path) -> Found:
    """Scans with their targets, and the entries that are left out.

    Raises:
        ManifestError: folders of classes beside folders of splits.
    """
    beside = pairs(root)
    return _by_class(root) if beside is None else _masked(*beside)


def _masked(images: Path, labels: Path) -> Found:
    """Scans with the mask of the same name; one without the other is left out."""
    scans, rest = _parted(images)
    targets, others = _parted(labels)
    masks, named = {_name(p): p for p in targets}, {_name(p) for p in scans}
    items = [
        ScanItem(path=p, label="", mask=masks[_name(p)], group=_name(p))
        for p in scans
        if _name(p) in masks
    ]
    alone = [p for p in scans if _name(p) not in masks]
    return items, [*rest, *others, *alone, *(p for p in targets if _name(p) not in named)]


def _name(path: Path) -> str:
    """The stem, however its accents are written."""
    return normalize("NFC", stem(path))


def _by_class(root: Path) -> Found:
    tops = _folders(root)
    splits = [top for top in tops if top.name.lower() in SPLITS]
    left = [p for p in sorted(root.iterdir()) if p.is_file() and _is_shown(p) and is_scan(p)]
    if not splits:
        return _collected([(top, None) for top in tops], left)
    for top in tops:
        if top not in splits and (scans := _parted(top)[0]):
            raise ManifestError(
                f"{root} holds {splits[0].name}, a split, and beside it {top.name} with "
                f"{len(scans)} scans; put the classes into {', '.join(p.name for p in splits)}, "
                "or all of them side by side"
            )
    homes = [(f, SPLITS[top.name.lower()]) for top in splits for f in _folders(top)]
    return _collected(homes, [*left, *(top for top in tops if top not in splits)])


def _collected(homes: Sequence[tuple[Path, str | None]], left: list[Path]) -> Found:
    items: list[ScanItem] = []
    for folder, split in homes:
        scans, rest = _parted(folder)
        label = normalize("NFC", folder.name)  # typed on two systems, its bytes may differ
        items += [ScanItem(path=p, label=label, split=split) for p in scans]
        left = [*left, *rest]
    return items, left


def _parted(folder: Path) -> tuple[list[Path], list[Path]]:
    """The scans directly in a folder (a folder of DICOM is one), and all else but hidden files."""
    scans: list[Path] = []
    rest: list[Path] = []
    for path in filter(_is_shown, sorted(folder.iterdir())):
        (scans if is_scan(path) else rest).append(path)
    return scans, rest


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and _is_shown(p))


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")
