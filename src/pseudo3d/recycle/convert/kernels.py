"""Layers with kernels in space and time made of a 2-D one: the rivals of the pseudo-3-D pair.

`Inflated` repeats a kernel along time (Carreira and Zisserman, CVPR 2017: I3D) or puts it into the
center frame. `Turned` splits the output channels in three and turns the kernels of each third into
another plane (Yang et al., IEEE JBHI 2021: ACS convolutions).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.conv import Padding
from pseudo3d.recycle.convert.frames import Clock, Timed

Pair = tuple[int, int]
_MODES = {"zeros": "constant"}  # torch's two names for one thing


def pair(value: Any) -> Pair:
    """One number for both axes, or two."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def margins(conv: nn.Conv2d) -> tuple[int, int, int, int]:
    """Padding of a convolution: left, right, top, bottom, as `F.pad` takes it."""
    if conv.padding == "valid":
        return 0, 0, 0, 0
    if conv.padding == "same":
        (h, w), (dh, dw) = pair(conv.kernel_size), pair(conv.dilation)
        down, across = dh * (h - 1), dw * (w - 1)
        return across // 2, across - across // 2, down // 2, down - down // 2
    top, left = pair(conv.padding)
    return left, left, top, top


class _Kernel3d(Timed):
    """What both share: a 2-D convolution's options, its padding in space, and padding in time."""

    def __init__(
        self, conv: nn.Conv2d, clock: Clock, padding: Padding, stride: int, steady: bool
    ) -> None:
        super().__init__(clock, stride, steady)
        self.margins, self.mode, self.time_mode = margins(conv), conv.padding_mode, padding
        self.pitch, self.dilation = pair(conv.stride), pair(conv.dilation)
        self.groups = conv.groups
        self.bias = conv.bias

    def padded(self, x: Float[Tensor, "f c h w"]) -> Float[Tensor, "n c t h2 w2"]:
        """Clips of frames padded in space as the 2-D layer pads."""
        if any(self.margins):
            x = F.pad(x, self.margins, mode=_MODES.get(self.mode, self.mode))
        return self.clips(x)

    def lengthened(self, x: Float[Tensor, "n c t h w"], reach: int) -> Tensor:
        """Clips padded in time so that a kernel of this reach keeps their length.

        Padding by hand, not by the convolution: no clip is then shorter than the kernel, where
        torch's bfloat16 gradients on CPUs with AVX-512 are wrong.
        """
        ends = (0, 0, 0, 0, reach // 2, reach - reach // 2)
        return F.pad(x, ends, mode=_MODES.get(self.time_mode, self.time_mode)) if reach else x

    def extra_repr(self) -> str:
        kernel = "x".join(map(str, self.get_parameter("weight").shape))
        return f"weight {kernel}, stride={(self.stride, *self.pitch)}, groups={self.groups}"


class Inflated(_Kernel3d):
    """A 2-D convolution whose kernel reaches over `length` frames.

    Entries: weight (O, I, T, H, W), bias, under the names of the 2-D layer.

    Shape:
        (N * T, C, H, W) -> (N * ceil(T / stride), C', H', W')
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        how: Literal["i3d", "center"],
        length: int,
        clock: Clock,
        *,
        padding: Padding = "zeros",
        stride: int = 1,
        steady: bool = True,
    ) -> None:
        super().__init__(conv, clock, padding, stride, steady)
        flat = conv.weight.detach()[:, :, None]
        if how == "i3d":
            kernel = flat.repeat(1, 1, length, 1, 1) / length
        else:
            kernel = F.pad(flat, (0, 0, 0, 0, length // 2, length // 2))
        self.weight = nn.Parameter(kernel, conv.weight.requires_grad)

    def forward(self, x: Float[Tensor, "f c h w"]) -> Float[Tensor, "f2 d h2 w2"]:
        clips = self.lengthened(self.padded(x), self.weight.shape[2] - 1)
        stride, dilation = (self.stride, *self.pitch), (1, *self.dilation)
        y = F.conv3d(clips, self.weight, self.bias, stride, 0, dilation, self.groups)
        return self.frames(y, like=x)


class Turned(_Kernel3d):
    """A 2-D convolution one third of whose channels looks along (H, W), (T, W) and (T, H) each.

    Entries: weight (O, I, H, W), bias: those of the 2-D layer. A grouped layer has its groups
    shared out instead of its output channels.

    Shape:
        (N * T, C, H, W) -> (N * ceil(T / stride), C', H', W')
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        clock: Clock,
        *,
        padding: Padding = "zeros",
        stride: int = 1,
        steady: bool = True,
    ) -> None:
        super().__init__(conv, clock, padding, stride, steady)
        self.weight = nn.Parameter(conv.weight.detach().clone(), conv.weight.requires_grad)

    @staticmethod
    def obstacle(conv: nn.Conv2d) -> str | None:
        """Why a layer's kernels cannot be turned; None where they can."""
        (h, w), (dh, dw) = pair(conv.kernel_size), pair(conv.dilation)
        if conv.groups == 2:
            return "two groups cannot be shared out among three planes"
        if dh * (h - 1) % 2 or dw * (w - 1) % 2:
            return f"a {h}x{w} kernel has no center to turn around"
        return None

    def forward(self, x: Float[Tensor, "f c h w"]) -> Float[Tensor, "f2 d h2 w2"]:
        clips = self.padded(x)
        (sh, sw), (dh, dw) = self.pitch, self.dilation
        kh, kw = self.weight.shape[2:]
        rh, rw = dh * (kh - 1), dw * (kw - 1)  # how far the kernel reaches in height and width
        rows = clips[..., rh // 2 : clips.shape[-2] - rh // 2, :]  # under the kernel's center
        columns = clips[..., rw // 2 : clips.shape[-1] - rw // 2]
        planes = (
            (clips, 2, (1, dh, dw)),
            (self.lengthened(rows, rh), 3, (dh, 1, dw)),
            (self.lengthened(columns, rw), 4, (dw, dh, 1)),
        )
        done = []
        for plane, (inputs, outputs, groups) in zip(planes, self._thirds(), strict=True):
            seen, axis, dilation = plane
            if outputs.start == outputs.stop:  # fewer than three channels
                continue
            weight = self.weight[outputs]
            kernel = (weight.transpose(2, 3) if axis == 4 else weight).unsqueeze(axis)
            bias = None if self.bias is None else self.bias[outputs]
            stride = (self.stride, sh, sw)
            done.append(F.conv3d(seen[:, inputs], kernel, bias, stride, 0, dilation, groups))
        return self.frames(torch.cat(done, 1), like=x)

    def _thirds(self) -> Iterator[tuple[slice, slice, int]]:
        """Input channels, output channels and groups of each plane."""
        out, own = self.weight.shape[:2]
        parts = out if self.groups == 1 else self.groups
        edges = [parts * i // 3 for i in range(4)]
        for low, high in pairwise(edges):
            if self.groups == 1:
                yield slice(None), slice(low, high), 1
            else:
                each = out // self.groups
                yield slice(low * own, high * own), slice(low * each, high * each), high - low
