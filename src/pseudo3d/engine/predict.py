"""Recognize what happens in a video: one answer, or a timeline over overlapping windows."""

import csv
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.cache import Frames
from pseudo3d.data.pick import file_frames, index_file
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import resize
from pseudo3d.data.video import stream_video
from pseudo3d.engine.feed import in_threads
from pseudo3d.engine.judge import Judge, Model, judge
from pseudo3d.engine.windows import Cutter, Piece, Window, Windows
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.runtime.runner import Runner

BATCH = 8  # clips per forward pass
Source = str | Path | UInt8[Tensor, "c t h w"]
Given = TypeVar("Given", bound=Source)


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
    model: Model,
    source: Source,
    *,
    windows: Windows | None = None,
    fps: float = 25.0,
) -> Prediction:
    """Recognize what happens in a video.

    Args:
        model: the path of weights or of an exported network, what `optimize` or `open_runner`
            gave, or a network with classes and preprocessing.
        source: a video file, or its frames as RGB bytes (3, T, H, W) at `fps`.
        windows: how a long video is cut.
    Raises:
        VideoError: the video cannot be read.
        FileNotFoundError: there is none.
        WeightsError: the network does not know its classes or its preprocessing.
    Example:
        >>> predict("run/weights.safetensors", "new.mp4").label
        'wave_left'
    """
    ((_, found),) = predict_many(model, [source], windows=windows, fps=fps)
    if isinstance(found, Exception):
        raise found
    return found


def predict_many(
    model: Model,
    sources: Iterable[Given],
    *,
    windows: Windows | None = None,
    fps: float = 25.0,
    batch: int = BATCH,
) -> Iterator[tuple[Given, Prediction | Exception]]:
    """Recognize what happens in many videos: `predict` of each, in order, but faster.

    The next videos are decoded while the network runs, and windows of several videos share a
    batch. Memory does not grow with the videos, neither with their number nor with their length.

    Args:
        batch: clips the network sees at once.
    Returns:
        Every source with its prediction, or with the error that keeps it from being read.
    Raises:
        WeightsError: the network does not know its classes or its preprocessing.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch!r}; wanted at least 1")
    ready = judge(model, batch)
    plan, trained = windows or Windows(), _trained_seconds(ready.run)

    def cut(source: Given) -> Iterator[Window | str]:
        yield from _windows(source, ready.pre, plan, trained, fps)

    return _answers(ready, sources, cut)


@dataclass
class _Answer(Generic[Given]):
    """One source, its windows so far, and the probabilities of their clips so far."""

    source: Given
    spans: list[tuple[float, float]] = field(default_factory=list)
    clips: int = 0
    probs: list[Tensor] = field(default_factory=list)
    problem: str | None = None
    failure: Exception | None = None

    def add(self, part: Window | str) -> list[Tensor]:
        """Note a window, or why the video ends early; gives the clips to look at."""
        if isinstance(part, str):
            self.problem = part
            return []
        self.spans.append(part.span)
        self.clips += len(part.clips)
        return part.clips

    def result(self, classes: tuple[str, ...]) -> Prediction | Exception:
        if self.failure is not None:
            return self.failure
        starts, ends = np.array(self.spans, dtype=np.float64).T
        views = torch.stack(self.probs).view(len(self.spans), -1, len(classes))
        return Prediction(
            source="frames" if isinstance(self.source, Tensor) else str(self.source),
            classes=classes,
            starts=starts,
            ends=ends,
            window_probs=views.mean(1).numpy(),
            problem=self.problem,
        )


def _answers(
    ready: Judge, sources: Iterable[Given], cut: Callable[[Given], Iterator[Window | str]]
) -> Iterator[tuple[Given, Prediction | Exception]]:
    """Fill batches from the windows of one source after another; answer when all are seen."""
    open_: deque[_Answer[Given]] = deque()  # read, but not all of their clips seen
    waiting: list[tuple[_Answer[Given], Tensor]] = []

    def look(count: int) -> None:
        clips = torch.stack([clip for _, clip in waiting[:count]])
        for (answer, _), probs in zip(waiting, ready(clips), strict=False):
            answer.probs.append(probs)
        del waiting[:count]

    with in_threads(sources, cut) as lanes:
        for source, parts in lanes:
            answer = _Answer(source)
            for part in _until_error(parts, answer):
                waiting += [(answer, clip) for clip in answer.add(part)]
                while len(waiting) >= ready.batch:
                    look(ready.batch)
            open_.append(answer)
            while open_ and len(open_[0].probs) == open_[0].clips:
                done = open_.popleft()
                yield done.source, done.result(ready.classes)
        if waiting:
            look(len(waiting))
    for answer in open_:
        yield answer.source, answer.result(ready.classes)


def _until_error(parts: Iterator[Window | str], answer: _Answer[Any]) -> Iterator[Window | str]:
    """The parts of a source; what is wrong with the source, and no bug, goes into its answer."""
    try:
        yield from parts
    except (Pseudo3dError, OSError) as err:
        answer.failure = err


def _trained_seconds(run: Runner | Network) -> tuple[float, float]:
    """Typical and longest training clip, s; 2 s where the checkpoint does not say."""
    training = run.card.training if run.card is not None else {}
    typical = float(training.get("clip_seconds", 2.0))
    return typical, float(training.get("longest_seconds", typical))


def _windows(
    source: Source, pre: Preprocessing, plan: Windows, trained: tuple[float, float], fps: float
) -> Iterator[Window | str]:
    """Read a source and cut it; last, what is wrong with its end."""
    if isinstance(source, Tensor):
        pieces = iter([_as_piece(source, pre, fps)])
    elif not isinstance(source, str | Path):
        raise Pseudo3dError(
            f"a {type(source).__name__} is no video; wanted a path or frames as a torch.Tensor"
        )
    else:
        path, gray = Path(source), pre.color == "gray"
        if pre.sampling == "uniform" and (index := index_file(path)) is not None:
            frames = file_frames(path, index, size=pre.resize, gray=gray)
            if frames and (window := Cutter(plan, trained, pre, fps).only(frames)):
                yield window
                return
        videos = stream_video(path, size=pre.resize, gray=gray)
        first = next(videos)
        fps = first.info.fps or fps
        pieces = (
            Piece(Frames(pixels=video.frames.numpy(), times=video.times), video.problem)
            for video in chain([first], videos)
        )
    cutter = Cutter(plan, trained, pre, fps)
    yield from cutter.cut(pieces)
    if cutter.problem is not None:
        yield cutter.problem


def _as_piece(frames: Tensor, pre: Preprocessing, fps: float) -> Piece:
    fits = frames.ndim == 4 and frames.shape[0] == 3 and 0 not in frames.shape
    if not fits or frames.dtype != torch.uint8:
        raise Pseudo3dError(
            f"frames have shape {tuple(frames.shape)} and type {frames.dtype}; wanted RGB bytes "
            "(3, T, H, W), torch.uint8"
        )
    if not 0 < fps < math.inf:
        raise Pseudo3dError(f"fps is {fps!r}; wanted frames per second above 0")
    scaled = resize(frames, pre.resize)
    if pre.color == "gray":
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
        scaled = (scaled * weights).sum(0, keepdim=True).round().to(torch.uint8)
    times = torch.arange(frames.shape[1], dtype=torch.float64) / fps
    return Piece(Frames(pixels=scaled.numpy(), times=times), None)
