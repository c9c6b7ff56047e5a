"""Convolutions that torch 2.13 computes wrongly in bfloat16 on a CPU run in float32 here.

Two kinds, found by comparing with float32, on processors with AVX-512:

- Full kernels, weight gradient: 2 <= T < reach of the kernel in time.
- Kernels wider than 1 with a stride in width above 1, where a row of outputs has a single one: the
  weight gradient where the row is shorter than the stride, and on processors with AMX the output
  itself from about five rows on. Both read, and write, memory that is not theirs.

What comes out is of any size or not a number, and nothing tells.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def computes_in_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of `x` on the CPU would run in bfloat16, autocast included."""
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16


def is_narrow(
    width: int, kernel: int, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> bool:
    """Whether rows of `width` have a single output, by a kernel and a stride above 1.

    Args:
        stride, padding, dilation: of all axes, width last.
    """
    reach = dilation[-1] * (kernel - 1) + 1
    return kernel > 1 and stride[-1] > 1 and width + 2 * padding[-1] - reach < stride[-1]


def convolve(
    function: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """`F.conv2d` or `F.conv3d`, in float32 where bfloat16 would be wrong."""
    rest = (stride, padding, dilation, groups)
    if not computes_in_bfloat16(x) or not _is_wrong(x, weight, stride, padding, dilation):
        return function(x, weight, bias, *rest)
    with torch.autocast("cpu", enabled=False):
        y = function(x.float(), weight.float(), None if bias is None else bias.float(), *rest)
    return y.to(torch.bfloat16)


def _is_wrong(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> bool:
    if is_narrow(x.shape[-1], weight.shape[-1], stride, padding, dilation):
        return True
    return x.ndim == 5 and 2 <= x.shape[2] < dilation[0] * (weight.shape[2] - 1) + 1
