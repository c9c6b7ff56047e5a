"""The first layers of a network and the pooling between its stages."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.blocks import norm
from pseudo3d.nn.conv import Conv3d, Triple

SpacePool = Literal["pad", "ceil", "none"]


class MaxPool(nn.Module):
    """Max pooling that takes any size: a window never reaches past the end of its axis.

    Every started window counts (ceil rounding, as Caffe rounds), except where padding is given.

    Shape: (N, C, T, H, W) -> (N, C, T', H', W'), at least 1 each.
    """

    def __init__(self, kernel: Triple, stride: Triple, padding: Triple = (0, 0, 0)) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t2 h2 w2"]:
        if any(self.padding):
            return F.max_pool3d(x, self.kernel, self.stride, self.padding)
        kernel = [min(k, size) for k, size in zip(self.kernel, x.shape[2:], strict=True)]
        return F.max_pool3d(x, kernel, self.stride, ceil_mode=True)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


def time_pool(factor: int) -> nn.Module:
    """Max over `factor` frames; 1 leaves time alone."""
    return nn.Identity() if factor == 1 else MaxPool((factor, 1, 1), (factor, 1, 1))


@dataclass(frozen=True, kw_only=True)
class StemSpec:
    """The first convolution and what pools it."""

    kernel: Triple = (1, 7, 7)
    stride: Triple = (1, 2, 2)
    pool: SpacePool = "pad"  # 3x3 stride 2: padded by 1 (torchvision), ceil rounding (Caffe), none
    time_pool: int = 1

    def __post_init__(self) -> None:
        (kt, kh, kw), st = self.kernel, self.stride[0]
        if kh % 2 == 0 or kw % 2 == 0:
            raise ValueError(
                f"stem_kernel {self.kernel} has an even side in space; wanted odd sides"
            )
        if kt % 2 == 0 and kt != st:
            raise ValueError(
                f"stem_kernel {self.kernel} is even in time and its stride is {st}; wanted an odd "
                "length, or a length equal to the stride"
            )
        if self.pool not in ("pad", "ceil", "none"):
            raise ValueError(f"stem pool is {self.pool!r}; wanted 'pad', 'ceil' or 'none'")
        if self.time_pool < 1:
            raise ValueError(f"temporal pooling factor is {self.time_pool}; wanted 1 or more")


class Stem(nn.Module):
    """Convolution, batch norm, ReLU, max pooling.

    A kernel as long as its temporal stride cuts time into pieces; the last piece is filled up by
    repeating the last frame, so that a clip of any length passes.

    Shape: (N, cin, T, H, W) -> (N, cout, T', H', W').
    """

    def __init__(self, cin: int, cout: int, spec: StemSpec) -> None:
        super().__init__()
        kt, kh, kw = spec.kernel
        pad_t = kt // 2 if kt % 2 else 0
        self.piece = spec.stride[0] if kt == spec.stride[0] else 1
        self.conv = Conv3d(
            cin, cout, spec.kernel, stride=spec.stride, padding=(pad_t, kh // 2, kw // 2)
        )
        self.norm = norm(cout)
        self.act = nn.ReLU(inplace=True)
        self.time_pool = time_pool(spec.time_pool)
        self.pool: nn.Module = nn.Identity()
        if spec.pool != "none":
            pad = 1 if spec.pool == "pad" else 0
            self.pool = MaxPool((1, 3, 3), (1, 2, 2), (0, pad, pad))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        if missing := -x.shape[2] % self.piece:
            x = F.pad(x, (0, 0, 0, 0, 0, missing), mode="replicate")
        return self.pool(self.time_pool(self.act(self.norm(self.conv(x)))))
