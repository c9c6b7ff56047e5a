"""What windows compute: packed convolutions, and maxima."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pseudo3d.nn.stem import MaxPool
from pseudo3d.runtime.packed import PackedConv
from pseudo3d.runtime.steps import Convolution
from pseudo3d.runtime.streaming.rope import Rope, length, singles, whole
from pseudo3d.runtime.views import clip, dense, frames


class Convolved:
    """relu(conv(x) + other) of frames whose border is there already.

    Where one frame comes out, the frames under the kernel become the channels of one image: they
    are kept apart and laid side by side only here.
    """

    def __init__(self, conv: nn.Conv3d, dtype: torch.dtype, relu: bool) -> None:
        self.whole = Convolution(conv, dtype, relu=relu, alone=True)
        kt, self.every = conv.kernel_size[0], conv.dilation[0]
        self.reach = self.every * (kt - 1) + 1
        self.one: PackedConv | None = None
        bent = conv.padding_mode != "zeros" and any(int(p) for p in conv.padding[1:])
        if kt > 1 and conv.groups == 1 and not bent:
            self.one = _image(conv, dtype, relu)

    def __call__(self, x: Rope, other: Tensor | None, spare: bool) -> Tensor:
        if self.reach == 1 and len(x) == 1:
            return self.whole(x[0], other, spare)
        if self.one is None or length(x) > self.reach:
            return self.whole(whole(x), other, spare)
        seen = singles(x)[:: self.every]
        image = torch.cat([frames(frame) for frame in seen], 1)
        image = image.contiguous(memory_format=torch.channels_last)
        y = self.one(image, None if other is None else frames(other), spare)
        return clip(y, x[0].shape[0], 1, *y.shape[2:])


def _image(conv: nn.Conv3d, dtype: torch.dtype, relu: bool) -> PackedConv:
    """The convolution of one image that holds a frame for each tap as channels."""
    weight = conv.weight.detach().transpose(1, 2).flatten(1, 2).to(dtype)
    bias = conv.bias.detach().to(dtype)  # type: ignore[union-attr]  # folded: there is one
    (_, sh, sw), (_, dh, dw) = conv.stride, conv.dilation
    pads = tuple(int(p) for p in conv.padding[1:])
    return PackedConv(weight, bias, (sh, sw), pads, (dh, dw), 1, relu=relu)


class Highest:
    """The maximum over a window of frames."""

    def __init__(self, length: int, stride: int) -> None:
        self.length, self.stride = length, stride

    def __call__(self, x: Rope, other: Tensor | None, spare: bool) -> Tensor:
        if len(x) == length(x) == self.length:
            return self._over(list(x))
        chunk = whole(x)
        end = chunk.shape[2] - self.length + 1
        return self._over([chunk[:, :, k : k + end : self.stride] for k in range(self.length)])

    def _over(self, parts: list[Tensor]) -> Tensor:
        y = parts[0]
        for part in parts[1:]:
            y = torch.maximum(y, part)
        return dense(y)


def pool_frames(pool: MaxPool) -> Callable[[Tensor], Tensor] | None:
    """What a pooling does to each frame; None where it only looks along time."""
    kernel, stride, padding = pool.kernel[1:], pool.stride[1:], pool.padding[1:]
    if max(*kernel, *stride) == 1:
        return None
    padded = any(pool.padding)

    def run(x: Tensor) -> Tensor:
        n, _, t, h, w = x.shape
        fitting = kernel if padded else (min(kernel[0], h), min(kernel[1], w))
        y = F.max_pool2d(frames(x), fitting, stride, padding, ceil_mode=not padded)
        return clip(y.contiguous(memory_format=torch.channels_last), n, t, *y.shape[2:])

    return run
