"""The first layers of a network and the pooling between its stages."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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
        if self.kernel == self.stride == (2, 1, 1) and x.shape[2] % 2 == 0:
            y: Tensor = _PairMax.apply(x)  # type: ignore[no-untyped-call]  # torch's own lack
            return y
        padded = any(self.padding)
        kernel = list(self.kernel)
        if not padded:
            kernel = [min(k, size) for k, size in zip(kernel, x.shape[2:], strict=True)]
        if self.kernel[0] == self.stride[0] == 1 and self.padding[0] == 0:  # keeps the layout
            images = x.transpose(1, 2).flatten(0, 1)
            y = F.max_pool2d(
                images, kernel[1:], self.stride[1:], self.padding[1:], ceil_mode=not padded
            )
            return y.reshape(x.shape[0], x.shape[2], *y.shape[1:]).transpose(1, 2)
        return F.max_pool3d(x, kernel, self.stride, self.padding, ceil_mode=not padded)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


class _PairMax(Function):
    """Maximum of every two frames; torch's own pooling writes an index of 8 bytes per voxel.

    The gradient goes to the earlier frame where both are equal, as in torch.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.maximum(x[:, :, 0::2], x[:, :, 1::2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        out = torch.empty_like(x)
        early, late = out[:, :, 0::2], out[:, :, 1::2]
        gain = x[:, :, 1::2] - x[:, :, 0::2]
        torch.ops.aten.threshold_backward.grad_input(grad, gain, 0, grad_input=late)
        torch.sub(grad, late, out=early)
        return out


def time_pool(factor: int) -> nn.Module:
    """Max over `factor` frames; 1 leaves time alone."""
    return nn.Identity() if factor == 1 else MaxPool((factor, 1, 1), (factor, 1, 1))


class FillPiece(nn.Module):
    """Repeats the last frame until the clip's length is a multiple of `piece`.

    Shape: (N, C, T, H, W) -> (N, C, ceil(T / piece) * piece, H, W).
    """

    def __init__(self, piece: int) -> None:
        super().__init__()
        self.piece = piece

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t2 h w"]:
        if missing := -x.shape[2] % self.piece:
            x = F.pad(x, (0, 0, 0, 0, 0, missing), mode="replicate")
        return x


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
        self.fill = FillPiece(spec.stride[0] if kt == spec.stride[0] else 1)
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
        return self.pool(self.time_pool(self.act(self.norm(self.conv(self.fill(x))))))
