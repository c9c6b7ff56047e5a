"""What a convolution costs, whole and as a pair: multiply-adds, and seconds on this machine."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pseudo3d.models.network import Network
from pseudo3d.nn.factor import Factorized, Order
from pseudo3d.recycle.factorize.activations import watched
from pseudo3d.runtime.lower import optimize
from pseudo3d.runtime.steps import Convolution
from pseudo3d.runtime.views import dense

Cost = Literal["time", "macs"]
Run = Callable[[Tensor], object]

_TURNS, _LEAST = 5, 0.02  # timed calls, and seconds they last at least, of one layer
_ROUNDS, _SECONDS = (7, 60), 1.0  # fewest and most rounds of two networks; for how long at most


@dataclass
class Use:
    """Where a network calls a convolution: shapes of inputs and outputs, call by call."""

    inputs: list[torch.Size] = field(default_factory=list)
    outputs: list[torch.Size] = field(default_factory=list)


def trace(net: nn.Module, convs: Mapping[str, nn.Module], example: Tensor) -> dict[str, Use]:
    """How `net` uses its convolutions on a clip, in the order it calls them first."""
    uses: dict[str, Use] = {}

    def see(name: str, x: Tensor, y: Tensor) -> None:
        use = uses.setdefault(name, Use())
        use.inputs.append(x.shape)
        use.outputs.append(y.shape)

    with watched(convs, see), torch.inference_mode():
        net(example)
    return uses


def macs(conv: nn.Conv3d, use: Use, order: Order | None = None, rank: int = 0) -> int:
    """Multiply-adds of a convolution, or of a pair in its place; padding taps count."""
    taps = conv.in_channels // conv.groups
    space, t = conv.kernel_size[1] * conv.kernel_size[2], conv.kernel_size[0]
    total = 0
    for x, y in zip(use.inputs, use.outputs, strict=True):
        out = y.numel()  # batch, channels, time, height, width
        if order is None:
            total += out * taps * t * space
            continue
        frames, places = (x[2], y[3] * y[4]) if order == "space" else (y[2], x[3] * x[4])
        first, second = (space, t) if order == "space" else (t, space)
        total += y[0] * rank * frames * places * taps * first
        total += out * (rank // conv.groups) * second
    return total


def per_voxel(conv: nn.Conv3d, order: Order | None = None, rank: int = 0) -> int:
    """Multiply-adds for one output voxel of a large input: what can be said without a clip."""
    (kt, kh, kw), (st, sh, sw) = conv.kernel_size, conv.stride
    taps, out = conv.in_channels // conv.groups, conv.out_channels
    if order is None:
        return out * taps * kt * kh * kw
    first, between, second = (kh * kw, st, kt) if order == "space" else (kt, sh * sw, kh * kw)
    return rank * taps * first * between + out * rank // conv.groups * second


def parameters(conv: nn.Conv3d, order: Order | None = None, rank: int = 0) -> int:
    """Weights of a convolution, or of a pair in its place, bias included."""
    bias = 0 if conv.bias is None else conv.out_channels
    if order is None:
        return conv.weight.numel() + bias
    t, space = conv.kernel_size[0], conv.kernel_size[1] * conv.kernel_size[2]
    first, second = (space, t) if order == "space" else (t, space)
    return (
        bias + (rank * conv.in_channels * first + conv.out_channels * rank * second) // conv.groups
    )


class Clock:
    """Seconds of convolutions the way the network runs: fused for ours on a CPU, else as it is.

    Equal layers are timed once; between a few ranks, which are timed, time goes straight.
    """

    def __init__(self, net: nn.Module) -> None:
        self.fused = fusible(net)
        self._known: dict[Any, float] = {}

    def seconds(
        self, conv: nn.Conv3d, use: Use, order: Order | None = None, rank: int = 0
    ) -> float:
        """Of all calls of a convolution in one pass, or of a pair in its place."""
        return sum(self._once(conv, x, order, rank) for x in use.inputs)

    def _once(self, conv: nn.Conv3d, shape: torch.Size, order: Order | None, rank: int) -> float:
        key = (repr(conv), conv.weight.dtype, shape, order, rank)
        if key not in self._known:
            module = conv if order is None else Factorized(conv, order, rank)
            self._known[key] = _fastest(self._ready(module), conv, shape)
        return self._known[key]

    def _ready(self, module: nn.Module) -> Run:
        module = deepcopy(module).eval()
        if not self.fused:
            return module
        steps = []
        for part in module.children() if isinstance(module, Factorized) else [module]:
            if not isinstance(part, nn.Conv3d):
                continue
            if part.bias is None:  # a folded network has one everywhere
                part.bias = nn.Parameter(torch.zeros(part.out_channels))
            steps.append(Convolution(part, torch.float32, relu=True))

        def run(x: Tensor) -> Tensor:
            for step in steps:
                x = step(x)
            return x

        return run


def _fastest(run: Run, conv: nn.Conv3d, shape: torch.Size) -> float:
    """Seconds of the fastest of several calls: other programs only ever make a call slower."""
    x = dense(torch.randn(shape).to(conv.weight.device, conv.weight.dtype))
    found: list[float] = []
    with torch.inference_mode():
        _call(run, x)
        while len(found) < _TURNS or (sum(found) < _LEAST and len(found) < 50 * _TURNS):
            found.append(_call(run, x))
    return min(found)


def _call(run: Run, x: Tensor) -> float:
    """Seconds of one call; of one thread its processor time, which other programs do not touch."""
    alone = not x.is_cuda and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    _wait(x)
    began = clock()
    run(x)
    _wait(x)
    return clock() - began


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def fusible(net: nn.Module) -> bool:
    """Whether `optimize` runs a network: what `p3d predict` uses."""
    return isinstance(net, Network) and net.head.weight.device.type == "cpu"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Median seconds of one pass before and after; the ratio is the median of the rounds'."""

    before: float
    after: float
    ratio: float


def compare(net: nn.Module, other: nn.Module, example: Tensor) -> Speed:
    """Time two networks in turn on a clip, both as `Clock` runs layers."""
    runs = [_runner(one, example) for one in (net, other)]
    times: list[list[float]] = [[], []]
    with torch.inference_mode():
        for run in runs * 2:
            _call(run, example)
        began = time.perf_counter()
        while len(times[0]) < _ROUNDS[0] or (
            len(times[0]) < _ROUNDS[1] and time.perf_counter() - began < _SECONDS
        ):
            for run, found in zip(runs, times, strict=True):
                found.append(_call(run, example))
    return Speed(
        before=median(times[0]),
        after=median(times[1]),
        ratio=median(a / b for a, b in zip(*times, strict=True)),
    )


def _runner(net: nn.Module, example: Tensor) -> Run:
    if fusible(net) and isinstance(net, Network):
        return optimize(net, example)
    return deepcopy(net).eval()
