"""What the convolutions of a network see and answer on sample clips."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.conv import time_padding
from pseudo3d.nn.factor import Factorized, Order
from pseudo3d.recycle.factorize.solve import Moments, unfold

Clips = Iterable[Tensor]  # prepared clips (N, C, T, H, W) that can be gone through more than once
Places = tuple[Tensor, Tensor, Tensor, Tensor]  # clip, time, row, column of voxels

_RIDGE = 1e-3  # of the mean second moment: how much data it takes to move a weight
_CHECKED = 4  # every fourth voxel is kept out of the fit, to see whether it helps
_FEWEST, _MOST = 2_048, 16_384  # voxels of a fit


class _Enough(Exception):
    """What was wanted of a forward pass has been seen."""


@contextmanager
def watched(
    convs: Mapping[str, nn.Module], see: Callable[[str, Tensor, Tensor], None]
) -> Iterator[None]:
    """Show `see` the name, input and output of each call of some modules."""
    handles = []
    for name, module in convs.items():

        def hook(_: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
            see(name, inputs[0].detach(), output.detach())

        handles.append(module.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gather(
    net: nn.Module, convs: Mapping[str, nn.Conv3d], clips: Clips
) -> dict[str, dict[Order, Moments]]:
    """Second moments of the convolutions' inputs, for both orders of the halves."""
    probes = {name: {o: _Probe(conv, o) for o in _ORDERS} for name, conv in convs.items()}

    def see(name: str, x: Tensor, _: Tensor) -> None:
        for probe in probes[name].values():
            probe.add(x)

    with watched(convs, see), torch.no_grad():
        for clip in clips:
            net(clip)
    return {name: {o: p.moments for o, p in both.items()} for name, both in probes.items()}


_ORDERS: tuple[Order, Order] = ("space", "time")


class _Probe:
    """A first half that answers with M x, or with x itself: whatever has fewer channels."""

    def __init__(self, conv: nn.Conv3d, order: Order) -> None:
        matrix = unfold(conv, order)
        g, rows, cols = matrix.shape
        count = min(rows, cols)
        self.half = Factorized(conv, order, g * count).halves[0].requires_grad_(False)
        weight = matrix if rows <= cols else torch.eye(cols).expand(g, cols, cols)
        self.half.weight.copy_(weight.reshape(self.half.weight.shape))
        self.moments = Moments(
            responses=rows <= cols, total=torch.zeros(g, count, count, dtype=torch.float64)
        )

    def add(self, x: Tensor) -> None:
        m = self.moments
        g = len(m.total)
        y = self.half(x).movedim(1, -1).flatten(0, -2)  # (voxels, channels)
        y = y.view(len(y), g, -1).transpose(0, 1).float()
        m.total += (y.mT @ y).cpu()
        m.count += y.shape[1]


def refit(original: nn.Module, net: nn.Module, names: list[str], clips: list[Tensor]) -> list[str]:
    """Move the second halves so that `net` answers more like `original`, pair after pair.

    Each is fitted on what reaches it through the pairs before it, so that errors do not add up
    (Zhang et al., "Accelerating very deep convolutional networks", 2016, section 3.4). A fit that
    does not help on voxels kept out of it is dropped.

    Args:
        names: of the pairs, in the order the network runs them.
    Returns:
        Names of the pairs that were moved.
    """
    pairs = {name: _pair(net, name) for name in names}
    convs = {name: original.get_submodule(name) for name in names}
    places, answers = _sample(original, convs, pairs, clips)
    moved = []
    for name, pair in pairs.items():
        if _fit(pair.halves[1], _seen(net, pair, clips, places[name]), answers[name]):
            moved.append(name)
    return moved


def _pair(net: nn.Module, name: str) -> Factorized:
    pair = net.get_submodule(name)
    if not isinstance(pair, Factorized):
        raise TypeError(f"{name!r} is a {type(pair).__name__}; wanted a Factorized")
    return pair


def _sample(
    original: nn.Module,
    convs: Mapping[str, nn.Module],
    pairs: Mapping[str, Factorized],
    clips: list[Tensor],
) -> tuple[dict[str, list[Places]], dict[str, Tensor]]:
    """Voxels of every convolution's output, and what `original` answers there."""
    places: dict[str, list[Places]] = {name: [] for name in convs}
    answers: dict[str, list[Tensor]] = {name: [] for name in convs}
    rng = torch.Generator().manual_seed(0)

    def see(name: str, _: Tensor, y: Tensor) -> None:
        second = pairs[name].halves[1]
        wanted = min(_MOST, max(_FEWEST, 4 * second.weight[0].numel())) // len(clips) + 1
        shape = (len(y), *y.shape[2:])
        total = y[:, 0].numel()
        flat = torch.randint(total, (min(wanted, total),), generator=rng)
        at = torch.unravel_index(flat, shape)
        places[name].append(at)  # type: ignore[arg-type]  # four axes
        n, t, h, w = at
        answers[name].append(y[n, :, t, h, w].double())

    with watched(convs, see), torch.no_grad():
        for clip in clips:
            original(clip)
    return places, {name: torch.cat(parts) for name, parts in answers.items()}


def _seen(net: nn.Module, pair: Factorized, clips: list[Tensor], places: list[Places]) -> Tensor:
    """What lies under the second half at the sampled voxels, (voxels, C, kT, kH, kW)."""
    second = pair.halves[1]
    found: list[Tensor] = []

    def see(_: str, x: Tensor, __: Tensor) -> None:
        found.append(patches(second, x, places[len(found)]).double())
        if len(found) in ends:
            raise _Enough

    calls = len(places) // len(clips)
    ends = {calls * (i + 1) for i in range(len(clips))}
    with watched({"": second}, see), torch.no_grad():
        for clip in clips:
            try:
                net(clip)
            except _Enough:
                continue
    return torch.cat(found)


def _fit(second: nn.Conv3d, seen: Tensor, wanted: Tensor) -> bool:
    """Least squares for the change of a second half's weights; whether it was worth it."""
    g = second.groups
    weight = second.weight.detach().double().view(g, second.out_channels // g, -1)
    x = seen.reshape(len(seen), g, -1).transpose(0, 1)  # (g, voxels, taps)
    if second.bias is not None:
        wanted = wanted - second.bias.detach().double()
    missing = wanted.view(len(wanted), g, -1).transpose(0, 1) - x @ weight.mT
    check = torch.arange(x.shape[1]) % _CHECKED == 0
    fit_x, fit_y = x[:, ~check], missing[:, ~check]
    if not fit_x.shape[1]:
        return False
    gram = fit_x.mT @ fit_x
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    gram.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    change = torch.linalg.solve(gram, fit_x.mT @ fit_y)  # (g, taps, out)
    left = missing[:, check] - x[:, check] @ change
    if not float(left.square().sum()) < float(missing[:, check].square().sum()):
        return False
    with torch.no_grad():
        second.weight += change.mT.reshape(second.weight.shape).to(second.weight)
    return True


def patches(conv: nn.Conv3d, x: Float[Tensor, "n c t h w"], at: Places) -> Tensor:
    """The input voxels under a convolution's kernel at output voxels `at`.

    Shape: (N, C, T, H, W) -> (voxels, C, kT, kH, kW)
    """
    pads = [p for both in reversed(padding(conv)) for p in both]
    x = F.pad(x, pads, mode="constant" if conv.padding_mode == "zeros" else conv.padding_mode)
    clip, *starts = at
    index = []
    for axis, start in enumerate(starts):
        taps = torch.arange(conv.kernel_size[axis]) * int(conv.dilation[axis])
        places = start[:, None] * int(conv.stride[axis]) + taps
        index.append(places.view(len(start), *(-1 if i == axis else 1 for i in range(3))))
    t, h, w = index
    return x[clip.view(-1, 1, 1, 1), :, t, h, w].movedim(-1, 1)


def padding(conv: nn.Conv3d) -> list[tuple[int, int]]:
    """Padding before and after each axis; torch's "same" puts the odd one after."""
    if conv.padding == "valid":
        return [(0, 0)] * 3
    if conv.padding == "same":
        reach = [d * (k - 1) for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
        return [(r // 2, r - r // 2) for r in reach]
    return [time_padding(conv), *((int(p), int(p)) for p in conv.padding[1:])]
