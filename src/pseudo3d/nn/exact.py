"""Convolutions that torch 2.13 computes wrongly on a CPU, computed another way.

Found by comparing random shapes with float64, on processors with AVX-512 and with AMX:

- Kernels wider than 1 with a stride in width above 1, where a row has a single output. In bfloat16
  the weight gradient is wrong where the row is shorter than the stride, and with AMX the output
  itself from about five rows on; in float32 the output is, of one channel with a stride of 1 in
  height. A single output needs no stride: left out, all of it is right.
- Full kernels in bfloat16 on a clip shorter than the kernel in time: the weight gradient of two
  frames and more, and with AMX the output of a single frame of few channels. They run in float32.

What comes out else is of any size or not a number, memory is written past its end, and nothing
tells.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Sizes = Sequence[int]  # of all axes of a kernel, width last


def computes_in_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of `x` on the CPU would run in bfloat16, autocast included."""
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16


def convolve(
    function: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    """`F.conv2d` or `F.conv3d`, and right."""
    single = x.device.type == "cpu" and _single_column(x, weight, stride, padding, dilation)
    rest = ((*stride[:-1], 1) if single else stride, padding, dilation, groups)
    if _is_short(x, weight, dilation) and computes_in_bfloat16(x):
        with torch.autocast("cpu", enabled=False):
            whole = None if bias is None else bias.float()
            y = function(x.float(), weight.float(), whole, *rest).to(torch.bfloat16)
    else:
        y = function(x, weight, bias, *rest)
    if not single:
        return y
    layout = torch.channels_last if y.ndim == 4 else torch.channels_last_3d
    return y[..., :1].clone(memory_format=layout)  # without the memory of the other columns


def gives_nonsense(
    x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes
) -> bool:
    """Whether torch's own output may be anything, in the type of `x`."""
    lone = x.ndim == 5 and x.shape[2] == 1 < weight.shape[2] and x.dtype == torch.bfloat16
    return lone or _single_column(x, weight, stride, padding, dilation)


def _single_column(
    x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes
) -> bool:
    kernel, reach = weight.shape[-1], dilation[-1] * (weight.shape[-1] - 1) + 1
    return kernel > 1 and 0 <= x.shape[-1] + 2 * padding[-1] - reach < stride[-1] != 1


def _is_short(x: Tensor, weight: Tensor, dilation: Sizes) -> bool:
    return x.ndim == 5 and x.shape[2] < dilation[0] * (weight.shape[2] - 1) + 1
