"""The steps of a lowered network: each takes and gives dense channels-last (N, C, T, H, W)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pseudo3d.nn.conv import time_padding
from pseudo3d.runtime.packed import PackedConv
from pseudo3d.runtime.views import clip, dense, frames, pieces, positions

Step = Callable[..., Tensor]


class Convolution:
    """relu(conv(x) + other) along the fastest way its kernel allows.

    Flat in time: images. Flat in space: an image of T rows. As long as its stride in time: images
    with the frames of a piece as channels. Else: as it is.

    Args:
        alone: the padding of time is in the input already.
    """

    def __init__(
        self, conv: nn.Conv3d, dtype: torch.dtype, *, relu: bool, alone: bool = False
    ) -> None:
        kt, kh, kw = conv.kernel_size
        (st, sh, sw), (dt, dh, dw) = conv.stride, conv.dilation
        pt, ph, pw = (int(p) for p in conv.padding)
        before, after = (0, 0) if alone else time_padding(conv)
        pt = 0 if alone else pt
        pads = (pw, pw, ph, ph, before, after)
        mode = "constant"
        if conv.padding_mode == "replicate" and any(pads):
            mode, pt, ph, pw = "replicate", 0, 0, 0
        elif before != after:  # the kernels pad both ends alike
            pads, pt = (0, 0, 0, 0, before, after), 0
        else:
            pads = (0,) * 6
        self.pads, self.mode = pads, mode
        weight, space = conv.weight.detach(), ((sh, sw), (ph, pw), (dh, dw))
        self.prepare: Step = dense if any(pads) else _same
        self.view: Step = frames
        if kt == 1 and pt == 0:
            weight = weight[:, :, 0]
            if st > 1:
                self.prepare = lambda x: dense(x[:, :, ::st])
        elif kt == st and pt == 0 and dt == conv.groups == 1:
            weight = weight.flatten(1, 2)
            self.prepare = lambda x: pieces(x, kt)
        elif kh == kw == 1 and ph == pw == 0:
            weight, space = weight[..., 0], ((st, 1), (pt, 0), (dt, 1))
            self.view = positions
            if sh > 1 or sw > 1:
                self.prepare = lambda x: dense(x[:, :, :, ::sh, ::sw])
        else:
            self.view = _same
            space = ((st, sh, sw), (pt, ph, pw), (dt, dh, dw))  # type: ignore[assignment]
        bias = conv.bias.detach()  # type: ignore[union-attr]  # folded: there is one
        self.conv = PackedConv(weight.to(dtype), bias.to(dtype), *space, conv.groups, relu=relu)

    def __call__(self, x: Tensor, other: Tensor | None = None, spare: bool = False) -> Tensor:
        if any(self.pads):
            x = F.pad(x, self.pads, mode=self.mode)
        x = self.prepare(x)
        n, _, t, h, w = x.shape
        seen = None if other is None else self.view(other)
        y = self.conv(self.view(x), seen, spare)
        if self.view is _same:
            return y
        if self.view is frames:
            return clip(y, n, t, *y.shape[2:])
        return clip(y, n, y.shape[2], h, w)


def _same(x: Tensor) -> Tensor:
    return x
