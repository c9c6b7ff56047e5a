"""Recognize what happens in a video: one answer, or a timeline over overlapping windows."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.cache import Frames
from pseudo3d.data.dataset import ClipSpec, clip_indices
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import center_crop, resize
from pseudo3d.data.video import Video, stream_video
from pseudo3d.engine.evaluate import known
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.weights import load

BATCH = 8  # windows per forward pass


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
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value!r}; wanted a positive number")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network sees in one video."""

    source: str
    classes: tuple[str, ...]
    starts: Float[np.ndarray, " w"]  # s
    ends: Float[np.ndarray, " w"]  # s
    window_probs: Float[np.ndarray, "w k"]
    problem: str | None = None  # why the end of the video is missing

    @property
    def probs(self) -> Float[np.ndarray, " k"]:
        """Mean over the windows."""
        return self.window_probs.mean(0)

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probs.argmax())]

    @property
    def times(self) -> Float[np.ndarray, " w"]:
        """Middle of each window, s."""
        return (self.starts + self.ends) / 2

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities."""
        order = self.probs.argsort()[::-1][:count]
        return [(self.classes[i], float(self.probs[i])) for i in order]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """For JSON."""
        winners = self.window_probs.argmax(1)
        return {
            "source": self.source,
            "label": self.label,
            "top": [{"label": name, "prob": round(p, 6)} for name, p in self.top(count)],
            "timeline": [
                {
                    "start": round(float(s), 3),
                    "end": round(float(e), 3),
                    "label": self.classes[int(k)],
                    "prob": round(float(row[k]), 6),
                }
                for s, e, k, row in zip(
                    self.starts, self.ends, winners, self.window_probs, strict=True
                )
            ],
            "problem": self.problem,
        }

    def to_csv(self) -> str:
        """One row per window: source, start, end, label and the probability of every class."""
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["source", "start", "end", "label", *self.classes])
        for s, e, row in zip(self.starts, self.ends, self.window_probs, strict=True):
            name = self.classes[int(row.argmax())]
            rows.writerow([self.source, f"{s:.3f}", f"{e:.3f}", name, *(f"{p:.6f}" for p in row)])
        return text.getvalue()


def predict(
    model: Network | str | Path,
    source: str | Path | UInt8[Tensor, "c t h w"],
    *,
    windows: Windows | None = None,
    fps: float = 25.0,
) -> Prediction:
    """Recognize what happens in a video.

    Args:
        model: a network with classes and preprocessing, or the path of its weights.
        source: a video file, or its frames as RGB bytes (3, T, H, W) at `fps`.
        windows: how a long video is cut.
    Raises:
        VideoError: the video cannot be read.
        WeightsError: the network does not know its classes or its preprocessing.
    Example:
        >>> predict("run/weights.safetensors", "new.mp4").label
        'wave_left'
    """
    net = load(model) if isinstance(model, str | Path) else model
    pre, classes = known(net)
    plan, name = windows or Windows(), "frames"
    if isinstance(source, Tensor):
        pieces = iter([_as_video(source, pre, fps)])
    else:
        name = str(source)
        pieces = stream_video(source, size=pre.resize, gray=pre.color == "gray")
    cutter = _Cutter(plan, _trained_seconds(net), pre, fps)
    spans, probs, batch = [], [], []
    net.eval()
    for window in cutter.cut(pieces):
        spans.append(window.span)
        batch.append(window)
        if len(batch) == BATCH:
            probs.append(_probs(net, batch, pre))
            batch = []
    if batch:
        probs.append(_probs(net, batch, pre))
    starts, ends = np.array(spans, dtype=np.float64).T
    return Prediction(
        source=name,
        classes=classes,
        starts=starts,
        ends=ends,
        window_probs=np.concatenate(probs),
        problem=cutter.problem,
    )


@dataclass(frozen=True)
class _Window:
    clips: list[Tensor]  # its views, (C, T, H, W) bytes
    span: tuple[float, float]


class _Cutter:
    """Cuts a stream of frames into windows, keeping only the frames that are still needed."""

    def __init__(
        self, plan: Windows, trained: tuple[float, float], pre: Preprocessing, fps: float
    ) -> None:
        typical, longest = trained
        self.pre, self.plan = pre, plan
        self.seconds = plan.seconds or _dense_seconds(pre, fps) or typical
        self.whole = 0.0  # a video no longer than this is one window
        if plan.seconds is None and pre.sampling == "uniform":
            self.whole = 1.25 * longest
        self.hop = plan.hop or self.seconds / 4
        self.problem: str | None = None

    def cut(self, pieces: Iterator[Video]) -> Iterator[_Window]:
        kept: Frames | None = None
        start, made, frame = 0.0, 0, 0.04
        for piece in pieces:
            self.problem = piece.problem
            kept = _join(kept, piece)
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
        elif end - (start - self.hop + self.seconds) > 0.5 * self.hop:
            yield self._window(kept, start, end, self.plan.views or 1)

    def _window(self, kept: Frames, start: float, end: float, views: int) -> _Window:
        inside = (kept.times >= start - 1e-6) & (kept.times < end - 1e-6)
        first, count = int(inside.int().argmax()), max(int(inside.sum()), 1)
        part = Frames(
            pixels=kept.pixels[:, first : first + count], times=kept.times[first : first + count]
        )
        spec = ClipSpec(preprocessing=self.pre, canvas=self.pre.size, views=views)
        rng = torch.Generator()
        clips = [
            center_crop(part.take(clip_indices(part, spec, view, rng)), self.pre.size)
            for view in range(views)
        ]
        return _Window(clips, (start, end))


def _probs(net: Network, batch: list[_Window], pre: Preprocessing) -> np.ndarray:
    clips = torch.stack([clip for window in batch for clip in window.clips])
    with torch.inference_mode():
        probs = net(pre.normalize(clips)).float().softmax(1)
    return probs.view(len(batch), -1, probs.shape[1]).mean(1).numpy()


def _dense_seconds(pre: Preprocessing, fps: float) -> float | None:
    """Length of a dense clip; at an unknown frame rate, at `fps`."""
    if pre.sampling == "uniform":
        return None
    return pre.frames / pre.fps if pre.fps else pre.frames * pre.step / fps


def _trained_seconds(net: Network) -> tuple[float, float]:
    """Typical and longest training clip, s; 2 s where the checkpoint does not say."""
    training = net.card.training or {}
    typical = float(training.get("clip_seconds", 2.0))
    return typical, float(training.get("longest_seconds", typical))


def _as_video(frames: Tensor, pre: Preprocessing, fps: float) -> Video:
    if frames.ndim != 4 or frames.shape[0] != 3 or frames.dtype != torch.uint8:
        raise Pseudo3dError(
            f"frames have shape {tuple(frames.shape)} and type {frames.dtype}; wanted RGB bytes "
            "(3, T, H, W), torch.uint8"
        )
    scaled = resize(frames, pre.resize)
    if pre.color == "gray":
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
        scaled = (scaled * weights).sum(0, keepdim=True).round().to(torch.uint8)
    times = torch.arange(frames.shape[1], dtype=torch.float64) / fps
    return Video(frames=scaled, times=times, info=None)


def _join(kept: Frames | None, piece: Video) -> Frames:
    if kept is None:
        return Frames(pixels=piece.frames.numpy(), times=piece.times)
    return Frames(
        pixels=np.concatenate([kept.pixels, piece.frames.numpy()], axis=1),
        times=torch.cat([kept.times, piece.times]),
    )


def _after(kept: Frames, start: float) -> Frames:
    first = int((kept.times < start - 1e-6).sum())
    first = min(first, len(kept.times) - 1)
    return replace(kept, pixels=kept.pixels[:, first:], times=kept.times[first:])
