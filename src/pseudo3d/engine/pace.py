"""How the frames of a camera become clips like those of training: which ones, and how large."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import resize
from pseudo3d.errors import Pseudo3dError

_LEAST = 0.2  # s; window of a network trained on single frames
_RATE = 25.0  # Hz of the videos of a network that was trained on counted frames
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Which seconds of a stream make a clip."""

    count: int  # frames of a clip
    seconds: float  # s, length of a window
    period: float  # s, from one frame of a clip to the next
    centered: bool  # frames stand for the middles of equal parts of the window

    @classmethod
    def of(cls, pre: Preprocessing, training: Mapping[str, Any]) -> "Pace":
        """As in training: spread over the typical training clip, or so many Hz.

        Args:
            training: what the checkpoint says of it.
        """
        if pre.sampling == "uniform":
            seconds = max(float(training.get("clip_seconds", 2.0)), _LEAST)
            period = seconds / pre.frames
        else:
            period = 1 / pre.fps if pre.fps else pre.step / _RATE
            seconds = max(pre.frames * period, _LEAST)
        centered = pre.sampling == "uniform"
        return cls(count=pre.frames, seconds=seconds, period=period, centered=centered)

    def wanted(self, now: float, gap: float) -> Float64[Tensor, " t"]:
        """When the frames of the newest clip are shown, s.

        Args:
            now: s, time of the newest frame.
            gap: s, how long a frame stays.
        """
        index = torch.arange(self.count, dtype=torch.float64)
        if not self.centered:
            return now - (self.count - 1 - index) * self.period
        # a time between two frames is rounded away from the middle, as in training
        edge = torch.where(2 * index + 1 < self.count, -1e-5, 1e-5)
        return now + gap - self.seconds + (index + 0.5) * self.period - edge


def prepared(frame: Any, pre: Preprocessing) -> UInt8[Tensor, "c h w"]:
    """One frame (H, W, 3) at the size of the network's input: all that has to be kept of it."""
    image = frame
    if not isinstance(frame, Tensor):  # torch takes no turned and no protected memory
        image = torch.from_numpy(np.require(frame, requirements=["C", "W"]))
    small = pre.crop(resize(image.permute(2, 0, 1)[:, None], pre.resize))[:, 0]
    if pre.color == "gray":
        small = (small * torch.tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True).round()
    return small.to(torch.uint8, copy=True)  # never a view of the large frame


def check_frame(frame: Any, time: float) -> None:
    """Refuse what is no frame, or no time.

    Raises:
        Pseudo3dError: it is none.
    """
    shape, kind = tuple(frame.shape), str(frame.dtype).removeprefix("torch.")
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or kind != "uint8":
        raise Pseudo3dError(
            f"frame has shape {shape} and type {kind}; wanted RGB bytes (H, W, 3), uint8"
        )
    if not math.isfinite(time):
        raise Pseudo3dError(f"time is {time!r}; wanted seconds on a clock that runs on")
