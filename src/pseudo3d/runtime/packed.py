"""2-D and 3-D convolution with weights packed for oneDNN, ReLU and a sum fused into it.

The operators are those that torch's own compiler emits; they are private. `fused()` tries them
once against the public ones; where they are missing or differ, the public ones run.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pseudo3d.nn.exact import convolve, gives_nonsense

KEPT = 4  # shapes and numbers of threads packed weights are kept for; older ones are packed again


class PackedConv:
    """relu(conv(x) + other) on channels-last tensors; ReLU and `other` are optional.

    Packed weights depend on the shape of the input and the number of threads, and so they are made
    at the first use. Given those for another number, oneDNN would pack them again at every call.

    Args:
        weight: (O, I, kH, kW) or (O, I, kT, kH, kW), in the precision of the inputs.
        stride, padding, dilation: one number per axis of the kernel.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
        *,
        relu: bool,
    ) -> None:
        flat = weight.ndim == 4
        self.layout = torch.channels_last if flat else torch.channels_last_3d
        self.weight = weight.contiguous(memory_format=self.layout)
        self.bias, self.relu = bias.to(weight.dtype), relu
        self.shape = (list(padding), list(stride), list(dilation), groups)
        self.plain: Callable[..., Tensor] = F.conv2d if flat else F.conv3d
        self._packed: OrderedDict[tuple[torch.Size, int], Tensor] = OrderedDict()

    def __call__(self, x: Tensor, other: Tensor | None = None, spare: bool = False) -> Tensor:
        """Convolve.

        Args:
            spare: nobody needs `other` afterwards: its memory takes the result.
        """
        padding, stride, dilation, _ = self.shape
        if not fused() or gives_nonsense(x, self.weight, stride, padding, dilation):
            return self._public(x, other)
        args: tuple[Any, ...] = (x, self._weight(x.shape), self.bias, *self.shape)
        if other is None:
            act = "relu" if self.relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(*args, act, [], "")
        act2 = "relu" if self.relu else None
        if spare:
            return torch.ops.mkldnn._convolution_pointwise_.binary(
                other, *args, "add", 1.0, act2, [], None
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, *args[1:], "add", 1.0, act2, [], None
        )

    def _weight(self, shape: torch.Size) -> Tensor:
        use = (shape, torch.get_num_threads())
        packed = self._packed.get(use)
        if packed is None:
            packed = self._packed[use] = _pack(self.weight, self.shape, list(shape))
            if len(self._packed) > KEPT:
                self._packed.popitem(last=False)
        return packed

    def _public(self, x: Tensor, other: Tensor | None) -> Tensor:
        padding, stride, dilation, groups = self.shape
        y = convolve(self.plain, x, self.weight, self.bias, stride, padding, dilation, groups)
        y = y.contiguous(memory_format=self.layout)
        if other is not None:
            y += other
        return y.relu_() if self.relu else y


def _pack(weight: Tensor, shape: tuple[Any, ...], inputs: list[int]) -> Tensor:
    ours = torch._C._nn
    pack: Callable[..., Tensor] = ours.mkldnn_reorder_conv3d_weight
    if weight.ndim == 4:
        pack = ours.mkldnn_reorder_conv2d_weight
    return pack(weight.to_mkldnn(), *shape, inputs)


@cache
def fused() -> bool:
    """Whether torch's private fused convolutions are there and compute what they should."""
    try:
        return all(_agrees(ndim) for ndim in (4, 5))
    except (AttributeError, RuntimeError, TypeError):
        return False


def _agrees(ndim: int) -> bool:
    """Compare a small convolution with the public operators; called once a process."""
    axes = ndim - 2
    draw = torch.Generator().manual_seed(0)
    x, weight, bias, other = (
        torch.randn(shape, generator=draw)
        for shape in ((2, 8, *[5] * axes), (16, 8, *[3] * axes), (16,), (2, 16, *[5] * axes))
    )
    layout = torch.channels_last if ndim == 4 else torch.channels_last_3d
    x, other = (v.contiguous(memory_format=layout) for v in (x, other))
    args = ([1] * axes, [1] * axes, [1] * axes, 1)
    packed = (_pack(weight, args, list(x.shape)), bias, *args)
    ops = torch.ops.mkldnn
    plain = (F.conv2d if ndim == 4 else F.conv3d)(x, weight, bias, padding=1)
    total = (plain + other).relu()
    found = (
        (ops._convolution_pointwise(x, *packed, "relu", [], ""), plain.relu()),
        (ops._convolution_pointwise(x, *packed, "none", [], ""), plain),
        (
            ops._convolution_pointwise.binary(x, other, *packed, "add", 1.0, "relu", [], None),
            total,
        ),
        (
            ops._convolution_pointwise_.binary(
                other.clone(memory_format=layout), x, *packed, "add", 1.0, "relu", [], None
            ),
            total,
        ),
    )
    return all(torch.allclose(ours, want, atol=1e-4) for ours, want in found)
