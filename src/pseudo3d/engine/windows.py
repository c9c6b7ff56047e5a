"""Cut a stream of frames into overlapping windows, in memory that does not grow with the video."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pseudo3d.data.cache import Frames
from pseudo3d.data.dataset import ClipSpec, view_clips, view_indices
from pseudo3d.data.decode import Source
from pseudo3d.data.pick import FileFrames
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import center_crop
from pseudo3d.data.video import stream_video
from pseudo3d.errors import Pseudo3dError

_LEAST = 0.2  # s; of windows of a network trained on single frames
_RATE = 25.0  # frames/s of a video that does not say


class Piece(NamedTuple):
    """The next frames of a video, and what is wrong with its end, in words."""

    frames: Frames
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How a long video is cut.

    Args:
        seconds: length of a window; None takes the length the network was trained on, and the
            whole video where it is no longer than its training clips were.
        hop: seconds from one window to the next; None takes a quarter of a window.
        views: clips per window whose probabilities are averaged; None takes 5 for a video that is
            one window and 1 else.
    """

    seconds: float | None = None
    hop: float | None = None
    views: int | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "hop", "views"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}; wanted a positive number")


@dataclass(frozen=True)
class Window:
    """One window of a video, ready for the network."""

    clips: list[Tensor]  # its views, (C, T, H, W) bytes
    span: tuple[float, float]


class Cutter:
    """Cuts a stream of frames into windows, keeping only the frames that are still needed."""

    def __init__(
        self, plan: Windows, trained: tuple[float, float], pre: Preprocessing, fps: float
    ) -> None:
        typical, longest = trained
        self.pre, self.plan = pre, plan
        self.seconds = plan.seconds or _dense_seconds(pre, fps) or max(typical, _LEAST)
        self.whole = 0.0  # a video no longer than this is one window
        if plan.seconds is None and pre.sampling == "uniform":
            self.whole = 1.25 * longest
        self.hop = plan.hop or self.seconds / 4
        self.problem: str | None = None

    def cut(self, pieces: Iterator[Piece]) -> Iterator[Window]:
        kept: Frames | None = None
        start, made, frame = 0.0, 0, 0.04
        for frames, self.problem in pieces:
            kept = frames if kept is None else _join(kept, frames)
            if len(kept.times) > 1:
                frame = float(torch.diff(kept.times).median())
            if made == 0 and float(kept.times[-1]) < max(self.whole, self.seconds):
                continue
            while float(kept.times[-1]) >= start + self.seconds:
                yield self._window(kept, start, start + self.seconds, self.plan.views or 1)
                made, start = made + 1, start + self.hop
            kept = _after(kept, start)
        if kept is None:
            raise Pseudo3dError("the video holds no frame")
        end = float(kept.times[-1]) + frame
        if made == 0:
            yield self._window(kept, 0.0, end, self.plan.views or 5)
        elif end - max(start, start - self.hop + self.seconds) > 0.5 * self.hop:
            yield self._window(kept, start, end, self.plan.views or 1)

    def _window(self, kept: Frames, start: float, end: float, views: int) -> Window:
        inside = (kept.times >= start - 1e-6) & (kept.times < end - 1e-6)
        count = max(int(inside.sum()), 1)
        first = int(inside.int().argmax())
        if not inside.any():  # between two frames: the one that is still shown
            first = max(int((kept.times < start).sum()) - 1, 0)
        part = Frames(
            pixels=kept.pixels[:, first : first + count], times=kept.times[first : first + count]
        )
        return Window(view_clips(part, self._spec(views)), (start, end))

    def _spec(self, views: int) -> ClipSpec:
        return ClipSpec(preprocessing=self.pre, canvas=self.pre.size, views=views)

    def only(self, frames: FileFrames) -> Window | None:
        """The window of a video that is no longer than one, from the frames it needs alone.

        None where the video is longer, where all of its frames are needed, or where it has to be
        read to know what it holds.
        """
        times, spec = frames.times, self._spec(self.plan.views or 5)
        long = float(times[-1]) >= max(self.whole, self.seconds)
        if long or len(times) <= spec.views * self.pre.frames:
            return None
        clips = frames.picked(view_indices(times, spec))
        if clips is None:
            return None
        end = float(times[-1]) + float(torch.diff(times).median())
        return Window([center_crop(clip, self.pre.size) for clip in clips], (0.0, end))


def cut_span(
    source: str | Source,
    cutter_for: Callable[[float], Cutter],
    span: tuple[float, float | None],
) -> Iterator[Window | str]:
    """Read a span of a video and cut it; last, what is wrong with its end, in words.

    Args:
        cutter_for: of frames per second.
        span: s of the video, as the spans of the windows are, which count from its first frame.
    """
    start, end = span
    pre = cutter_for(_RATE).pre
    videos = stream_video(source, start=start, end=end, size=pre.resize, gray=pre.color == "gray")
    first = next(videos)
    cutter, origin = cutter_for(first.info.fps or _RATE), float(first.times[0])
    pieces = (
        Piece(Frames(pixels=video.frames.numpy(), times=video.times - origin), video.problem)
        for video in chain([first], videos)
    )
    for window in cutter.cut(pieces):
        yield Window(window.clips, (window.span[0] + origin, window.span[1] + origin))
    if cutter.problem is not None:
        yield cutter.problem


def _dense_seconds(pre: Preprocessing, fps: float) -> float | None:
    """Length of a dense clip; at an unknown frame rate, at `fps`."""
    if pre.sampling == "uniform":
        return None
    return pre.frames / pre.fps if pre.fps else pre.frames * pre.step / fps


def _join(kept: Frames, more: Frames) -> Frames:
    return Frames(
        pixels=np.concatenate([kept.pixels, more.pixels], axis=1),
        times=torch.cat([kept.times, more.times]),
    )


def _after(kept: Frames, start: float) -> Frames:
    """The frame shown at `start` and all later ones."""
    first = max(int((kept.times < start - 1e-6).sum()) - 1, 0)
    return replace(kept, pixels=kept.pixels[:, first:], times=kept.times[first:])
