"""Batch norm and dropout of a batch whose rows are spread over processes, as if all were here.

torch's own SyncBatchNorm runs on CUDA only; this one runs on any device and takes torch's there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as _OnCuda


@contextmanager
def synchronized(net: nn.Module, *, norms: bool) -> Iterator[None]:
    """Let the layers of `net` see whole batches while it is trained; names and values stay.

    The layers change their class in place, so that hooks, parameters and who else holds them do not
    notice.

    Args:
        norms: False leaves batch norm to what each process sees.
    """
    others: dict[type[nn.Module], type[nn.Module]] = {nn.Dropout: SyncDropout}
    if norms:
        others[nn.BatchNorm3d] = SyncNorm
    changed = [(m, type(m)) for m in net.modules() if type(m) in others]
    for module, kind in changed:
        module.__class__ = others[kind]
    try:
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


class SyncNorm(nn.BatchNorm3d):
    """Batch norm with the mean and the variance over the rows of all processes."""

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h w"]:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if x.is_cuda:
            own = (x, self.weight, self.bias, self.running_mean, self.running_var)
            world = (dist.group.WORLD, dist.get_world_size())
            found: Tensor = _applied(_OnCuda, *own, self.eps, self.momentum, *world)
            return found
        y, mean, var, count = _applied(_Together, x, self.weight, self.bias, self.eps)
        if self.momentum and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                unbiased = var * (count / (count - 1).clamp(min=1))
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(unbiased, self.momentum)
        return y


def _applied(function: Any, *args: Any) -> Any:
    return function.apply(*args)


class _Together(torch.autograd.Function):
    """Normalize by what all processes see; gives the statistics, too."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, var, count = _statistics(x, weight)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, count)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, var, count = ctx.saved_tensors
        channels = len(weight)
        if len(x):
            # as if the statistics were constants; how they follow x is put right below
            dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
            )
        else:
            dx, dweight, dbias = torch.zeros_like(x), weight * 0, weight * 0
        total = torch.cat([dweight, dbias])
        dist.all_reduce(total)
        scale = weight * (var + ctx.eps).rsqrt()
        slope = scale * (var + ctx.eps).rsqrt() * total[:channels] / count
        shift = scale * total[channels:] / count - slope * mean
        shape = (1, channels, 1, 1, 1)
        dx = dx - torch.addcmul(shift.to(x).view(shape), slope.to(x).view(shape), x)
        return dx, dweight, dbias, None


def _statistics(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel, and the number of values, over all processes.

    Squares are not summed from zero but from each process's mean, which loses no digits.
    """
    count = like.new_tensor([x.numel() // x.shape[1]])
    var, mean = torch.zeros_like(like), torch.zeros_like(like)
    if len(x):
        var, mean = torch.var_mean(x.to(like), dim=(0, 2, 3, 4), correction=0)
    own = torch.cat([count, mean, var])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    found = torch.stack(parts)
    counts, means, variances = found[:, :1], found[:, 1 : 1 + len(mean)], found[:, 1 + len(mean) :]
    count = counts.sum()
    mean = (means * counts).sum(0) / count
    var = ((variances + (means - mean).square()) * counts).sum(0) / count
    return mean, var, count


class SyncDropout(nn.Dropout):
    """Dropout that draws for the whole batch and takes the rows that are here.

    Every process must draw from the same state of torch's generator.
    """

    start: int = 0
    of: int | None = None  # rows of the whole batch; None: it is all here

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or self.of is None or self.p == 1.0:
            return super().forward(x)
        channels_last = x.ndim == 5 and x.is_contiguous(memory_format=torch.channels_last_3d)
        layout = torch.channels_last_3d if channels_last else torch.contiguous_format
        keep = torch.empty(
            (self.of, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout
        )
        keep.bernoulli_(1 - self.p)
        return x * (keep[self.start : self.start + len(x)] / (1 - self.p))


def place(net: nn.Module, start: int, of: int) -> None:
    """Tell the layers which rows of a batch of `of` come next."""
    for module in net.modules():
        if isinstance(module, SyncDropout):
            module.start, module.of = start, of
