"""Measure whether a converted network is its 2-D self, frame by frame."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from pseudo3d.recycle.convert.frames import Converted, as_frames, join
from pseudo3d.recycle.convert.options import Plan
from pseudo3d.recycle.convert.report import Proof

LENGTHS = (1, 2, 5, 16)
_LIMITS = {torch.float32: 1e-5, torch.float64: 1e-9}
_COARSE = 5e-2  # half precision


@torch.no_grad()
def prove(net2d: nn.Module, converted: Converted, plan: Plan, example: Tensor) -> Proof:
    """Compare a converted network with the 2-D one on random clips; both in eval mode.

    With another number of channels than the images', the clips are gray: one picture in all
    channels of either network.

    Args:
        example: images the 2-D network takes; the clips get their size, type and device.
    """
    draw = torch.Generator().manual_seed(2017)
    images = example.shape[1]
    own = images if plan.options.channels is None else 1

    def clip(length: int) -> Tensor:
        shape = (1 if length > 5 else 2, own, length, *example.shape[2:])
        return torch.randn(shape, generator=draw).to(example)

    clips = [clip(length) for length in LENGTHS]
    channels = (images, plan.options.channels or images)
    still = clips[-1][:, :, :1].expand(-1, -1, 5, -1, -1)
    proof = Proof(
        lengths=LENGTHS,
        error=max(_difference(net2d, converted, c, channels) for c in clips),
        error64=_in_double(net2d, converted, clips[2], channels),
        still=_difference(net2d, converted, still, channels),
        limit=_LIMITS.get(example.dtype, _COARSE),
        # a kernel summed over its channels is rounded once, in the network's own precision
        limit64=1e-9 if own == images else _LIMITS.get(example.dtype, _COARSE),
    )
    if proof.exact:
        return proof
    frames = (as_frames(c.expand(-1, images, -1, -1, -1)) for c in clips)
    if math.isinf(proof.error) and any(y.isnan().any() for x in frames for y in _tensors(net2d(x))):
        return replace(proof, why_not="the 2-D network itself answers NaN to random images")
    return replace(proof, why_not=_cause(net2d, plan, example))


def _difference(
    net2d: nn.Module, converted: Converted, clip: Tensor, channels: tuple[int, int]
) -> float:
    """Greatest difference of the answers to one batch of clips, relative to the greatest answer.

    Never NaN, which `max` may pass over: infinite where an answer is not a number.
    """
    wide, own = (clip.expand(-1, c, -1, -1, -1) if clip.shape[1] == 1 else clip for c in channels)
    answers = [_tensors(net2d(frame[None])) for frame in as_frames(wide)]
    wanted = [
        join(torch.cat(rows), len(clip), converted.head) for rows in zip(*answers, strict=True)
    ]
    got = _tensors(converted(own))
    if [y.shape for y in got] != [y.shape for y in wanted]:
        return float("inf")
    pairs = zip(got, wanted, strict=True)
    return max((_off(*pair) for pair in pairs if pair[1].numel()), default=0.0)


def _off(mine: Tensor, theirs: Tensor) -> float:
    """Greatest difference of two answers, relative to the greatest finite number in the second."""
    apart = float((mine - theirs).abs().where(mine != theirs, 0.0).max())  # inf - inf is NaN
    scale = float(theirs.abs().where(theirs.isfinite(), 0.0).max())
    return math.inf if math.isnan(apart) else apart / max(scale, 1e-12)


def _tensors(answer: Any) -> list[Tensor]:
    leaves = (y for y in tree_leaves(answer) if isinstance(y, Tensor))
    return [y if y.is_floating_point() else y.float() for y in leaves]


def _in_double(
    net2d: nn.Module, converted: Converted, clip: Tensor, channels: tuple[int, int]
) -> float | None:
    """The same difference in float64, where rounding hides nothing; None if forward cannot."""
    try:
        pair = deepcopy(net2d).double(), deepcopy(converted).double()
        return _difference(*pair, clip.double(), channels)
    except (RuntimeError, TypeError):  # tensors of another type made in forward
        return None


def _cause(net2d: nn.Module, plan: Plan, example: Tensor) -> str:
    """The likely cause of a difference, in words; empty where none was found."""
    if not plan.steady:
        return "its time strides leave frames out"
    if plan.options.method in ("i3d", "acs"):
        return f"the kernels of {plan.options.method} mix neighboring frames from the start"
    together, again = _tensors(net2d(example)), _tensors(net2d(example))
    alone = [torch.cat(y) for y in zip(*(_tensors(net2d(x[None])) for x in example), strict=True)]
    if _apart(together, again):
        return "the 2-D network gives another answer each time, in eval mode too"
    if not _apart(together, alone):
        return ""
    norms = [m for m in net2d.modules() if isinstance(m, _BatchNorm) and m.running_var is None]
    how = " (batch norm without running statistics)" if norms else ""
    return f"the 2-D network's answer to an image depends on the other images of its batch{how}"


def _apart(one: list[Tensor], other: list[Tensor]) -> bool:
    close: Callable[[Tensor, Tensor], bool] = lambda a, b: torch.allclose(a, b, 1e-3, 1e-4)  # noqa: E731 (typed)
    return not all(map(close, one, other))
