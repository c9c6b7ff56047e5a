"""Recognize what happens in a video: one answer, or a timeline over overlapping windows."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.cache import Frames
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import resize
from pseudo3d.data.video import probe, stream_video
from pseudo3d.engine.evaluate import known
from pseudo3d.engine.windows import Cutter, Piece, Window, Windows
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.weights import load

BATCH = 8  # windows per forward pass


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
    name = "frames"
    if isinstance(source, Tensor):
        pieces = iter([_as_piece(source, pre, fps)])
    else:
        name, fps = str(source), probe(source).fps or fps
        pieces = _pieces(source, pre)
    cutter = Cutter(windows or Windows(), _trained_seconds(net), pre, fps)
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


def _probs(net: Network, batch: list[Window], pre: Preprocessing) -> np.ndarray:
    clips = torch.stack([clip for window in batch for clip in window.clips])
    with torch.inference_mode():
        probs = net(pre.normalize(clips)).float().softmax(1)
    return probs.view(len(batch), -1, probs.shape[1]).mean(1).numpy()


def _trained_seconds(net: Network) -> tuple[float, float]:
    """Typical and longest training clip, s; 2 s where the checkpoint does not say."""
    training = net.card.training or {}
    typical = float(training.get("clip_seconds", 2.0))
    return typical, float(training.get("longest_seconds", typical))


def _pieces(source: str | Path, pre: Preprocessing) -> Iterator[Piece]:
    for video in stream_video(source, size=pre.resize, gray=pre.color == "gray"):
        yield Piece(Frames(pixels=video.frames.numpy(), times=video.times), video.problem)


def _as_piece(frames: Tensor, pre: Preprocessing, fps: float) -> Piece:
    fits = frames.ndim == 4 and frames.shape[0] == 3 and 0 not in frames.shape
    if not fits or frames.dtype != torch.uint8:
        raise Pseudo3dError(
            f"frames have shape {tuple(frames.shape)} and type {frames.dtype}; wanted RGB bytes "
            "(3, T, H, W), torch.uint8"
        )
    scaled = resize(frames, pre.resize)
    if pre.color == "gray":
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
        scaled = (scaled * weights).sum(0, keepdim=True).round().to(torch.uint8)
    times = torch.arange(frames.shape[1], dtype=torch.float64) / fps
    return Piece(Frames(pixels=scaled.numpy(), times=times), None)
