"""Temporal partners: what a pseudo-3-D network has beside each of its convolutions in space.

After Qiu, Yao, Mei (ICCV 2017, figure 2), written for layers of any 2-D network. S is the layer,
T the k x 1 x 1 partner, r the ReLU:

    A: T(S(x))    B: S(x) + T(x)    C: y + T(r(y)) with y = S(x), or its batch norm

A fresh T is the identity in A and zero in B and C: the layer then does to a frame what it did.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.conv import Conv3d
from pseudo3d.recycle.convert.frames import Clock, Layout, Timed

Form = Literal["A", "B", "C"]
CHILD = "time"  # under which name a partner lives in its layer


class Partner(Timed):
    """A temporal convolution that works on what its layer got and gave.

    Args:
        conv: T, k x 1 x 1.
        offset: first row and column of the input that lie under the center of the layer's kernel.
        pitch: the layer's stride in height and width (B only, as `offset`).
    Shape:
        input and output of the layer -> output of the same shape, but for frames left out
    """

    def __init__(
        self,
        form: Form,
        conv: Conv3d,
        clock: Clock,
        *,
        layout: Layout = "frames",
        offset: tuple[int, int] = (0, 0),
        pitch: tuple[int, int] = (1, 1),
        steady: bool = True,
    ) -> None:
        super().__init__(clock, conv.stride[0], steady)
        self.form, self.layout, self.offset, self.pitch = form, layout, offset, pitch
        self.conv = conv
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let frames pass unchanged."""
        nn.init.zeros_(self.conv.weight)
        if self.form == "A":
            with torch.no_grad():
                out, own, length = self.conv.weight.shape[:3]
                rows = torch.arange(out, device=self.conv.weight.device)
                self.conv.weight[rows, rows % own, length // 2] = 1.0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.form == "B":
            x = x if self.layout != "frames" else self._under(x, y)
            t = self.conv(self.clips(x, self.layout))
        else:
            t = self.conv(self.clips(y if self.form == "A" else y.relu(), self.layout))
        t = self.frames(t, self.layout, like=y)
        if self.form == "A":
            return t
        return (y if self.stride == 1 else self._thinned(y)) + t

    def _under(
        self, x: Float[Tensor, "f c h w"], y: Float[Tensor, "f d h2 w2"]
    ) -> Float[Tensor, "f c h2 w2"]:
        """The pixels of the input that lie under the pixels of the output."""
        (top, left), (down, right) = self.offset, self.pitch
        bottom = top + down * (y.shape[-2] - 1) + 1
        end = left + right * (y.shape[-1] - 1) + 1
        return x[..., top:bottom:down, left:end:right]

    def _thinned(self, y: Tensor) -> Tensor:
        every = self.clips(y, self.layout)[:, :, :: self.stride]
        return self.frames(every, self.layout, like=y)

    def extra_repr(self) -> str:
        return f"form={self.form!r}"


class Thinning(Timed):
    """Fewer frames: every `stride`-th one, or the maximum or mean of as many."""

    def __init__(
        self, how: Literal["take", "max", "mean"], stride: int, clock: Clock, steady: bool = False
    ) -> None:
        super().__init__(clock, stride, steady)
        self.how = how

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        clips, s = self.clips(y), self.stride
        stride, window = (s, 1, 1), (min(s, clips.shape[2]), 1, 1)  # a short clip is one window
        if self.how == "max":
            clips = F.max_pool3d(clips, window, stride, ceil_mode=True)
        elif self.how == "mean":
            clips = F.avg_pool3d(clips, window, stride, ceil_mode=True, count_include_pad=False)
        else:
            clips = clips[:, :, ::s]
        return self.frames(clips, like=y)

    def extra_repr(self) -> str:
        return f"{self.how}, stride={self.stride}"


def attach(layer: nn.Module, part: Timed) -> None:
    """Put a part into a layer, to run after it."""
    layer.add_module(CHILD, part)
    layer.register_forward_hook(_run, with_kwargs=True)


def _run(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
    """Forward hook; a function of the module, so that copies and pickles of the layer keep it."""
    part, x = layer.get_submodule(CHILD), first(args, named)
    if isinstance(output, tuple):  # attention gives its weights too
        return part(x, output[0]), *output[1:]
    return part(x, output)


def first(args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What a layer was called with, by place or by name."""
    return args[0] if args else next(iter(named.values()))
