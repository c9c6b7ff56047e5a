"""Residual blocks whose middle is a pseudo-3-D pair: 1 x 3 x 3 in space, 3 x 1 x 1 in time.

Three forms (Qiu, Yao, Mei, ICCV 2017, section 3.2 and figure 2): A sends space through time, B
adds the two, C does both. Where batch norm and ReLU sit differs between the authors' release, its
popular port and the first author's later code; `Semantics` names the three. A fourth form, full,
is what the pair replaces: one 3 x 3 x 3 kernel, for comparison.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.conv import Conv3d, Padding, Triple, present, same_padding

Mix = Literal["A", "B", "C", "full"]  # full: one kernel in space and time, not a pair
Semantics = Literal["release", "port", "modern"]


@dataclass(frozen=True, kw_only=True)
class PairSpec:
    """What a pseudo-3-D pair is made of, apart from its channels."""

    mix: Mix | None = "A"  # None: space only, the 2-D block
    semantics: Semantics = "modern"
    kernel: Triple = (3, 3, 3)
    dilation: Triple = (1, 1, 1)
    padding_mode: Padding = "zeros"
    causal: bool = False  # temporal kernels see the frame and those before it

    def __post_init__(self) -> None:
        if self.mix not in ("A", "B", "C", "full", None):
            raise ValueError(
                f"mix is {self.mix!r}; wanted 'A', 'B', 'C', 'full' or None (space only)"
            )
        if self.semantics not in ("release", "port", "modern"):
            raise ValueError(f"semantics is {self.semantics!r}; wanted 'release', 'port', 'modern'")
        if self.mix and self.kernel[0] == 1:
            raise ValueError(
                f"kernel {self.kernel} has no extent in time; "
                f"mix {self.mix!r} needs 3 or more there"
            )
        same_padding(self.kernel, self.dilation)


def norm(channels: int) -> nn.BatchNorm3d:
    """Batch norm that is the identity until trained: running variance 1 - eps, not 1."""
    layer = nn.BatchNorm3d(channels)
    layer.running_var = torch.full((channels,), 1 - layer.eps)
    return layer


class PseudoPair(nn.Module):
    """Space (1 x k x k) and time (k x 1 x 1) in one of three forms, batch norm and ReLU included.

    With s, t the normalized branches and r the ReLU:

    | mix | release | port | modern |
    |---|---|---|---|
    | A | r(t(r(s(x)))) | r(t(r(s(x)))) | r(bn(T(S(x)))) |
    | B | r(r(s(x)) + t(x)) | r(s(x)) + r(t(x)) | r(bn(S(x) + T(x))) |
    | C | r(y/2 + t(y)/2), y = r(s(x)) | y + r(t(y)) | r(y + T(y)) |

    full is r(bn(F(x))) with one k x k x k kernel F, in every semantics.

    Sources: the authors' Caffe prototxt (release), the common PyTorch port (port), the first
    author's code of 2021 (modern).

    Shape: (N, cin, T, H, W) -> (N, cout, T, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, cin: int, cout: int, spec: PairSpec, stride: int = 1) -> None:
        super().__init__()
        kt, kh, kw = spec.kernel
        dt, dh, dw = spec.dilation
        pt, ph, pw = same_padding(spec.kernel, spec.dilation)
        self.mix, self.semantics = spec.mix, spec.semantics
        full = spec.mix == "full"
        self.causal = spec.causal
        self.space = Conv3d(
            cin,
            cout,
            (kt if full else 1, kh, kw),
            stride=(1, stride, stride),
            padding=(pt if full else 0, ph, pw),
            dilation=(dt if full else 1, dh, dw),
            padding_mode=spec.padding_mode,
            causal=spec.causal and full,
        )
        self.space_norm = norm(cout)
        self.act = nn.ReLU(inplace=True)
        if spec.mix in (None, "full"):
            return
        beside = spec.mix == "B"  # B looks at the pair's input, A and C at the output of space
        self.time = Conv3d(
            cin if beside else cout,
            cout,
            (kt, 1, 1),
            stride=(1, stride, stride) if beside else (1, 1, 1),
            padding=(pt, 0, 0),
            dilation=(dt, 1, 1),
            padding_mode=spec.padding_mode,
            causal=spec.causal,
        )
        if spec.semantics != "modern":
            self.time_norm = norm(cout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        if self.mix in (None, "full"):
            return self.act(self.space_norm(self.space(x)))
        if self.semantics == "modern":
            return self._modern(x)
        s = self.act(self.space_norm(self.space(x)))
        t = self.time_norm(self.time(x if self.mix == "B" else s))
        if self.mix == "A":
            return self.act(t)
        if self.semantics == "port":
            return s + self.act(t)
        return self.act(s + t) if self.mix == "B" else self.act(0.5 * s + 0.5 * t)

    def _modern(self, x: Tensor) -> Tensor:
        if self.mix == "A":
            return self.act(self.space_norm(self.time(self.space(x))))
        if self.mix == "B":
            return self.act(self.space_norm(self.space(x) + self.time(x)))
        y = self.act(self.space_norm(self.space(x)))
        return self.act(y + self.time(y))

    def still(self) -> None:
        """Set the temporal kernel so that the pair equals its 2-D self on every frame.

        Identity where time follows space alone (A, and C of the release, which averages two equal
        terms), zero where it is added. A full kernel is left as it is drawn.
        """
        if self.mix in (None, "full"):
            return
        nn.init.zeros_(self.time.weight)
        if self.mix == "A" or (self.mix == "C" and self.semantics == "release"):
            with torch.no_grad():
                tap = present(self.time)
                self.time.weight[:, :, tap, 0, 0] = torch.eye(self.time.out_channels)


class Bottleneck(nn.Module):
    """1x1x1 reduce, pseudo-3-D pair, 1x1x1 expand (paper figure 3).

    Args:
        width: channels of the pair; the block puts out four times as many.
        project: the shortcut is a strided 1x1x1 convolution, as in the first block of a stage.
        stride: of height and width.
        stride_on: "1x1" strides the first 1x1x1 (the release), "3x3" the pair (torchvision,
            modern).
    Shape:
        (N, cin, T, H, W) -> (N, 4 * width, T, ceil(H / stride), ceil(W / stride))
    """

    expansion = 4

    def __init__(
        self,
        cin: int,
        width: int,
        spec: PairSpec,
        stride: int = 1,
        stride_on: Literal["1x1", "3x3"] = "3x3",
    ) -> None:
        super().__init__()
        cout = self.expansion * width
        early, late = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.reduce = Conv3d(cin, width, (1, 1, 1), stride=(1, early, early))
        self.reduce_norm = norm(width)
        self.pair = PseudoPair(width, width, spec, late)
        self.expand = Conv3d(width, cout, (1, 1, 1))
        self.expand_norm = norm(cout)
        self.shortcut = _shortcut(cin, cout, stride)
        self.act = nn.ReLU(inplace=True)

    def branch(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        """What is added to the shortcut."""
        y = self.act(self.reduce_norm(self.reduce(x)))
        return self.expand_norm(self.expand(self.pair(y)))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        y = self.branch(x)
        y += self.shortcut(x)
        return self.act(y)


class Basic(nn.Module):
    """Pseudo-3-D pair, then 1 x k x k: the block of the 18- and 34-layer networks.

    One temporal convolution a block, so that the letters A, B, C count blocks as in the
    bottleneck nets.

    Shape: (N, cin, T, H, W) -> (N, width, T, ceil(H / stride), ceil(W / stride)).
    """

    expansion = 1

    def __init__(self, cin: int, width: int, spec: PairSpec, stride: int = 1) -> None:
        super().__init__()
        _, kh, kw = spec.kernel
        _, ph, pw = same_padding(spec.kernel)
        self.pair = PseudoPair(cin, width, spec, stride)
        self.refine = Conv3d(
            width, width, (1, kh, kw), padding=(0, ph, pw), padding_mode=spec.padding_mode
        )
        self.refine_norm = norm(width)
        self.shortcut = _shortcut(cin, width, stride)
        self.act = nn.ReLU(inplace=True)

    def branch(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        """What is added to the shortcut."""
        return self.refine_norm(self.refine(self.pair(x)))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        y = self.branch(x)
        y += self.shortcut(x)
        return self.act(y)


def _shortcut(cin: int, cout: int, stride: int) -> nn.Module:
    """Identity where shapes agree, else a strided 1x1x1 convolution with batch norm (type B)."""
    if cin == cout and stride == 1:
        return nn.Identity()
    return nn.Sequential(Conv3d(cin, cout, (1, 1, 1), stride=(1, stride, stride)), norm(cout))


def initialize(root: nn.Module, classifier_std: float = 0.01) -> None:
    """Draw fresh weights: He fan-out for convolutions, time still, batch norm the identity."""
    for module in root.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=classifier_std)
            nn.init.zeros_(module.bias)
    for module in root.modules():
        if isinstance(module, PseudoPair):
            module.still()
