"""Time several ways of doing one thing against each other, in turn, within one run.

A machine's speed drifts by more than the differences worth measuring: other programs, clocks, heat.
So variants are compared round by round, every round runs each of them, and what counts is the
median of the ratios within a round.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles

import torch

Call = Callable[[], object]
Progress = Callable[[int, int], None]

FEWEST = 3  # rounds, however short the time


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way of doing it.

    Args:
        call: what is timed.
        setup: run before each timed call, not timed (an optimizer to reset, a file to remove).
    """

    call: Call
    setup: Call | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call, one entry per round."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]  # of the whole process: all its threads, waiting ones included

    @property
    def seconds(self) -> Spread:
        """Wall-clock time of a call."""
        return spread(self.wall)

    @property
    def cpu_seconds(self) -> Spread:
        """Processor time of a call."""
        return spread(self.cpu)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of one value or more."""
    if len(values) == 1:
        return Spread(median=values[0], low=values[0], high=values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(median=middle, low=low, high=high)


def speedup(base: Timing, other: Timing, *, cpu: bool = False) -> Spread:
    """How many times faster `other` is than `base`: the spread of the ratios within a round.

    Args:
        cpu: compare processor time instead of wall-clock time.
    """
    pairs = (
        zip(base.cpu, other.cpu, strict=True) if cpu else zip(base.wall, other.wall, strict=True)
    )
    return spread([a / b for a, b in pairs])


@contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Let torch use `count` threads within the block; None leaves them as they are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def race(
    variants: Mapping[str, Variant | Call],
    *,
    rounds: int = 15,
    seconds: float = 60.0,
    count: int | None = None,
    rest: float = 0.01,
    least: float = 0.05,
    progress: Progress | None = None,
) -> dict[str, Timing]:
    """Run the variants in turn, round after round, each in a fresh loop of its own.

    A variant's turn is: rest, so that threads of the previous one fall asleep; one call that is not
    counted, so that caches are its own; then calls that are timed together until `least` seconds
    have gone (one call, where there is a setup). Every round starts with another variant.

    Args:
        rounds: at most; fewer, but at least three, when `seconds` are over.
        count: threads of torch; other runtimes are set up by who makes them.
        progress: told rounds done and rounds wanted.
    Raises:
        ValueError: no variant, or fewer than one round.
    """
    if not variants or rounds < 1:
        raise ValueError(f"{len(variants)} variants, {rounds} rounds; wanted at least 1 each")
    todo = {k: v if isinstance(v, Variant) else Variant(call=v) for k, v in variants.items()}
    names = list(todo)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    with threads(count):
        repeats = {name: _repeats(variant, least) for name, variant in todo.items()}
        began = time.perf_counter()
        for i in range(rounds):
            if i >= FEWEST and time.perf_counter() - began > seconds:
                break
            for name in names[i % len(names) :] + names[: i % len(names)]:
                time.sleep(rest)
                took, worked = _turn(todo[name], repeats[name])
                wall[name].append(took)
                cpu[name].append(worked)
            if progress is not None:
                progress(i + 1, rounds)
    return {name: Timing(wall=tuple(wall[name]), cpu=tuple(cpu[name])) for name in names}


def _repeats(variant: Variant, least: float) -> int:
    """How many calls last `least` seconds; runs the variant twice, which also warms it up."""
    times = []
    for _ in range(2):
        if variant.setup is not None:
            variant.setup()
        began = time.perf_counter()
        variant.call()
        times.append(time.perf_counter() - began)
    if variant.setup is not None:
        return 1
    return max(1, min(1000, round(least / max(times[-1], 1e-7))))


def _turn(variant: Variant, repeats: int) -> tuple[float, float]:
    """One uncounted call, then `repeats` timed ones: wall-clock and processor seconds of a call."""
    if variant.setup is not None:
        variant.setup()
    variant.call()
    if variant.setup is not None:
        variant.setup()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        variant.call()
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats
