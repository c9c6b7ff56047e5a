"""Lists of scans with what is to be learned from each: a class, a mask or a number.

CSV: header `path` with `label`, `mask` or `value` and optional `group`, `split`; relative paths
start at the CSV. Stacks of volumes in one npz, as MedMNIST (train_images, train_labels, ...) and
the voxel sets (X_train, y_train, ...) have them. A folder per class, and a folder with `images` and
`labels` (imagesTr and labelsTr of the Medical Segmentation Decathlon).
"""

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from pseudo3d.data.manifest import SPLITS, Item, Manifest
from pseudo3d.data.scans.names import is_scan, pairs, stem
from pseudo3d.data.scans.stacks import read_targets
from pseudo3d.data.there import exists
from pseudo3d.errors import ManifestError, unknown

Task = Literal["classify", "segment", "regress"]
COLUMNS = ("path", "array", "index", "label", "mask", "value", "group", "split")


@dataclass(frozen=True, kw_only=True)
class ScanItem(Item):
    """One scan and what is known of it; `label` is empty where the task is no classification."""

    mask: Path | None = None
    value: float | None = None
    array: str | None = None  # npz: name of the stack that holds the volume
    index: int | None = None  # npz: its number in the stack

    @property
    def name(self) -> str:
        """The file, and where in it."""
        return f"{self.path}" if self.index is None else f"{self.path}[{self.array}][{self.index}]"


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
            reader = csv.DictReader(file)
            names, first = set(reader.fieldnames or ()), next(reader, None)
        if names & {"mask", "value"} or first is None:
            return bool(names & {"mask", "value"})
        return is_scan(table.parent / (first.get("path") or ""))
    if pairs(path) is not None:
        return True
    return any(is_scan(p) for p in sorted(path.rglob("*"))[:50] if not p.is_dir())


def read_scans(path: str | Path, classes: Sequence[str] | None = None) -> ScanManifest:
    """Read a list of scans.

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
    if table.suffix.lower() == ".npz":
        items = _stacked(table)
    elif table.is_file():
        items = _read_csv(table)
    else:
        items = _read_folder(path)
    if not items:
        raise ManifestError(
            f"{path} lists no scans: wanted rows of path,label (or mask, or value), a stack with "
            "train_images and train_labels, class folders, or folders images and labels"
        )
    _check(path, items)
    task = _task(path, items)
    found = _classes(path, items, task)
    names = tuple(found if classes is None else classes)
    for label in sorted({item.label for item in items}) if task == "classify" else ():
        if label not in names:
            raise ManifestError(f"{path}: {unknown('class of the network', label, names)}")
    return ScanManifest(items=tuple(items), classes=names, task=task)


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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = set(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as err:
        raise ManifestError(f"{path} is no CSV in UTF-8: {err}; save it as such") from err
    if "path" not in header or not header & {"label", "mask", "value"}:
        raise ManifestError(
            f"{path} has the columns {', '.join(sorted(header))}; wanted path and one of "
            "label, mask, value, and optionally group, split"
        )
    return [
        _row(path, f"{path}, row {n}", {k: (v or "").strip() for k, v in row.items() if k})
        for n, row in enumerate(rows, start=2)
    ]


def _row(path: Path, where: str, row: dict[str, str]) -> ScanItem:
    if not row["path"]:
        raise ManifestError(f"{where}: empty path; fill it in or remove the row")
    split = row.get("split", "")
    if split and split.lower() not in SPLITS:
        raise ManifestError(f"{where}: {unknown('split', split, SPLITS)}")
    mask, value = row.get("mask", ""), row.get("value", "")
    try:
        number = float(value) if value else None
        index = int(row["index"]) if row.get("index") else None
    except ValueError:
        raise ManifestError(f"{where}: value is {value!r}; wanted a number") from None
    if number is not None and not math.isfinite(number):
        raise ManifestError(f"{where}: value is {value!r}; wanted a finite number")
    return ScanItem(
        path=path.parent / row["path"],
        label=row.get("label", ""),
        mask=path.parent / mask if mask else None,
        value=number,
        array=row.get("array") or None,
        index=index,
        group=row.get("group") or None,
        split=SPLITS[split.lower()] if split else None,
    )


def _read_folder(root: Path) -> list[ScanItem]:
    found = pairs(root)
    if found is not None:
        images, labels = found
        masks = {stem(p): p for p in sorted(labels.iterdir()) if is_scan(p)}
        return [
            ScanItem(path=p, label="", mask=masks[stem(p)], group=stem(p))
            for p in sorted(images.iterdir())
            if is_scan(p) and not p.name.startswith(".") and stem(p) in masks
        ]
    tops = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    split = bool(tops) and all(top.name.lower() in SPLITS for top in tops)
    homes = [
        (folder, SPLITS[top.name.lower()] if split else None)
        for top in tops
        for folder in (sorted(p for p in top.iterdir() if p.is_dir()) if split else [top])
    ]
    return [
        ScanItem(path=p, label=folder.name, split=name)
        for folder, name in homes
        for p in sorted(folder.iterdir())
        if not p.name.startswith(".") and is_scan(p)
    ]


def _check(path: Path, items: list[ScanItem]) -> None:
    """Files are there, nothing is listed twice, no group on both sides of a split."""
    files = {p for item in items for p in (item.path, item.mask) if p is not None}
    if missing := sorted(str(p) for p in files if not exists(p)):
        raise ManifestError(
            f"{path}: {len(missing)} of {len(files)} files are missing: {_some(missing)}; paths "
            "start at the folder of the CSV; correct them or remove the rows"
        )
    names = [item.name for item in items]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ManifestError(f"{path}: {len(twice)} scans are listed twice: {_some(twice)}")
    sides: dict[str, set[str]] = {}
    for item in items:
        if item.split is not None:
            sides.setdefault(item.group or item.name, set()).add(item.split)
    if torn := sorted(group for group, found in sides.items() if len(found) > 1):
        raise ManifestError(
            f"{path}: {len(torn)} groups are on both sides of a split: {_some(torn)}; give each "
            "group to one split"
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
