"""Mean and deviation of the training input, so that a network sees values of order one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item
from pseudo3d.data.preprocess import CHANNELS, Preprocessing
from pseudo3d.data.sampling import uniform
from pseudo3d.data.transforms import center_crop


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Per channel as read, after division by the preprocessing's scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    difference_std: float


def measure(
    items: Sequence[Item], store: FrameStore, pre: Preprocessing, most: int = 64
) -> Statistics:
    """Statistics of up to `most` items taken evenly from the list, center crops of whole clips."""
    step = max(1, -(-len(items) // most))  # rounded up: the rest of the list counts, too
    total = square = torch.zeros(())
    change, count, changes = 0.0, 0, 0
    for item in items[::step]:
        frames = store.read(item)
        clip = center_crop(frames.take(uniform(len(frames.times), pre.frames)), pre.size)
        clip = clip[: CHANNELS[pre.color]]  # the third one of flow says nothing
        values = clip.double().flatten(1) / pre.scale
        total, square = total + values.sum(1), square + values.square().sum(1)
        count += values.shape[1]
        moved = torch.diff(clip.double(), dim=1) / pre.scale
        change += float(moved.square().sum())
        changes += moved.numel()
    mean = total / count
    std = (square / count - mean.square()).clamp(min=1e-4).sqrt()
    if pre.color == "bgr":
        mean, std = mean.flip(0), std.flip(0)
    return Statistics(
        mean=_rounded(mean),
        std=_rounded(std),
        difference_std=round(max((change / max(changes, 1)) ** 0.5, 0.01), 4),
    )


def _rounded(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(round(v, 4) for v in values.tolist())
