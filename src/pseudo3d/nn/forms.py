"""Convolutions in space and time in their published forms, and residual blocks made of them.

Full 3 x 3 x 3 kernels (R3D), 1 x 3 x 3 then 3 x 1 x 1 with batch norm and ReLU between them
(R(2+1)D), space only (the upper stages of MC3): Tran et al., CVPR 2018, figure 1. Inflated: a
bottleneck whose 1 x 1 x 1 looks at three frames (Wang et al., CVPR 2018, table 1).
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.blocks import norm
from pseudo3d.nn.conv import Conv3d, Triple, present

Form = Literal["full", "2+1", "space", "inflated"]
Shortcut = Literal["A", "B"]
Middle = Literal["shared", "own"]


@dataclass(frozen=True, kw_only=True)
class FormSpec:
    """What a residual block is made of, apart from its channels."""

    form: Form = "full"
    stride: Triple = (1, 1, 1)
    dilation: int = 1  # along all axes the kernel has
    middle: Middle = "shared"  # see `Residual`
    shortcut: Shortcut = "B"  # where shapes differ; A: subsampled, zero channels; B: projected
    shortcut_bias: bool = False
    causal: bool = False  # kernels with an extent in time see the frame and those before it

    def __post_init__(self) -> None:
        for name, value, known in (
            ("form", self.form, ("full", "2+1", "space", "inflated")),
            ("middle", self.middle, ("shared", "own")),
            ("shortcut", self.shortcut, ("A", "B")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; wanted one of {', '.join(known)}")
        if self.dilation < 1:
            raise ValueError(f"dilation is {self.dilation}; wanted at least 1")


def middle_width(cin: int, cout: int) -> int:
    """Channels between 1 x 3 x 3 and 3 x 1 x 1 that give as many weights as 3 x 3 x 3 has.

    Tran et al., CVPR 2018, section 3.5.
    """
    return 27 * cin * cout // (9 * cin + 3 * cout)


class Unit(nn.Module):
    """A convolution and the batch norm after it.

    Shape: (N, cin, T, H, W) -> (N, cout, T', H', W'), ceil(size / stride) along each axis.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        dilation: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.conv = _same(cin, cout, kernel, stride, dilation, causal)
        self.norm = norm(cout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        return self.norm(self.conv(x))


class Factored(nn.Module):
    """(2+1)-D: 1 x 3 x 3, batch norm, ReLU, 3 x 1 x 1, batch norm.

    Shape: as `Unit`.
    """

    def __init__(
        self,
        cin: int,
        middle: int,
        cout: int,
        stride: Triple = (1, 1, 1),
        dilation: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        st, sh, sw = stride
        self.space = _same(cin, middle, (1, 3, 3), (1, sh, sw), dilation)
        self.space_norm = norm(middle)
        self.act = nn.ReLU(inplace=True)
        self.time = _same(middle, cout, (3, 1, 1), (st, 1, 1), dilation, causal)
        self.norm = norm(cout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        return self.norm(self.time(self.act(self.space_norm(self.space(x)))))


def _same(
    cin: int, cout: int, kernel: Triple, stride: Triple, dilation: int, causal: bool = False
) -> Conv3d:
    """A convolution whose output lies on its input; dilated where the kernel has an extent."""
    t, h, w = (dilation if k > 1 else 1 for k in kernel)
    pad = (t * (kernel[0] // 2), h * (kernel[1] // 2), w * (kernel[2] // 2))
    back = causal and kernel[0] > 1
    dilations = (t, h, w)
    return Conv3d(cin, cout, kernel, stride=stride, padding=pad, dilation=dilations, causal=back)


def _unit(cin: int, cout: int, spec: FormSpec, stride: Triple, middle: int) -> nn.Module:
    """The convolution that a form has in place of 3 x 3 x 3."""
    if spec.form == "2+1":
        return Factored(cin, middle, cout, stride, spec.dilation, spec.causal)
    kernel = (3, 3, 3) if spec.form == "full" else (1, 3, 3)
    return Unit(cin, cout, kernel, stride, spec.dilation, spec.causal)


class Residual(nn.Module):
    """Two convolutions of one form: the block of the 18- and 34-layer networks.

    In the (2+1)-D form both have the first one's middle width, as torchvision released them
    (`middle="shared"`), or each its own, as the authors did ("own").

    Shape: (N, cin, T, H, W) -> (N, width, T', H', W'), ceil(size / stride) along each axis.
    """

    expansion = 1

    def __init__(self, cin: int, width: int, spec: FormSpec) -> None:
        super().__init__()
        if spec.form == "inflated":
            raise ValueError(
                "form 'inflated' has no meaning for basic blocks, which have no 1 x 1 x 1 kernel; "
                "use bottleneck blocks"
            )
        first = middle_width(cin, width)
        second = first if spec.middle == "shared" else middle_width(width, width)
        self.first = _unit(cin, width, spec, spec.stride, first)
        self.second = _unit(width, width, spec, (1, 1, 1), second)
        self.shortcut = _shortcut(cin, width, spec)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        y = self.second(self.act(self.first(x)))
        y += self.shortcut(x)
        return self.act(y)


class ResidualBottleneck(nn.Module):
    """1x1x1, a convolution of one form, 1x1x1: the block of the 50-layer networks and deeper.

    Shape: (N, cin, T, H, W) -> (N, 4 * width, T', H', W'), ceil(size / stride) along each axis.
    """

    expansion = 4

    def __init__(self, cin: int, width: int, spec: FormSpec) -> None:
        super().__init__()
        cout = self.expansion * width
        early, late = (1, 1, 1), spec.stride
        if spec.form == "inflated":  # each kernel strides the axes it looks along
            early, late = (spec.stride[0], 1, 1), (1, *spec.stride[1:])
        reduce_kernel = (3 if spec.form == "inflated" else 1, 1, 1)
        middle = middle_width(cin if spec.middle == "shared" else width, width)
        self.reduce = Unit(cin, width, reduce_kernel, early, causal=spec.causal)
        self.middle = _unit(width, width, spec, late, middle)
        self.expand = Unit(width, cout, (1, 1, 1))
        self.shortcut = _shortcut(cin, cout, spec)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        y = self.expand(self.act(self.middle(self.act(self.reduce(x)))))
        y += self.shortcut(x)
        return self.act(y)


class SpaceThenTime(nn.Module):
    """1 x 3 x 3, then 3 x 1 x 1: a basic block whose second convolution looks along time instead.

    With mix A of P3D it shares the order, but each convolution has its batch norm and the shortcut
    spans both, so that there is one temporal convolution for every spatial one.

    Shape: (N, cin, T, H, W) -> (N, width, T', H', W'), ceil(size / stride) along each axis.
    """

    expansion = 1

    def __init__(
        self, cin: int, width: int, stride: Triple = (1, 1, 1), causal: bool = False
    ) -> None:
        super().__init__()
        self.space = Unit(cin, width, (1, 3, 3), (1, *stride[1:]))
        self.time = Unit(width, width, (3, 1, 1), (stride[0], 1, 1), causal=causal)
        self.shortcut = _shortcut(cin, width, FormSpec(form="space", stride=stride))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        y = self.time(self.act(self.space(x)))
        y += self.shortcut(x)
        return self.act(y)

    def still(self) -> None:
        """Let frames pass the temporal kernel unchanged: the block starts as a 2-D one."""
        weight = self.time.conv.weight
        nn.init.zeros_(weight)
        nn.init.eye_(weight.data[:, :, present(self.time.conv), 0, 0])


class Subsample(nn.Module):
    """The shortcut without weights (type A of He et al.): every stride-th voxel, zero channels.

    Shape: (N, cin, T, H, W) -> (N, cout, T', H', W'), ceil(size / stride) along each axis.
    """

    def __init__(self, cin: int, cout: int, stride: Triple) -> None:
        super().__init__()
        if cout < cin:
            raise ValueError(f"a shortcut of type A cannot drop channels: {cin} come, {cout} leave")
        self.cin, self.cout, self.stride = cin, cout, stride

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        t, h, w = self.stride
        return F.pad(x[:, :, ::t, ::h, ::w], (0, 0, 0, 0, 0, 0, 0, self.cout - self.cin))

    def as_convolution(self) -> Conv3d:
        """The same as a 1 x 1 x 1 convolution, for graphs that know no padding of channels."""
        conv = Conv3d(self.cin, self.cout, (1, 1, 1), stride=self.stride, bias=True)
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # there is one
        nn.init.eye_(conv.weight.data[:, :, 0, 0, 0])
        return conv

    def extra_repr(self) -> str:
        return f"{self.cin}, {self.cout}, stride={self.stride}"


def _shortcut(cin: int, cout: int, spec: FormSpec) -> nn.Module:
    """Identity where shapes agree."""
    if cin == cout and set(spec.stride) == {1}:
        return nn.Identity()
    if spec.shortcut == "A":
        return Subsample(cin, cout, spec.stride)
    conv = Conv3d(cin, cout, (1, 1, 1), stride=spec.stride, bias=spec.shortcut_bias)
    return nn.Sequential(conv, norm(cout))
