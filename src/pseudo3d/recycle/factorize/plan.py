"""Which rank for which convolution, so that the whole network becomes as cheap as wanted."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pseudo3d.nn.factor import Order

MULTIPLE = 16  # channels of a vector register in float32


@dataclass(frozen=True, kw_only=True)
class Option:
    """One form of a convolution: a pair, or (order None) the convolution itself."""

    order: Order | None
    rank: int
    error: float  # share of the energy that is lost
    cost: float

    @property
    def loss(self) -> float:
        """Adds up over layers: the product of what they keep tells a network's accuracy best.

        (Zhang et al., "Accelerating very deep convolutional networks", 2016, section 3.3)
        """
        return -math.log(max(1e-12, 1 - self.error))


def choose(options: Mapping[str, list[Option]], budget: float) -> dict[str, Option] | None:
    """The options of least total loss that cost at most `budget` together; None if none do.

    Every layer starts with what it loses least by; then the step that loses least per cost saved
    is taken, until the budget is met. The last step may go further than needed, no other does.
    """
    stairs = {name: list(_stairs(layer)) for name, layer in options.items()}
    at = dict.fromkeys(stairs, 0)
    total = sum(stair[0].cost for stair in stairs.values())
    while total > budget:
        steps = [
            (_slope(stair[at[name]], stair[at[name] + 1]), name)
            for name, stair in stairs.items()
            if at[name] + 1 < len(stair)
        ]
        if not steps:
            return None
        _, name = min(steps)
        before, after = stairs[name][at[name]], stairs[name][at[name] + 1]
        total += after.cost - before.cost
        at[name] += 1
    return {name: stair[at[name]] for name, stair in stairs.items()}


def least(options: Mapping[str, list[Option]]) -> float:
    """The lowest total cost there is."""
    return sum(min(option.cost for option in layer) for layer in options.values())


def _stairs(layer: list[Option]) -> Iterator[Option]:
    """From the least loss downwards in cost, only what lies on the lower convex hull."""
    at = min(layer, key=lambda o: (o.loss, o.cost))
    yield at
    while cheaper := [o for o in layer if o.cost < at.cost]:
        here = at
        at = min(cheaper, key=lambda o: (_slope(here, o), o.cost))
        yield at


def _slope(before: Option, after: Option) -> float:
    return (after.loss - before.loss) / (before.cost - after.cost)


def ranks(full: int, channels: int, groups: int) -> range:
    """Ranks worth trying: multiples of 16, of less where a layer puts out fewer channels."""
    step = min(MULTIPLE, 1 << (channels.bit_length() - 1))
    step = math.lcm(step, groups)
    return range(step, full + 1, step) if step <= full else range(full, full + 1)


def round_up(rank: int, choices: range, full: int) -> int:
    """The next rank worth trying, or the full one."""
    return next((r for r in choices if r >= rank), full)
