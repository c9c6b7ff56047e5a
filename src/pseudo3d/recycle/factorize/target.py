"""Three ways to say how far to go: a rank, a share of energy to keep, a speed to reach."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pseudo3d.errors import Pseudo3dError
from pseudo3d.nn.factor import Order
from pseudo3d.recycle.factorize import costs
from pseudo3d.recycle.factorize.costs import Clock, Cost, Use
from pseudo3d.recycle.factorize.find import build
from pseudo3d.recycle.factorize.plan import Option, choose, least, ranks, round_up
from pseudo3d.recycle.factorize.solve import Spectrum

Ranks = int | Mapping[str, int | tuple[Order, int]]
Choice = dict[str, Option]

_TIMED = 4  # ranks of a layer that are timed; between them, time goes straight
_TRIES, _CLOSE = 5, (0.99, 1.06)  # whole networks built and timed; measured / wanted that will do


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network, its convolutions, and what is known of them."""

    net: nn.Module
    convs: Mapping[str, nn.Conv3d]
    spectra: Mapping[str, Mapping[Order, Spectrum]]
    uses: Mapping[str, Use]  # empty without an example
    example: Tensor | None

    def choices(self, name: str) -> range:
        """Ranks worth trying for a layer."""
        conv = self.convs[name]
        full = max(s.full for s in self.spectra[name].values())
        return ranks(full, conv.out_channels, conv.groups)

    def pair(self, name: str, order: Order, rank: int) -> Option:
        """A pair of that rank, or of full rank where it is less; cost in MACs per voxel."""
        found = self.spectra[name][order]
        rank = min(rank, found.full)
        price = costs.per_voxel(self.convs[name], order, rank)
        return Option(order=order, rank=rank, error=found.error(rank), cost=price)


def by_rank(subject: Subject, rank: Ranks) -> Choice:
    """What was asked for, layer by layer; without an order, the one that loses less.

    Raises:
        ValueError: no whole number of 1 or more, or no multiple of a layer's groups.
    """
    wanted = dict.fromkeys(subject.convs, rank) if isinstance(rank, int) else dict(rank)
    choice: Choice = {}
    for name, given in wanted.items():
        if name not in subject.convs:  # not called by the forward pass
            continue
        groups = subject.convs[name].groups
        number: Any = given
        orders: tuple[Any, ...] = ("space", "time")
        if isinstance(given, tuple | list) and len(given) == 2:
            orders, number = given[:1], given[1]
        if type(number) is int and isinstance(rank, int):
            number = -(-number // groups) * groups
        fits = type(number) is int and number >= 1 and number % groups == 0
        if not fits or orders[0] not in ("space", "time"):
            raise ValueError(
                f"rank of {name!r} is {wanted[name]!r}; wanted a number of channels, a multiple of "
                f"{groups}, or ('space' or 'time', such a number)"
            )
        options = [subject.pair(name, order, number) for order in orders]
        choice[name] = min(options, key=lambda o: (o.error, o.cost))
    return choice


def by_energy(subject: Subject, energy: float) -> Choice:
    """The cheaper order of the smallest rank that keeps the energy; none that saves nothing."""
    choice: Choice = {}
    for name, conv in subject.convs.items():
        options = []
        for order, found in subject.spectra[name].items():
            rank = round_up(found.rank_for(energy), subject.choices(name), found.full)
            options.append(subject.pair(name, order, rank))
        best = min(options, key=lambda o: (o.cost, o.error))
        if best.cost < costs.per_voxel(conv):
            choice[name] = best
    return choice


def by_speed(subject: Subject, speedup: float, cost: Cost) -> tuple[Choice, tuple[str, ...]]:
    """Ranks over the whole network for a speed; what is missed of it, as a note.

    Raises:
        Pseudo3dError: more than the network can be made faster by.
    """
    if subject.example is None:
        raise Pseudo3dError(
            "speedup= needs a clip to measure on, and this network does not say what it takes; "
            "give example= (N, C, T, H, W) or data="
        )
    if cost == "macs":
        total = float(count_macs(subject.net, subject.example))
        layers = {name: float(costs.macs(c, subject.uses[name])) for name, c in _used(subject)}
        options = {name: _counted(subject, name) for name in layers}
        return _within(options, total, total - sum(layers.values()), speedup), ()
    return _by_time(subject, speedup, subject.example)


def _by_time(subject: Subject, speedup: float, example: Tensor) -> tuple[Choice, tuple[str, ...]]:
    """Build, time, correct the budget: layers timed alone tell a network's time only nearly.

    The network's time is taken to fall in proportion to its layers', by a factor that is measured.
    """
    clock = Clock(subject.net)
    options = {name: _timed(subject, name, clock) for name, _ in _used(subject)}
    whole, lowest = sum(layer[0].cost for layer in options.values()), least(options)
    total = costs.compare(subject.net, subject.net, example).before
    saved = total * (1 - 1 / speedup)
    budget, tried = whole - saved, list[_Try]()
    for _ in range(_TRIES):
        found = choose(options, max(budget, lowest) * (1 + 1e-9)) or {}
        choice = {name: option for name, option in found.items() if option.order is not None}
        cost = sum(option.cost for option in found.values())
        ready = build(deepcopy(subject.net), choice, {})
        ratio = costs.compare(subject.net, ready, example).ratio
        tried.append(_Try(choice, ratio / speedup))
        short = ratio < _CLOSE[0] * speedup
        if not short and (ratio <= _CLOSE[1] * speedup or not choice):
            break
        if short and budget <= lowest:
            break
        slope = total * (1 - 1 / ratio) / (whole - cost) if ratio > 1 and cost < whole else 1.0
        budget = whole - saved / slope
    best = max(tried, key=_Try.worth)
    if best.reached >= _CLOSE[0]:
        return best.choice, ()
    if budget <= lowest:
        raise _out_of_reach(speedup, best.reached * speedup, 1 - whole / total)
    return best.choice, (
        f"{best.reached * speedup:.2f}x measured where {speedup:.2f}x was asked for",
    )


class _Try(NamedTuple):
    """A network that was built and timed."""

    choice: Choice
    reached: float  # measured / wanted

    def worth(self) -> tuple[bool, float]:
        """Of those that are fast enough the one that loses least; else the fastest."""
        if self.reached < _CLOSE[0]:
            return False, self.reached
        return True, -sum(option.loss for option in self.choice.values())


def _within(
    options: Mapping[str, list[Option]], total: float, rest: float, speedup: float
) -> Choice:
    choice = choose(options, total / speedup - rest)
    if choice is None:
        raise _out_of_reach(speedup, total / (rest + least(options)), rest / total)
    return {name: option for name, option in choice.items() if option.order is not None}


def _out_of_reach(wanted: float, most: float, rest: float) -> Pseudo3dError:
    return Pseudo3dError(
        f"speedup {wanted:.3g} cannot be reached: with the smallest pairs everywhere it is "
        f"{most:.2f}, because about {max(0.0, rest):.0%} of the network's cost is no k x k x k "
        "convolution. Ask for less."
    )


def _used(subject: Subject) -> list[tuple[str, nn.Conv3d]]:
    """Convolutions the network calls, in the order it does."""
    return [(name, subject.convs[name]) for name in subject.uses]


def _counted(subject: Subject, name: str) -> list[Option]:
    conv, use = subject.convs[name], subject.uses[name]
    options = [Option(order=None, rank=0, error=0.0, cost=costs.macs(conv, use))]
    for order, found in subject.spectra[name].items():
        for rank in subject.choices(name):
            price = costs.macs(conv, use, order, rank)
            error = found.error(rank)
            options.append(Option(order=order, rank=rank, error=error, cost=price))
    return options


def _timed(subject: Subject, name: str, clock: Clock) -> list[Option]:
    """The convolution first, then pairs up to the rank that costs as many MACs."""
    conv, use = subject.convs[name], subject.uses[name]
    full = costs.macs(conv, use)
    options = [Option(order=None, rank=0, error=0.0, cost=clock.seconds(conv, use))]
    for order, found in subject.spectra[name].items():
        useful = [r for r in subject.choices(name) if costs.macs(conv, use, order, r) < full]
        if not useful:
            continue
        steps = np.linspace(0, len(useful) - 1, min(_TIMED, len(useful))).round().astype(int)
        known = [useful[i] for i in steps]
        seconds = [clock.seconds(conv, use, order, rank) for rank in known]
        for rank in useful:
            price = float(np.interp(rank, known, seconds))
            options.append(Option(order=order, rank=rank, error=found.error(rank), cost=price))
    return options


def count_macs(net: nn.Module, example: Tensor) -> int:
    """Multiply-adds of the convolutions and linear layers of one pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(example)
    return counter.get_total_flops() // 2
