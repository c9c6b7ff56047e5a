"""The steps of a lowered network: each takes and gives dense channels-last (N, C, T, H, W)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pseudo3d.runtime.packed import PackedConv
from pseudo3d.runtime.views import clip, dense, frames, pieces, positions

Step = Callable[..., Tensor]


class Convolution:
    """relu(conv(x) + other) along the fastest way its kernel allows.

    Flat in time: images. Flat in space: an image of T rows. As long as its stride in time: images
    with the frames of a piece as channels. Else: as it is.
    """

    def __init__(self, conv: nn.Conv3d, dtype: torch.dtype, *, relu: bool) -> None:
        kt, kh, kw = conv.kernel_size
        (st, sh, sw), (dt, dh, dw) = conv.stride, conv.dilation
        pt, ph, pw = (int(p) for p in conv.padding)
        self.pads = (pw, pw, ph, ph, pt, pt)
        self.replicate = conv.padding_mode == "replicate" and any(self.pads)
        if self.replicate:
            pt = ph = pw = 0
        weight, space = conv.weight.detach(), ((sh, sw), (ph, pw), (dh, dw))
        self.prepare: Step = dense if self.replicate else _same
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
        if self.replicate:
            x = F.pad(x, self.pads, mode="replicate")
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
