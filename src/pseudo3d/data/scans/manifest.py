"""Lists of scans with what is to be learned from each: a class, a mask or a number.

CSV: header `path` with `label`, `mask` or `value` and optional `group`, `split`; relative paths
start at the CSV. Stacks of volumes in one npz, as MedMNIST (train_images, train_labels, ...) and
the voxel sets (X_train, y_train, ...) have them. A folder per class, and a folder with `images` and
`labels` (imagesTr and labelsTr of the Medical Segmentation Decathlon).
"""

import csv
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from unicodedata import normalize

from pseudo3d.data.manifest import SPLITS, Manifest, spelled
from pseudo3d.data.parting import units
from pseudo3d.data.scans.folders import read_folder
from pseudo3d.data.scans.item import ScanItem as ScanItem
from pseudo3d.data.scans.names import files_below, is_scan, pairs
from pseudo3d.data.scans.stacks import read_targets
from pseudo3d.data.table import read_table
from pseudo3d.data.there import exists
from pseudo3d.errors import ManifestError, unknown

Task = Literal["classify", "segment", "regress"]
_log = logging.getLogger(__name__)
COLUMNS = ("path", "array", "index", "label", "mask", "value", "group", "split")


@dataclass(frozen=True)
class ScanManifest(Manifest):
    """Scans with their targets; splits by group as for videos.

    `classes` names the labels, the values in the masks (background first), or the one value.
    """

    items: tuple[ScanItem, ...]
    task: Task = "classify"

    def split(self, name: str) -> "ScanManifest":
        """Scans of one split."""
        return cast(ScanManifest, super().split(name))

    def hold_out(self, groups: Iterable[str]) -> tuple["ScanManifest", "ScanManifest"]:
        """Part the scans: (all other groups, the groups named)."""
        rest, held = super().hold_out(groups)
        return cast(ScanManifest, rest), cast(ScanManifest, held)

    def split_by_group(self, fraction: float, seed: int) -> tuple["ScanManifest", "ScanManifest"]:
        """Part the scans: (the rest, about `fraction` of every class), no group in both."""
        rest, held = super().split_by_group(fraction, seed)
        return cast(ScanManifest, rest), cast(ScanManifest, held)

    def pick(self, keep: Iterable[bool]) -> "ScanManifest":
        """The scans whose entry is true."""
        return cast(ScanManifest, self._only(keep))

    @property
    def values(self) -> list[float]:
        """The number of each item; regress only."""
        return [item.value for item in self.items if item.value is not None]


def holds_scans(path: str | Path) -> bool:
    """Whether a list or folder is one of scans; else it is one of videos."""
    path = Path(path)
    if not path.exists():
        return False
    table = path / "manifest.csv" if path.is_dir() else path
    if table.suffix.lower() == ".npz":
        return True
    if table.is_file():
        if table.suffix.lower() != ".csv":
            return False
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            names = [name.strip().lower() for name in next(reader, [])]
            first = dict(zip(names, next(reader, []), strict=False)).get("path", "").strip()
        if {"mask", "value"} & {*names}:
            return True
        return bool(first) and is_scan(table.parent / first)
    if pairs(path) is not None:
        return True
    return any(map(is_scan, files_below(path, 20, 200)))


def read_scans(path: str | Path, classes: Sequence[str] | None = None) -> ScanManifest:
    """Read a list of scans; what a folder holds beside them is named in `skipped` and the log.

    Args:
        classes: names in the order wanted (those of a trained network); None takes the labels,
            sorted, or the values found in the masks.
    Raises:
        ManifestError: the list contradicts itself or the disk; the message says where.
    """
    path = Path(path)
    if not path.exists():
        raise ManifestError(f"{path} does not exist: give a CSV, a stack (npz) or a folder")
    table = path / "manifest.csv" if path.is_dir() else path
    skipped: list[Path] = []
    if table.suffix.lower() == ".npz":
        items = _stacked(table)
    elif table.is_file():
        items = _read_csv(table)
    else:
        items, skipped = read_folder(path)
    if not items:
        raise ManifestError(
            f"{path} lists no scans: wanted rows of path,label (or mask, or value), a stack with "
            "train_images and train_labels, class folders, or folders images and labels"
        )
    _tell(path, skipped)
    _check(path, items)
    items = spelled(items, classes or ())
    task = _task(path, items)
    names = tuple(_classes(path, items, task) if classes is None else classes)
    for label in sorted({item.label for item in items}) if task == "classify" else ():
        if label not in names:
            raise ManifestError(f"{path}: {unknown('class of the network', label, names)}")
    return ScanManifest(items=tuple(items), classes=names, skipped=tuple(skipped), task=task)


def _tell(path: Path, skipped: list[Path]) -> None:
    if skipped:
        named = _some([str(p.relative_to(path)) for p in skipped])
        _log.warning("%s: %d entries are no scans with a target: %s", path, len(skipped), named)


def _task(path: Path, items: list[ScanItem]) -> Task:
    has: dict[Task, int] = {
        "segment": sum(item.mask is not None for item in items),
        "regress": sum(item.value is not None for item in items),
        "classify": sum(bool(item.label) for item in items),
    }
    full: list[Task] = [task for task, count in has.items() if count == len(items)]
    if not full:
        told = ", ".join(f"{n} for {task}" for task, n in has.items())
        raise ManifestError(
            f"{path}: of {len(items)} scans not all have the same target ({told}); fill one of the "
            "columns label, mask, value in every row"
        )
    return full[0]


def _classes(path: Path, items: list[ScanItem], task: Task) -> list[str]:
    if task == "regress":
        return ["value"]
    if task == "classify":
        found = {item.label for item in items}
        if len(found) < 2:
            raise ManifestError(f"{path} holds one class, {found.pop()!r}: two or more are wanted")
        return sorted(found, key=_by_number)
    from pseudo3d.data.scans.masks import mask_values

    masks = [item.mask for item in items if item.mask is not None]
    highest = max(mask_values(masks))
    if highest < 1:
        raise ManifestError(f"{path}: the masks hold background only; wanted labels 1, 2, ...")
    return ["background", *(str(i) for i in range(1, highest + 1))]


def _by_number(name: str) -> tuple[float, str]:
    """Numbers in their order, then names."""
    return (float(name), name) if name.isdecimal() else (math.inf, name)


def _stacked(path: Path) -> list[ScanItem]:
    """Every volume of an npz file; nothing is known of whose they are."""
    return [
        ScanItem(
            path=path,
            label=str(target) if isinstance(target, int) else "",
            value=target if isinstance(target, float) else None,
            array=array,
            index=i,
            group=f"{split} {i}",
            split=split,
        )
        for split, array, targets in read_targets(path)
        for i, target in enumerate(targets)
    ]


def _read_csv(path: Path) -> list[ScanItem]:
    header, rows = read_table(path)
    if "path" not in header or not {*header} & {"label", "mask", "value"}:
        raise ManifestError(
            f"{path} has the columns {', '.join(header)}; wanted path and one of label, mask, "
            "value, and optionally group, split"
        )
    return [_row(path, where, row) for where, row in rows]


def _row(path: Path, where: str, row: dict[str, str]) -> ScanItem:
    if not row["path"]:
        raise ManifestError(f"{where}: empty path; fill it in or remove the row")
    split = row.get("split", "")
    if split and split.lower() not in SPLITS:
        raise ManifestError(f"{where}: {unknown('split', split, SPLITS)}")
    mask, index = row.get("mask", ""), row.get("index", "")
    if index and not index.isdecimal():
        raise ManifestError(f"{where}: index is {index!r}; wanted a whole number, 0 or more")
    return ScanItem(
        path=path.parent / row["path"],
        label=normalize("NFC", row.get("label", "")),
        mask=path.parent / mask if mask else None,
        value=_number(where, row.get("value", "")),
        array=row.get("array") or None,
        index=int(index) if index else None,
        group=normalize("NFC", row.get("group", "")) or None,
        split=SPLITS[split.lower()] if split else None,
    )


def _number(where: str, text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise ManifestError(f"{where}: value is {text!r}; wanted a finite number")
    return value


def _check(path: Path, items: list[ScanItem]) -> None:
    """Files are there, nothing is listed twice, no group on both sides of a split."""
    files = {p for item in items for p in (item.path, item.mask) if p is not None}
    if missing := sorted(str(p) for p in files if not exists(p)):
        raise ManifestError(
            f"{path}: {len(missing)} of {len(files)} files are missing: {_some(missing)}; paths "
            "start at the folder of the CSV; correct them or remove the rows"
        )
    if twice := [name for name, n in Counter(item.name for item in items).items() if n > 1]:
        raise ManifestError(f"{path}: {len(twice)} scans are listed twice: {_some(twice)}")
    sides: dict[str, set[str]] = {}
    for unit, item in zip(units(items), items, strict=True):
        if item.split is not None:
            sides.setdefault(unit, set()).add(item.split)
    if torn := sorted(group for group, found in sides.items() if len(found) > 1):
        raise ManifestError(
            f"{path}: {len(torn)} groups are on both sides of a split: {_some(torn)}; give each "
            "group to one split (volumes of one file are a group, unless `group` says otherwise)"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def write_scans(items: Sequence[ScanItem], path: Path) -> None:
    """Write a CSV that reads back the same."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for item in items:
                mask = item.mask.absolute() if item.mask is not None else None
                rest = (item.label, mask, item.value, item.group, item.split)
                rows.writerow([item.path.absolute(), item.array, item.index, *rest])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
