"""One video made small, with close key frames, so that any clip of it is cheap to read."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from pseudo3d.data.decode import NEAR, Source
from pseudo3d.data.item import Item
from pseudo3d.data.pick import index_file
from pseudo3d.data.transforms import short_side
from pseudo3d.data.video import Video, VideoInfo, probe, stream_video
from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import VideoError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the packed files are like."""

    size: int = 256  # pixels, the shorter side; smaller videos are not enlarged
    gop: int = 12  # frames from one key frame to the next, at most
    crf: int = 20  # quality of x264, 0 (best) to 51
    lossless: bool = False
    fps: float | None = None  # Hz; None keeps every frame and its time
    transcode: bool = False  # encode anew what is already small with close key frames, too
    frames: bool = False  # every frame a JPEG of its own: larger, any frame at once

    def __post_init__(self) -> None:
        if self.size < 16 or (self.size % 2 and not self.lossless):
            raise ValueError(f"size is {self.size}: wanted an even number of pixels, 16 or more")
        if self.gop < 1 or not 0 <= self.crf <= 51:
            raise ValueError(f"gop is {self.gop}, crf {self.crf}: wanted gop >= 1, crf 0 to 51")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps is {self.fps!r}: wanted frames per second above 0, up to 1000")


class Unreadable(Exception):
    """The original is at fault, not the disk that is written to."""


def look(item: Item, plan: Plan) -> tuple[Source, VideoInfo, bool]:
    """Open an original: where it is, what it declares, and whether it can stay as it is.

    Raises:
        Unreadable: no frame can be read.
    """
    try:
        source = item.fetch()
        info = probe(source)
        return source, info, not plan.transcode and _fits((source, item), info, plan)
    except (VideoError, OSError) as err:
        raise Unreadable(str(err)) from err


def encode(
    original: tuple[Source, Item],
    info: VideoInfo,
    plan: Plan,
    target: Path | BytesIO,
    stop: Event | None = None,
) -> list[str]:
    """Write an original, or a span of it, as the plan wants it; what is damaged comes back.

    Raises:
        Unreadable: no frame of the span can be read, or `stop` was set meanwhile.
        VideoError: the disk refuses the file.
    """
    tick, notes = info.tick if plan.fps is None else None, list[str]()
    with VideoWriter(
        target,
        plan.fps or info.fps or 25.0,
        plan.crf,
        gop=plan.gop,
        lossless=plan.lossless,
        fast=True,
        jpeg=plan.frames,
        tick=tick,
    ) as writer:
        for frames, times in _frames(original, info, plan, notes):
            if stop is not None and stop.is_set():
                raise Unreadable("interrupted")
            writer.write(frames, times)
    return notes


def _fits(original: tuple[Source, Item], info: VideoInfo, plan: Plan) -> bool:
    """Whether a whole file is small already, with close key frames and times to trust."""
    source, item = original
    if item.start is not None or item.end is not None or plan.fps is not None or info.rotation:
        return False
    if info.codec != ("mjpeg" if plan.frames else "h264") or "mp4" not in info.container:
        return False
    index = index_file(source) if min(info.height, info.width) <= plan.size else None
    if index is None:
        return False
    ends = torch.tensor([*index.keys.tolist(), len(index.stamps)])
    return int(ends.diff().max()) <= (1 if plan.frames else plan.gop)


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
    original: tuple[Source, Item], info: VideoInfo, plan: Plan, notes: list[str]
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Frames of an item with their times from the first one (None: even); damage to `notes`."""
    first: float | None = None
    source, item = original
    pace = _Pace(plan.fps) if plan.fps is not None else None
    start, size = item.start or 0.0, _scale(info, plan)
    try:
        for video in stream_video(source, size=size, start=start, end=item.end):
            notes += [video.problem] if video.problem else []
            first = float(video.times[0]) if first is None else first
            if pace is None:
                yield video.frames, video.times - first
            elif (frames := pace.take(video, first)) is not None:
                yield frames, None
    except (VideoError, OSError) as err:
        raise Unreadable(str(err)) from err


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
