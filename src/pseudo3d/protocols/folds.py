"""Any labeled videos, in folds that cut no group: person, source video, patient."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pseudo3d.data.manifest import Item, read_manifest
from pseudo3d.data.parting import units
from pseudo3d.errors import ManifestError
from pseudo3d.features.svm import group_folds
from pseudo3d.protocols.base import Entry, Listing, Split, some
from pseudo3d.protocols.options import option
from pseudo3d.protocols.recognition import Recognition


@dataclass(frozen=True, kw_only=True)
class Folds(Recognition):
    """Leave one group out, k folds, or the splits the manifest names."""

    name: ClassVar[str] = "folds"
    title: ClassVar[str] = "any manifest, in folds that cut no group"
    reads: ClassVar[tuple[str, ...]] = (
        "a CSV path,label[,group][,split][,start][,end], its folder, or a folder per class",
    )
    samples: ClassVar[str] = "clips spread evenly over each video"
    scores: ClassVar[str] = "video hit@1 of each fold, mean over the folds +- standard error"
    with_error: ClassVar[bool] = True

    by: Literal["groups", "folds", "split"] = option(
        "groups",
        "each group once, `folds` parts of whole groups, or the manifest's test split",
        "silent",
    )
    folds: int = option(5, "parts, with by=folds", "silent")
    seed: int = option(0, "of the folds", "silent")

    def read(self, root: str | Path) -> Listing:
        """Read the manifest and part it; see `Benchmark.read`."""
        manifest = read_manifest(root)
        path = Path(root)
        base = path if path.is_dir() else path.parent
        entries = tuple(_entry(item, base) for item in manifest.items)
        notes = []
        lonely = sum(entry.group is None for entry in entries)
        if lonely:
            notes.append(f"{lonely} of {len(entries)} videos have no group; each is its own")
        if manifest.skipped:
            notes.append(
                f"{len(manifest.skipped)} files are no videos by their suffix, or in no class"
            )
        given = self.by == "split"
        splits = _given(entries, manifest.items) if given else self._folds(entries)
        for split in splits:
            if len({label for entry in split.test for label in entry.labels}) < 2:
                notes.append(f"fold {split.name} tests one class only")
        return Listing(root=base, classes=manifest.classes, splits=splits, notes=tuple(notes))

    def _folds(self, entries: tuple[Entry, ...]) -> tuple[Split, ...]:
        groups = units([entry.item for entry in entries])
        names = sorted(set(groups))
        count = len(names) if self.by == "groups" else self.folds
        if count < 2 or count > len(names):
            raise ManifestError(
                f"{count} folds of {len(names)} groups: {some(names)}; wanted 2 to {len(names)}"
            )
        if self.by == "groups":
            held = {name: [name] for name in names}
        else:
            labels = np.array([entry.labels[0] for entry in entries])
            tests = [test for _, test in group_folds(labels, groups, count, self.seed)]
            held = {str(k): [groups[i] for i in test] for k, test in enumerate(tests, start=1)}
        return tuple(_hold_out(name, entries, groups, set(out)) for name, out in held.items())


def _hold_out(name: str, entries: tuple[Entry, ...], groups: list[str], out: set[str]) -> Split:
    parts = [(e, g in out) for e, g in zip(entries, groups, strict=True)]
    return Split(
        name=name,
        train=tuple(e for e, held in parts if not held),
        test=tuple(e for e, held in parts if held),
    )


def _given(entries: tuple[Entry, ...], items: tuple[Item, ...]) -> tuple[Split, ...]:
    have = Counter(item.split for item in items)
    if not have["train"] or not have["test"]:
        raise ManifestError(
            f"splits of the manifest: {dict(have)}; wanted train and test, or another `by`"
        )
    pairs = list(zip(entries, items, strict=True))
    train, test = (
        tuple(e for e, item in pairs if item.split == name) for name in ("train", "test")
    )
    return (Split(name="test", train=train, test=test),)


def _entry(item: Item, base: Path) -> Entry:
    path = item.path
    name = path.relative_to(base) if path.is_relative_to(base) else path
    span = "" if item.start is None and item.end is None else f"#{item.start}-{item.end}"
    return Entry(
        name=f"{name.as_posix()}{span}",
        path=path,
        labels=(item.label,),
        group=item.group,
        start=item.start,
        end=item.end,
    )
