"""Rewrite a data set once as small video with close key frames, which is cheap to read.

The originals are only read. A packed file appears under its name when it is complete, so an
interrupted run goes on where it was.
"""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from pseudo3d.data.decode import Blob
from pseudo3d.data.manifest import Item, Manifest, read_manifest, write_manifest
from pseudo3d.data.shards.storage import Folder
from pseudo3d.data.shrink import Plan as Plan
from pseudo3d.data.shrink import Unreadable, encode, look
from pseudo3d.errors import Pseudo3dError
from pseudo3d.lock import LOCK, sole, sweep

NOTE = "pack.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What became of every item."""

    manifest: Path
    items: tuple[Item, ...]  # originals that were packed
    packed: tuple[Item, ...]  # the same ones now
    counts: dict[str, int]  # encoded, copied, kept (there before)
    unreadable: dict[Path, str] = field(default_factory=dict)  # left out, and why
    shortened: dict[Path, str] = field(default_factory=dict)  # damaged: packed as far as they go

    def bytes(self) -> tuple[int, int]:
        """Size on disk before and after, each file counted once."""
        before, after = (
            sum({item.path: item.size() for item in items}.values())
            for items in (self.items, self.packed)
        )
        return before, after


def pack(data: str | Path, out: str | Path, plan: Plan, progress: Progress | None = None) -> Packed:
    """Pack every video of a manifest or folder into OUT, with a manifest of the same columns.

    Spans are cut out, so `start` and `end` are empty afterwards. The same call again goes on where
    it was interrupted and adds what is new.

    Raises:
        ManifestError: the list contradicts itself or the disk.
        Pseudo3dError: OUT holds something else, or nothing can be read.
        VideoError: the disk refuses a file.
    """
    root, out = Path(data), Path(out)
    manifest = read_manifest(root)
    if root.is_dir() and out.resolve().is_relative_to(root.resolve()):
        raise Pseudo3dError(f"{out} is inside {root}: name a folder outside of the data")
    if out.exists() and not out.is_dir():
        raise Pseudo3dError(f"{out} already holds something else; name a new folder")
    with sole(out):
        _claim(out, plan)
        sweep(out, deep=True)
        return _pack(root, manifest, out, plan, progress)


def _pack(
    root: Path, manifest: Manifest, out: Path, plan: Plan, progress: Progress | None
) -> Packed:
    home = root if root.is_dir() else root.parent
    targets = [out / _name(item, home) for item in manifest.items]
    done = list(_pack_all(manifest.items, targets, plan, progress))
    pairs = list(zip(manifest.items, targets, done, strict=True))
    good = [(item, target) for item, target, (how, _) in pairs if how != "unreadable"]
    if not good:
        raise Pseudo3dError(f"{root}: none of the {len(pairs)} files can be read; see `p3d scan`")
    group = groups_of(manifest.items, home)
    packed = tuple(
        Item(path=path, label=item.label, group=group[item], split=item.split)
        for item, path in good
    )
    _write_list(Manifest(packed, manifest.classes), out, plan)
    return Packed(
        manifest=out / "manifest.csv",
        items=tuple(item for item, _ in good),
        packed=packed,
        counts={how: sum(h == how for h, _ in done) for how in ("encoded", "copied", "kept")},
        unreadable={i.path: why for i, _, (how, why) in pairs if how == "unreadable" and why},
        shortened={i.path: why for i, _, (how, why) in pairs if how == "encoded" and why},
    )


def _claim(out: Path, plan: Plan) -> None:
    """Take the folder, or go on with it; never mix with anything else."""
    note = out / NOTE
    if not note.exists():
        if any(path.name != LOCK for path in out.iterdir()):
            raise Pseudo3dError(f"{out} already holds something else; name a new folder")
        _write_note(out, {"plan": asdict(plan), "manifest": None})
        return
    before = json.loads(note.read_text())
    if "shards" in before:
        raise Pseudo3dError(f"{out} holds shards; pack with --shard-size, or name a new folder")
    check_plan(before["plan"], plan, str(out))
    table = out / "manifest.csv"
    ours = {before["manifest"], before.get("old")}
    if table.exists() and _digest(table.read_bytes()) not in ours:
        raise Pseudo3dError(f"{table} was changed by hand since; move it away first")


def check_plan(before: Mapping[str, Any], plan: Plan, where: str) -> None:
    """Refuse to go on with another plan than a place was begun with.

    Raises:
        Pseudo3dError: they differ.
    """
    old, now = {**asdict(Plan()), **before}, asdict(plan)  # an earlier version knew fewer fields
    if differ := [f"{key} {old[key]!r}" for key in now if old[key] != now[key]]:
        raise Pseudo3dError(
            f"{where} was packed with {', '.join(differ)}; repeat that, or name a new folder"
        )


def _write_list(manifest: Manifest, out: Path, plan: Plan) -> None:
    """The manifest and its digest; until both are there, the note knows the old one as well."""
    table = out / "manifest.csv"
    draft = out / f".{table.name}.{os.getpid()}.part"
    try:
        write_manifest(manifest, draft)
        note = {"plan": asdict(plan), "manifest": _digest(draft.read_bytes())}
        old = _digest(table.read_bytes()) if table.exists() else None
        _write_note(out, {**note, "old": old})
        draft.replace(table)
        _write_note(out, note)
    finally:
        draft.unlink(missing_ok=True)


def _write_note(out: Path, note: dict[str, Any]) -> None:
    with Folder(out).create(NOTE) as file:
        file.write(json.dumps(note, indent=2).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def groups_of(items: Iterable[Item], home: Path) -> dict[Item, str | None]:
    """The group of each item; spans of one file stay together when they become files."""
    counts = Counter(item.path for item in items)
    return {
        item: place_of(item, home) if item.group is None and counts[item.path] > 1 else item.group
        for item in items
    }


def place_of(item: Item, home: Path) -> str:
    """Where an original lies, from the folder of the data on."""
    first = item.stamp()[0]
    if isinstance(first, Path):
        return Path(os.path.relpath(first, home.resolve())).as_posix()
    return str(first)


def _name(item: Item, home: Path) -> Path:
    """LABEL/NAME-KEY.mp4; another original or another span has another key."""
    facts = (place_of(item, home), *item.stamp()[1:], item.start, item.end)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:8]
    folder, stem = (re.sub(r"[^\w.-]+", "_", name) for name in (item.label, item.path.stem))
    return Path(folder.strip(".") or "_") / f"{stem}-{key}.mp4"


def _pack_all(
    items: tuple[Item, ...], targets: list[Path], plan: Plan, progress: Progress | None
) -> Iterator[tuple[str, str | None]]:
    """What was done with each item, and why it is damaged, in order."""
    stop = Event()

    def one(item: Item, target: Path) -> tuple[str, str | None]:
        if target.exists():
            return "kept", None
        try:
            return _pack_one(item, target, plan, stop)
        except Unreadable as err:
            return "unreadable", str(err)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for count, result in enumerate(pool.map(one, items, targets), start=1):
                yield result
                if progress is not None:
                    progress(count, len(items))
        finally:  # after an error or Ctrl-C, files at work are given up
            stop.set()


def _pack_one(item: Item, target: Path, plan: Plan, stop: Event) -> tuple[str, str | None]:
    source, info, fits = look(item, plan)
    target.parent.mkdir(parents=True, exist_ok=True)
    if fits:
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            if isinstance(source, Blob):
                part.write_bytes(source.data)
            else:
                shutil.copyfile(source, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return "copied", None
    notes = encode((source, item), info, plan, target, stop)
    return "encoded", "; ".join(notes) or None
