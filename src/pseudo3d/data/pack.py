"""Rewrite a data set once as small video with close key frames, which is cheap to read.

The originals are only read. A packed file appears under its name when it is complete, so an
interrupted run goes on where it was.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from pseudo3d.data.decode import NEAR
from pseudo3d.data.manifest import Item, Manifest, read_manifest, write_manifest
from pseudo3d.data.pick import index_file
from pseudo3d.data.transforms import short_side
from pseudo3d.data.video import Video, VideoInfo, probe, stream_video
from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import Pseudo3dError, VideoError

NOTE = "pack.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the packed files are like."""

    size: int = 256  # pixels, the shorter side; smaller videos are not enlarged
    gop: int = 12  # frames from one key frame to the next, at most
    crf: int = 20  # quality of x264, 0 (best) to 51
    lossless: bool = False
    fps: float | None = None  # Hz; None keeps every frame and its time
    transcode: bool = False  # encode anew what is already small with close key frames, too

    def __post_init__(self) -> None:
        if self.size < 16 or (self.size % 2 and not self.lossless):
            raise ValueError(f"size is {self.size}: wanted an even number of pixels, 16 or more")
        if self.gop < 1 or not 0 <= self.crf <= 51:
            raise ValueError(f"gop is {self.gop}, crf {self.crf}: wanted gop >= 1, crf 0 to 51")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps is {self.fps!r}: wanted frames per second above 0, up to 1000")


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
            sum(path.stat().st_size for path in {item.path for item in items})
            for items in (self.items, self.packed)
        )
        return before, after


class _Unreadable(Exception):
    """The original is at fault, not the disk that is written to."""


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
    _claim(root, out, plan)
    home = root if root.is_dir() else root.parent
    targets = [out / _name(item, home) for item in manifest.items]
    done = list(_pack_all(manifest.items, targets, plan, progress))
    pairs = list(zip(manifest.items, targets, done, strict=True))
    good = [(item, target) for item, target, (how, _) in pairs if how != "unreadable"]
    if not good:
        raise Pseudo3dError(f"{root}: none of the {len(pairs)} files can be read; see `p3d scan`")
    packed = tuple(replace(item, path=path, start=None, end=None) for item, path in good)
    _write_list(Manifest(packed, manifest.classes), out, plan)
    return Packed(
        manifest=out / "manifest.csv",
        items=tuple(item for item, _ in good),
        packed=packed,
        counts={how: sum(h == how for h, _ in done) for how in ("encoded", "copied", "kept")},
        unreadable={i.path: why for i, _, (how, why) in pairs if how == "unreadable" and why},
        shortened={i.path: why for i, _, (how, why) in pairs if how == "encoded" and why},
    )


def _claim(root: Path, out: Path, plan: Plan) -> None:
    """Take the folder, or go on with it; never mix with anything else."""
    if root.is_dir() and out.resolve().is_relative_to(root.resolve()):
        raise Pseudo3dError(f"{out} is inside {root}: name a folder outside of the data")
    note = out / NOTE
    if not note.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise Pseudo3dError(f"{out} already holds something else; name a new folder")
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"plan": asdict(plan), "manifest": None}, indent=2))
        return
    before = json.loads(note.read_text())
    now = asdict(plan)
    if differ := [f"{k} {before['plan'].get(k)!r}" for k in now if before["plan"].get(k) != now[k]]:
        raise Pseudo3dError(
            f"{out} was packed with {', '.join(differ)}; repeat that, or name a new folder"
        )
    table = out / "manifest.csv"
    if table.exists() and _digest(table) != before["manifest"]:
        raise Pseudo3dError(f"{table} was changed by hand since; move it away first")


def _write_list(manifest: Manifest, out: Path, plan: Plan) -> None:
    table = out / "manifest.csv"
    write_manifest(manifest, table)
    note = {"plan": asdict(plan), "manifest": _digest(table)}
    (out / NOTE).write_text(json.dumps(note, indent=2))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _name(item: Item, home: Path) -> Path:
    """LABEL/NAME-KEY.mp4; another original or another span has another key."""
    stat, where = item.path.stat(), os.path.relpath(item.path.resolve(), home.resolve())
    facts = (where, stat.st_size, stat.st_mtime_ns, item.start, item.end)
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
        except _Unreadable as err:
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
    try:
        info = probe(item.path)
        fits = not plan.transcode and _fits(item, info, plan)
    except (VideoError, OSError) as err:
        raise _Unreadable(str(err)) from err
    target.parent.mkdir(parents=True, exist_ok=True)
    if fits:
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(item.path, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return "copied", None
    tick = info.tick if plan.fps is None else None
    fps, notes = plan.fps or info.fps or 25.0, list[str]()
    with VideoWriter(
        target, fps, plan.crf, gop=plan.gop, lossless=plan.lossless, fast=True, tick=tick
    ) as writer:
        for frames, times in _frames(item, info, plan, notes):
            if stop.is_set():
                raise _Unreadable("interrupted")
            writer.write(frames, times)
    return "encoded", "; ".join(notes) or None


def _fits(item: Item, info: VideoInfo, plan: Plan) -> bool:
    """Whether a whole file is small already, with close key frames and times to trust."""
    if item.start is not None or item.end is not None or plan.fps is not None or info.rotation:
        return False
    if info.codec != "h264" or "mp4" not in info.container:
        return False
    index = index_file(item.path) if min(info.height, info.width) <= plan.size else None
    if index is None:
        return False
    ends = torch.tensor([*index.keys.tolist(), len(index.stamps)])
    return int(ends.diff().max()) <= plan.gop


def _scale(info: VideoInfo, plan: Plan) -> int | tuple[int, int] | None:
    """Size to read at: as the reader scales where nothing may be lost, else with even sides."""
    turned = info.rotation % 180 != 0
    height, width = (info.width, info.height) if turned else (info.height, info.width)
    small = min(height, width) <= plan.size
    if plan.lossless:
        return None if small else plan.size
    h, w = (height, width) if small else short_side(height, width, plan.size)
    return max(2, h // 2 * 2), max(2, w // 2 * 2)


def _frames(
    item: Item, info: VideoInfo, plan: Plan, notes: list[str]
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Frames of an item with their times from the first one (None: even); damage to `notes`."""
    first: float | None = None
    pace = _Pace(plan.fps) if plan.fps is not None else None
    start, size = item.start or 0.0, _scale(info, plan)
    try:
        for video in stream_video(item.path, size=size, start=start, end=item.end):
            notes += [video.problem] if video.problem else []
            first = float(video.times[0]) if first is None else first
            if pace is None:
                yield video.frames, video.times - first
            elif (frames := pace.take(video, first)) is not None:
                yield frames, None
    except (VideoError, OSError) as err:
        raise _Unreadable(str(err)) from err


class _Pace:
    """Takes the frame shown at each k / fps out of frames with times of their own."""

    def __init__(self, fps: float) -> None:
        self.fps, self.next = fps, 0
        self.held: Tensor | None = None

    def take(self, video: Video, first: float) -> Tensor | None:
        """Frames that are surely known by now; a video ends with the frame at its last time."""
        times = (video.times - first).tolist()
        taken = []
        for i, time in enumerate(times):
            while self.held is not None and self.next / self.fps < time - NEAR:
                taken.append(self.held)
                self.next += 1
            self.held = video.frames[:, i]
        while self.held is not None and self.next / self.fps <= times[-1] + NEAR:
            taken.append(self.held)
            self.next += 1
        return torch.stack(taken, dim=1) if taken else None
