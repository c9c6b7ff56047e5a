"""What input a network was trained on, told by the batch norm behind its first convolution.

Its running mean is the mean of the input times the sums of the kernels, and its running variance
what the kernels make of the input's variance. So both can be compared with what a preprocessing
would hand over: weights trained on bytes, fed numbers of order 1, answer the same class to
everything, and nothing else tells.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.data.preprocess import Preprocessing

# Of videos, in bytes: deviation of colors, flow and of the difference of neighboring frames, mean.
_COLOR_STD, _FLOW_STD, _MOTION_STD, _COLOR_MEAN = 58.0, 12.0, 15.0, 108.0
# How fast pixels stop to resemble each other, in pixels (and frames), and how alike colors are.
_REACH, _COLOR_ALIKE = 12.0, 0.93
_TOO_FAR = 3.2  # times; bytes against order 1 is a factor of 58, [0, 1] against order 1 one of 4.4
_SHIFTED = 1.6  # deviations of the input


@dataclass(frozen=True, kw_only=True)
class InputScale:
    """The input seen in training, compared with what the preprocessing gives."""

    ratio: float  # deviation seen in training over the one expected
    offset: float  # (mean seen - mean expected) in deviations of the input seen

    @property
    def fits(self) -> bool:
        """Whether both lie within what videos differ by."""
        return 1 / _TOO_FAR < self.ratio < _TOO_FAR and abs(self.offset) < _SHIFTED

    def __str__(self) -> str:
        if not 1 / _TOO_FAR < self.ratio < _TOO_FAR:
            times, what = (self.ratio, "larger") if self.ratio > 1 else (1 / self.ratio, "smaller")
            return (
                f"input scale: the first batch norm saw inputs about {times:.0f} times {what} "
                "than this preprocessing gives"
            )
        if abs(self.offset) >= _SHIFTED:
            return (
                "input scale: the mean of the inputs the first batch norm saw is about "
                f"{abs(self.offset):.1f} deviations {'above' if self.offset > 0 else 'below'} the "
                "one this preprocessing gives"
            )
        return (
            f"input scale: agrees (seen in training / expected {self.ratio:.2f}, mean off by "
            f"{self.offset:+.2f} deviations)"
        )


def input_scale(net: nn.Module, pre: Preprocessing) -> InputScale | None:
    """Compare a network's first batch norm with a preprocessing; None where there is none.

    A batch norm that has seen nothing (mean 0, variance 1) says nothing either.
    """
    found = first_norm(net)
    if found is None or found[0].in_channels != pre.channels:
        return None
    conv, norm = found
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or not bool(mean.any()):
        return None
    weight = conv.weight.detach().double().cpu()
    mean, variance = mean.double().cpu(), variance.double().cpu()
    if conv.bias is not None:
        mean = mean - conv.bias.detach().double().cpu()
    want_mean, want_std = _expected(pre)
    predicted = _variances(weight, want_std)
    alive = (predicted > 1e-12 * predicted.max()) & (variance > 1e-10 * variance.max())
    if int(alive.sum()) < 4:
        return None
    ratio = float((variance[alive] / predicted[alive]).median().sqrt())
    return InputScale(
        ratio=ratio, offset=_offset(weight, mean, variance, want_mean, want_std, ratio)
    )


def first_norm(net: nn.Module) -> tuple[nn.Conv3d, nn.BatchNorm3d] | None:
    """The first convolution and the batch norm that follows it at once."""
    layers = _layers(net)
    conv, norm = next(layers, None), next(layers, None)
    if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
        return conv, norm
    return None


def _layers(net: nn.Module) -> Iterator[nn.Module]:
    """Convolutions and batch norms in the order they are declared, which is that of a stem."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.BatchNorm3d):
            yield module


def _expected(pre: Preprocessing) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each input channel that videos have after the preprocessing."""
    base = len(pre.mean)
    flow = pre.color == "flow"
    std = [(_FLOW_STD if flow else _COLOR_STD) / (pre.scale * s) for s in pre.std]
    byte = 128.0 if flow else _COLOR_MEAN
    # A mean that is subtracted is that of the data; without one, the data's own mean is left.
    mean = [0.0 if m else byte / (pre.scale * s) for m, s in zip(pre.mean, pre.std, strict=True)]
    if pre.difference:
        std += [_MOTION_STD / (pre.scale * pre.difference_std)] * base
        mean += [0.0] * base
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)


def _variances(weight: Float[Tensor, "o i t h w"], std: Float[Tensor, " i"]) -> Float[Tensor, " o"]:
    """Variance behind each kernel for an input whose pixels resemble their neighbors."""
    cin, *extent = weight.shape[1:]
    axes = [torch.arange(n, dtype=torch.float64) for n in extent]
    places = torch.cartesian_prod(*axes).reshape(-1, 3)
    near = torch.exp(-torch.cdist(places, places) / _REACH)
    alike = torch.full((cin, cin), _COLOR_ALIKE, dtype=torch.float64).fill_diagonal_(1.0)
    scaled = (weight * std[:, None, None, None]).flatten(2)
    return torch.einsum("oip,ojq,ij,pq->o", scaled, scaled, alike, near)


def _offset(
    weight: Tensor, mean: Tensor, variance: Tensor, want: Tensor, std: Tensor, ratio: float
) -> float:
    """Difference of the means by least squares over the kernels, in deviations of the input.

    All channels are taken to be off by as many of their deviations.
    """
    sums = weight.sum((2, 3, 4))
    step = (sums * std).sum(1) * ratio
    rest = mean - sums @ want
    trust = 1 / variance.clamp(min=1e-10 * float(variance.max()))
    strength = float((trust * step * step).sum())
    return float((trust * step * rest).sum()) / strength if strength > 0 else 0.0
