"""Dense channels-last (N, C, T, H, W) seen as images, and back; no memory moves."""

import torch
from torch import Tensor


def dense(x: Tensor) -> Tensor:
    """`x` in channels-last memory without gaps; a copy only where it is not."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def frames(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N * T, C, H, W)."""
    n, c, t, h, w = x.shape
    return x.as_strided((n * t, c, h, w), (h * w * c, 1, w * c, c))


def positions(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N, C, T, H * W): time is the height of an image."""
    n, c, t, h, w = x.shape
    return x.as_strided((n, c, t, h * w), (t * h * w * c, 1, h * w * c, c))


def clip(y: Tensor, n: int, t: int, h: int, w: int) -> Tensor:
    """Back to (N, C, T, H, W) from either, or from itself."""
    c = y.shape[1]
    return y.as_strided((n, c, t, h, w), (t * h * w * c, 1, h * w * c, w * c, c))


def pieces(x: Tensor, length: int) -> Tensor:
    """(N, C, T, H, W) -> (N, C * length, T // length, H, W): a piece's frames become channels."""
    n, c, t, h, w = x.shape
    cut = x[:, :, : t // length * length].reshape(n, c, t // length, length, h, w)
    return dense(cut.transpose(2, 3).reshape(n, c * length, t // length, h, w))
