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

SpacePool = Literal["pad", "ceil", "pad3d", "none"]


class MaxPool(nn.Module):
    """Max pooling that takes any size: a window never reaches past the end of its axis.

    Every started window counts (ceil rounding, as Caffe rounds), except where padding is given.

    Args:
        causal: all padding of time comes before the clip.
    Shape: (N, C, T, H, W) -> (N, C, T', H', W'), at least 1 each.
    """

    def __init__(
        self,
        kernel: Triple,
        stride: Triple,
        padding: Triple = (0, 0, 0),
        causal: bool = False,
    ) -> None:
        super().__init__()
        if causal and not 0 < 2 * padding[0] == kernel[0] - 1:
            raise ValueError(
                f"a causal window {kernel} with padding {padding[0]} of time; wanted half of its "
                "length, (kernel - 1) / 2, and more than 0"
            )
        self.kernel, self.stride, self.padding, self.causal = kernel, stride, padding, causal

    @property
    def time_padding(self) -> tuple[int, int]:
        """Empty frames before and after a clip."""
        pad = self.padding[0]
        return (2 * pad, 0) if self.causal else (pad, pad)

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
        padding = self.padding
        if self.causal:
            x = F.pad(x, (0, 0, 0, 0, *self.time_padding), value=-torch.inf)
            padding = (0, *padding[1:])
        return F.max_pool3d(x, kernel, self.stride, padding, ceil_mode=not padded)

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


class AtLeast(nn.Module):
    """Repeats the border below and to the right until height and width reach a size.

    Shape: (N, C, T, H, W) -> (N, C, T, max(H, height), max(W, width)).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h2 w2"]:
        missing = self.missing(x)
        return F.pad(x, (*missing, 0, 0), mode="replicate") if any(missing) else x

    def missing(self, x: Tensor) -> tuple[int, int, int, int]:
        """What to add left, right, above and below."""
        (h, w), (height, width) = x.shape[-2:], self.size
        return 0, max(0, width - w), 0, max(0, height - h)


@dataclass(frozen=True, kw_only=True)
class StemSpec:
    """The first convolution and what pools it."""

    kernel: Triple = (1, 7, 7)
    stride: Triple = (1, 2, 2)
    # 3x3 stride 2: padded by 1 (torchvision), ceil rounding (Caffe), along time too, none
    pool: SpacePool = "pad"
    time_pool: int = 1
    middle: int | None = None  # channels between space and time of a (2+1)-D stem; None: one kernel
    causal: bool = False  # kernels and windows see the frame and those before it

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
        if self.pool not in ("pad", "ceil", "pad3d", "none"):
            raise ValueError(f"stem pool is {self.pool!r}; wanted 'pad', 'ceil', 'pad3d', 'none'")
        if self.time_pool < 1:
            raise ValueError(f"temporal pooling factor is {self.time_pool}; wanted 1 or more")
        if self.middle is not None and (self.middle < 1 or kt == 1):
            raise ValueError(
                f"stem_middle is {self.middle} with stem_kernel {self.kernel}; wanted 1 or more "
                "channels, and a kernel with an extent in time to take apart"
            )

    @property
    def looks_along_time(self) -> bool:
        """Whether a window here reaches over the frames beside its own."""
        return (self.kernel[0] > 1 and self.kernel[0] % 2 == 1) or self.pool == "pad3d"


class Stem(nn.Module):
    """Convolution, batch norm, ReLU, max pooling; in the (2+1)-D form two convolutions.

    A kernel as long as its temporal stride cuts time into pieces; the last piece is filled up by
    repeating the last frame, so that a clip of any length passes.

    Shape: (N, cin, T, H, W) -> (N, cout, T', H', W').
    """

    def __init__(self, cin: int, cout: int, spec: StemSpec) -> None:
        super().__init__()
        kt, kh, kw = spec.kernel
        pad_t = kt // 2 if kt % 2 else 0
        self.fill = FillPiece(spec.stride[0] if kt == spec.stride[0] else 1)
        pad, causal = (pad_t, kh // 2, kw // 2), spec.causal and pad_t > 0
        self.middle = spec.middle
        if spec.middle is None:
            self.conv = Conv3d(
                cin, cout, spec.kernel, stride=spec.stride, padding=pad, causal=causal
            )
        else:
            st, sh, sw = spec.stride
            self.space = Conv3d(
                cin, spec.middle, (1, kh, kw), stride=(1, sh, sw), padding=(0, *pad[1:])
            )
            self.space_norm = norm(spec.middle)
            self.time = Conv3d(
                spec.middle,
                cout,
                (kt, 1, 1),
                stride=(st, 1, 1),
                padding=(pad_t, 0, 0),
                causal=causal,
            )
        self.norm = norm(cout)
        self.act = nn.ReLU(inplace=True)
        self.time_pool = time_pool(spec.time_pool)
        self.pool: nn.Module = nn.Identity()
        if spec.pool == "pad3d":
            self.pool = MaxPool((3, 3, 3), (2, 2, 2), (1, 1, 1), spec.causal)
        elif spec.pool != "none":
            edge = 1 if spec.pool == "pad" else 0
            self.pool = MaxPool((1, 3, 3), (1, 2, 2), (0, edge, edge))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        x = self.fill(x)
        if self.middle is None:
            x = self.conv(x)
        else:
            x = self.time(self.act(self.space_norm(self.space(x))))
        return self.pool(self.time_pool(self.act(self.norm(x))))
