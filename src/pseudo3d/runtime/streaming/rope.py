"""Frames of a stream as the chunks they came in: joined only when somebody needs them together."""

import torch
from torch import Tensor

from pseudo3d.runtime.views import dense

Rope = tuple[Tensor, ...]  # chunks (N, C, T, H, W), in order
EMPTY: Rope = ()


def length(rope: Rope) -> int:
    """Frames in it."""
    return sum(x.shape[2] for x in rope)


def take(rope: Rope, count: int) -> Rope:
    """The first frames."""
    found, left = [], count
    for x in rope:
        if left <= 0:
            break
        found.append(x if x.shape[2] <= left else dense(x[:, :, :left]))
        left -= x.shape[2]
    return tuple(found)


def drop(rope: Rope, count: int) -> Rope:
    """Without the first frames; the rest holds no memory of them."""
    found, left = [], count
    for x in rope:
        if left < x.shape[2]:
            found.append(x if left <= 0 else _own(x[:, :, left:]))
        left -= x.shape[2]
    return tuple(found)


def own(rope: Rope) -> Rope:
    """The same in memory that holds nothing else."""
    return tuple(x if x.untyped_storage().nbytes() == x.nbytes else _own(x) for x in rope)


def _own(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.channels_last_3d)


def entire(rope: Rope) -> Tensor | None:
    """All chunks as one; None of nothing."""
    return whole(rope) if rope else None


def whole(rope: Rope) -> Tensor:
    """All chunks as one; there is at least one."""
    # of frames of one pixel `cat` cannot tell the layout, and takes the plain one
    return rope[0] if len(rope) == 1 else dense(torch.cat(rope, 2))


def singles(rope: Rope) -> Rope:
    """One chunk for every frame."""
    if all(x.shape[2] == 1 for x in rope):
        return rope
    return tuple(dense(x[:, :, i : i + 1]) for x in rope for i in range(x.shape[2]))
