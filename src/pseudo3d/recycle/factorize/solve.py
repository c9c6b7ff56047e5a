"""The best pair of halves for one kernel: a low-rank approximation of its unfolding.

With the taps of the second half as rows and those of the first as columns, a kernel is a matrix M,
and a pair with r channels between its halves is a matrix of rank r. The best one, for inputs with
second moments C (patches under the first half; white if nothing is known), is U U'M with the r
leading eigenvectors U of M C M': the first half then computes U'M, the second U.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.factor import Factorized, Order, full_rank

_DUST = 1e-14  # of the largest eigenvalue: rounding
_SHRINK = 1e-3  # of the mean second moment


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """All pairs of one convolution in one order, from rank 1 to full, per group of channels."""

    order: Order
    matrix: Float[Tensor, "g rows cols"]
    basis: Float[Tensor, "g rows full"]  # orthonormal, most useful first
    energy: Float[Tensor, "g full"]  # what each direction brings

    @property
    def full(self) -> int:
        """Rank at which nothing is lost."""
        return self.energy.numel()

    def error(self, rank: int) -> float:
        """Share of the energy a pair of that rank loses, in [0, 1]."""
        total = float(self.energy.sum())
        lost = float(self.energy[:, rank // len(self.energy) :].sum())
        return lost / total if total else 0.0

    def rank_for(self, kept: float) -> int:
        """Smallest rank that keeps this share of the energy."""
        groups = len(self.energy)
        curve = self.energy.sum(0).cumsum(0)
        wanted = kept * float(curve[-1])
        found = int((curve < wanted * (1 - 1e-12)).sum()) + 1
        return groups * min(found, self.energy.shape[1])

    def fill(self, pair: Factorized, conv: nn.Conv3d) -> None:
        """Give a pair the best weights for its rank, and the convolution's bias."""
        first, second = pair.halves
        rank = pair.rank // conv.groups
        basis = self.basis[:, :, :rank]
        inner = basis.mT @ self.matrix
        # Halves of equal size train alike; one of them an isometry, the other would run ahead.
        size = inner.norm(dim=2, keepdim=True).clamp_min(1e-30).sqrt()
        inner, outer = inner / size, basis * size.mT
        with torch.no_grad():
            first.weight.copy_(inner.reshape(first.weight.shape))
            second.weight.copy_(_taps_last(outer, second).reshape(second.weight.shape))
            if conv.bias is not None and second.bias is not None:
                second.bias.copy_(conv.bias)


def unfold(conv: nn.Conv3d, order: Order) -> Float[Tensor, "g rows cols"]:
    """A kernel as a matrix per group, in float64: second half's taps by first half's taps."""
    g, (kt, kh, kw) = conv.groups, conv.kernel_size
    w = conv.weight.detach().double().cpu()
    w = w.reshape(g, conv.out_channels // g, conv.in_channels // g, kt, kh, kw)
    if order == "space":  # (out, t) by (in, h, w)
        return w.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
    return w.permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3)  # (out, h, w) by (in, t)


def _taps_last(outer: Tensor, second: nn.Conv3d) -> Tensor:
    """(g, out * taps, rank) -> (g, out, rank, taps)."""
    g, rows, rank = outer.shape
    out = second.out_channels // g
    return outer.reshape(g, out, rows // out, rank).transpose(2, 3)


@dataclass
class Moments:
    """Second moments, summed over voxels, of what the first half of a pair sees.

    Of M x instead of x (`responses`) where M has fewer rows than columns: the smaller matrix.
    """

    responses: bool
    total: Float[Tensor, "g n n"]
    count: int = 0

    def mean(self) -> Float[Tensor, "g n n"]:
        """Per voxel."""
        return self.total / max(1, self.count)


def spectrum(conv: nn.Conv3d, order: Order, moments: Moments | None = None) -> Spectrum:
    """Eigenvectors of M C M'; without `moments` C is the identity, and this is the SVD of M."""
    matrix = unfold(conv, order)
    count = full_rank(conv, order) // conv.groups
    if moments is not None and moments.responses:
        gram, white = moments.mean(), matrix @ matrix.mT
        values, basis = _leading(gram + _shrunk(gram, white) * white, count)
        return Spectrum(order=order, matrix=matrix, basis=basis, energy=values)
    root = matrix if moments is None else matrix @ _square_root(moments.mean())
    if root.shape[1] <= root.shape[2]:
        values, basis = _leading(root @ root.mT, count)
    else:
        values, right = _leading(root.mT @ root, count)
        basis = _orthonormal(root @ right)
    return Spectrum(order=order, matrix=matrix, basis=basis, energy=values)


def _shrunk(moments: Tensor, white: Tensor) -> Tensor:
    """Weight of white inputs beside the sampled ones, which are few and may miss a direction."""
    size = torch.stack([m.diagonal(dim1=1, dim2=2).sum(1) for m in (moments, white)])
    return (_SHRINK * size[0] / size[1].clamp_min(1e-300)).view(-1, 1, 1)


def _square_root(moments: Tensor) -> Tensor:
    """L with L L' = C, shrunk so that no direction of the inputs is lost."""
    white = torch.eye(moments.shape[1], dtype=moments.dtype).expand_as(moments)
    values, vectors = torch.linalg.eigh(moments + _shrunk(moments, white) * white)
    return vectors * values.clamp_min(0).sqrt()[:, None, :]


def _leading(gram: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues and their eigenvectors, without negative dust."""
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(1)[:, :count], vectors.flip(2)[:, :, :count]
    floor = _DUST * values[:, :1].clamp_min(0)
    return torch.where(values > floor, values, 0.0), vectors


def _orthonormal(columns: Tensor) -> Tensor:
    """Directions of columns that are orthogonal but for rounding; of no length: any other."""
    return torch.linalg.qr(columns).Q
