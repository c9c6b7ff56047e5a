"""Lists of labeled videos: a CSV file, or a folder per class.

CSV: header `path,label` with optional `group`, `split`, `start`, `end`; more columns are ignored
and relative paths start at the CSV. A group (person, source video) must not cross a split.
"""

import csv
import math
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from unicodedata import normalize

from pseudo3d.data.folders import SPLITS as SPLITS
from pseudo3d.data.folders import read_folder
from pseudo3d.data.item import Item as Item
from pseudo3d.data.parting import balanced, units
from pseudo3d.data.shards.storage import address_of, is_remote
from pseudo3d.data.table import read_table
from pseudo3d.data.there import is_file
from pseudo3d.errors import ManifestError, unknown

AnyItem = TypeVar("AnyItem", bound=Item)
COLUMNS = ("path", "label", "group", "split", "start", "end")


@dataclass(frozen=True)
class Manifest:
    """Labeled videos and the class names, which stay the same in every part of it."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    skipped: tuple[Path, ...] = ()  # files of a folder that are no videos, or of no class

    @property
    def labels(self) -> list[int]:
        """Index of each item's class in `classes`."""
        index = {name: i for i, name in enumerate(self.classes)}
        return [index[item.label] for item in self.items]

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted({item.group for item in self.items if item.group is not None}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted({item.split for item in self.items if item.split is not None}))

    def split(self, name: str) -> "Manifest":
        """Items of one split.

        Raises:
            ManifestError: no item is in that split.
        """
        if not self.splits:
            raise ManifestError(
                f"no split {name!r}: the data name none. Give the manifest.csv that training left, "
                "add a `split` column, or take --split all"
            )
        if name not in self.splits:
            raise ManifestError(unknown("split", name, self.splits))
        return self._only(item.split == name for item in self.items)

    def beside_splits(self, what: str) -> str:
        """Say how many items name no split where others do; empty where there are none.

        Args:
            what: items in words, as "scans".
        """
        loose = [item.whole for item in self.items if item.split is None]
        if not loose or not self.splits:
            return ""
        count = f"{len(loose)} of {len(self.items)} {what}"
        return f"{count} name no split and are left out: {_some(loose)}"

    def hold_out(self, groups: Iterable[str]) -> tuple["Manifest", "Manifest"]:
        """Part the items: (all other groups, the groups named).

        Raises:
            ManifestError: a group is unknown, or nothing remains outside.
        """
        given = [groups] if isinstance(groups, str) else groups
        wanted = {normalize("NFC", group) for group in given}
        for group in sorted(wanted - {normalize("NFC", group) for group in self.groups}):
            raise ManifestError(unknown("group", group, self.groups))
        return self._part([normalize("NFC", item.group or "") in wanted for item in self.items])

    def leave_one_group_out(self) -> Iterator[tuple[str, "Manifest", "Manifest"]]:
        """Give (group, all the others, that group) for each group in turn.

        Raises:
            ManifestError: fewer than two groups, or items without one.
        """
        if len(self.groups) < 2 or any(item.group is None for item in self.items):
            raise ManifestError(
                "leave one group out: wanted two groups, and one for every item; give a list with "
                "a column group"
            )
        for group in self.groups:
            yield (group, *self.hold_out([group]))

    def split_by_group(self, fraction: float, seed: int) -> tuple["Manifest", "Manifest"]:
        """Part the items: (the rest, about `fraction` of every class), no group in both.

        An item without a group belongs with the other spans of its file.

        Raises:
            ManifestError: there are fewer than two groups.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction is {fraction!r}: wanted 0 < fraction < 1")
        keys = units(self.items)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for key, item in zip(keys, self.items, strict=True):
            counts[key][item.label] += 1
        if len(counts) < 2:
            raise ManifestError(f"all {len(keys)} items are of one group: wanted two or more")
        held = balanced(counts, fraction, random.Random(seed))
        return self._part([key in held for key in keys])

    def _only(self, keep: Iterable[bool]) -> "Manifest":
        items = tuple(i for i, kept in zip(self.items, keep, strict=True) if kept)
        return replace(self, items=items, skipped=())

    def _part(self, held: Sequence[bool]) -> tuple["Manifest", "Manifest"]:
        if all(held) or not any(held):
            raise ManifestError(f"{sum(held)} of {len(held)} items held out: one side is empty")
        return self._only(not h for h in held), self._only(held)


def read_manifest(path: str | Path, classes: Sequence[str] | None = None) -> Manifest:
    """Read a CSV, a folder with `manifest.csv`, a folder per class, or packed shards.

    A folder may have `train`, `val`, `test` above its class folders. Hidden files are left out,
    files without a video's suffix and videos outside of the class folders are named in `skipped`.
    Shards may lie at any address that fsspec knows, such as `s3://bucket/shards`.

    Args:
        classes: names in the order wanted (those of a trained network); None takes the
            labels, sorted.

    Raises:
        ManifestError: the list contradicts itself or the disk; the message says where.
    """
    from pseudo3d.data.shards.read import find_samples, is_shards, shard_items

    if is_remote(path) or is_shards(path):
        return listed(path, shard_items(path), classes)
    path = Path(path)
    skipped: list[Path] = []
    if not path.exists():
        raise ManifestError(f"{path} does not exist: give a CSV or a folder with one per class")
    table = path / "manifest.csv" if path.is_dir() else path
    if table.is_file():
        items = find_samples(_read_csv(table))
    else:
        items, skipped = read_folder(path)
    if not items:
        raise ManifestError(f"{path} lists no videos: wanted rows of path,label or class folders")
    _check_files(path, items)
    return replace(listed(path, items, classes), skipped=tuple(skipped))


def listed(path: str | Path, items: Sequence[Item], classes: Sequence[str] | None) -> Manifest:
    """Items as a manifest, when their groups and labels agree with each other and `classes`.

    Raises:
        ManifestError: they do not.
    """
    _check_groups(path, items)
    items = spelled(items, classes or ())
    found = sorted({item.label for item in items})
    if classes is None and len(found) == 1:
        raise ManifestError(f"{path} holds one class, {found[0]!r}: two or more are wanted")
    names = tuple(found if classes is None else classes)
    known = set(names)
    for item in items:
        if item.label not in known:
            raise ManifestError(f"{path}, {item.path}: {unknown('class', item.label, names)}")
    return Manifest(tuple(items), names)


def spelled(items: Sequence[AnyItem], classes: Sequence[str]) -> list[AnyItem]:
    """Items with labels as `classes` write them: a network may have learned another form of é."""
    own = {normalize("NFC", name): name for name in classes} | {name: name for name in classes}
    names = [own.get(item.label, item.label) for item in items]
    return [i if i.label == n else replace(i, label=n) for i, n in zip(items, names, strict=True)]


def _read_csv(path: Path) -> list[Item]:
    header, rows = read_table(path)
    if not {"path", "label"} <= set(header):
        raise ManifestError(
            f"{path} lacks the columns path and label; its header is {','.join(header)!r}, "
            "wanted path,label[,group][,split][,start][,end]"
        )
    return [_item(path, where, row) for where, row in rows]


def _item(path: Path, where: str, row: dict[str, str]) -> Item:
    for name in COLUMNS[:2]:
        if not row[name]:
            raise ManifestError(f"{where}: empty {name}; fill it in or remove the row")
    if "\0" in row["path"]:
        raise ManifestError(f"{where}: a zero byte in the path; save the table as text again")
    start, end = (_seconds(where, name, row.get(name, "")) for name in COLUMNS[4:])
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f"{where}: end {end} s is not after start {start or 0.0} s")
    label, group = (normalize("NFC", row.get(name, "")) for name in COLUMNS[1:3])
    split = row.get("split") or None
    file = Path(row["path"]) if is_remote(row["path"]) else path.parent / row["path"]
    return Item(path=file, label=label, group=group or None, split=split, start=start, end=end)


def _seconds(where: str, name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ManifestError(f"{where}: {name} is {text!r}; wanted seconds >= 0 or an empty cell")
    return value


def _check_files(path: Path, items: list[Item]) -> None:
    files = [item.path for item in items if type(item) is Item]  # samples of shards are checked
    if missing := [str(path) for path in files if not is_file(path)]:
        raise ManifestError(
            f"{path}: {len(missing)} of {len(items)} files are missing: {_some(missing)}; "
            "paths start at the folder of the CSV; correct them or remove the rows"
        )
    times = Counter((os.path.normpath(i.path), i.start, i.end) for i in items)
    if twice := [key[0] for key, count in times.items() if count > 1]:
        raise ManifestError(
            f"{path}: {len(twice)} videos are listed twice with the same span: {_some(twice)}; "
            "keep one row of each"
        )


def _check_groups(path: str | Path, items: Sequence[Item]) -> None:
    sides: dict[str, set[str]] = defaultdict(set)
    for unit, item in zip(units(items), items, strict=True):
        if item.split is not None:
            sides[unit].add(item.split)
    if torn := [f"{g} ({', '.join(sorted(s))})" for g, s in sorted(sides.items()) if len(s) > 1]:
        raise ManifestError(
            f"{path}: {len(torn)} groups are on both sides of a split: {_some(torn)}; "
            "give each group to one split"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a CSV that reads back the same; files beside or below it by relative path."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    base = path.parent.absolute()
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for item in manifest.items:
                rest = (item.group, item.split, item.start, item.end)
                writer.writerow([_cell(item.path, base), item.label, *rest])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _cell(path: Path, base: Path) -> str:
    """A path as it is written down: from the folder of the table on, where it is below."""
    if is_remote(path):
        return address_of(path)
    home = path.absolute()
    return (home.relative_to(base) if home.is_relative_to(base) else home).as_posix()
