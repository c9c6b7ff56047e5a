"""What is lost when a block of space and time is hidden: slow, and needs nothing but answers.

The clip is cut into cells; a block of two cells along each axis slides over them. No gradient is
asked, so the map cannot be fooled by one, and any network that answers can be looked at, exported
ones too (Zeiler and Fergus, ECCV 2014, with time as a third axis).
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pseudo3d.explain.asking import Question
from pseudo3d.explain.gradients import Evidence
from pseudo3d.explain.places import Sizes
from pseudo3d.explain.visualize import smooth

Baseline = Literal["mean", "blur", "still"]
_BLUR = 8  # the blur's deviation is one for so many pixels of the shorter side


def emptied(clip: Float[Tensor, "c t h w"], how: Baseline) -> Float[Tensor, "c t h w"]:
    """A clip without what matters: of the mean color, blurred, or every frame the mean frame.

    Zero is the mean color after normalization, and no movement where a network is fed differences.
    """
    if how == "mean":
        return torch.zeros_like(clip)
    if how == "still":
        return clip.mean(1, keepdim=True).expand_as(clip).contiguous()
    deviation = max(1.0, min(clip.shape[2:]) / _BLUR)
    return smooth(smooth(clip, deviation, axis=-1), deviation, axis=-2)


def edges(length: int, cells: int) -> list[int]:
    """Borders of about equal cells along an axis; no cell is empty."""
    cells = min(cells, length)
    return [round(i * length / cells) for i in range(cells + 1)]


def cell_numbers(size: Sizes, cells: Sizes) -> Int64[Tensor, "t h w"]:
    """The number of the cell that every voxel lies in."""
    found = torch.zeros(size, dtype=torch.int64)
    for axis, (length, count) in enumerate(zip(size, cells, strict=True)):
        border = torch.tensor(edges(length, count))
        at = torch.searchsorted(border, torch.arange(length), right=True) - 1
        found = found * (len(border) - 1) + at.view([-1 if a == axis else 1 for a in range(3)])
    return found


def occlusion(
    question: Question,
    clip: Float[Tensor, "c t h w"],
    empty: Float[Tensor, "c t h w"],
    cells: Sizes,
) -> Evidence:
    """What the score loses, per voxel the mean over the blocks that hide it."""
    size = (clip.shape[1], clip.shape[2], clip.shape[3])
    blocks = list(_blocks(size, cells))

    def clips() -> Iterator[Tensor]:
        yield clip
        for block in blocks:
            hidden = clip.clone()
            hidden[:, *block] = empty[:, *block]
            yield hidden

    scores = question.scores(clips())
    lost, seen = torch.zeros(size), torch.zeros(size)
    for block, score in zip(blocks, scores[1:], strict=True):
        lost[block] += scores[0] - score
        seen[block] += 1
    t, h, w = (min(n, c) for n, c in zip(size, cells, strict=True))
    return Evidence(values=lost / seen, places=(t, h, w))


def _blocks(size: Sizes, cells: Sizes) -> Iterator[tuple[slice, slice, slice]]:
    """Two cells along each axis, one cell further each time, the first and the last one alone, too.

    Without those a cell at the border would never be hidden apart from its neighbor.
    """
    spans = []
    for length, count in zip(size, cells, strict=True):
        border = edges(length, count)
        starts, ends = [0, *border[:-1]], [*border[1:], length]
        spans.append([slice(a, b) for a, b in zip(starts, ends, strict=True)])
        if len(border) == 2:
            spans[-1] = [slice(0, length)]
    yield from product(*spans)
