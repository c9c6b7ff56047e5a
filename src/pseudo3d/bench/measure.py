"""Times of several tasks in turn, as rates and as shares of what the machine can reach."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from pseudo3d.bench.limits import Limit, Precision, best_convolution, measure_limit
from pseudo3d.bench.timing import Call, Progress, Spread, Timing, Variant, race, speedup


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to time, and the work it does."""

    call: Call | Variant
    precision: Precision
    gflop: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What came out for one task."""

    timing: Timing
    speedup: Spread  # against the first task, wall-clock
    speedup_cpu: Spread  # processor time
    gflops: float  # reached
    share: float | None  # of the convolution peak in its precision, in the same rounds
    limit: float | None  # that peak, GFLOP/s

    def to_dict(self) -> dict[str, Any]:
        """Flat, rounded, for JSON and tables of results."""
        s, ratio = self.timing.seconds, self.speedup
        return {
            "rounds": len(self.timing.wall),
            "median_ms": round(1e3 * s.median, 4),
            "low_ms": round(1e3 * s.low, 4),
            "high_ms": round(1e3 * s.high, 4),
            "cpu_ms": round(1e3 * self.timing.cpu_seconds.median, 4),
            "speedup": round(ratio.median, 3),
            "speedup_low": round(ratio.low, 3),
            "speedup_high": round(ratio.high, 3),
            "speedup_cpu": round(self.speedup_cpu.median, 3),
            "gflops": round(self.gflops, 1),
            "limit_gflops": None if self.limit is None else round(self.limit, 1),
            "share_of_limit": None if self.share is None else round(self.share, 3),
        }


def measure_limits(
    precisions: Iterable[Precision], count: int | None = None, seconds: float = 6.0
) -> dict[Precision, Limit]:
    """The machine's limits, each precision once."""
    return {p: measure_limit(p, count=count, seconds=seconds) for p in dict.fromkeys(precisions)}


def measure(
    tasks: Mapping[str, Task],
    limits: dict[Precision, Limit],
    *,
    count: int | None = None,
    rounds: int = 15,
    seconds: float = 60.0,
    progress: Progress | None = None,
) -> dict[str, Figures]:
    """Time the tasks and the convolutions that set the limits in the same rounds.

    Args:
        limits: each one's convolution peak becomes what it was in these rounds.
    Raises:
        ValueError: no task.
    """
    peaks = {p: kernel for p, limit in limits.items() if (kernel := best_convolution(limit))}
    calls: dict[str, Call | Variant] = {name: task.call for name, task in tasks.items()}
    calls |= {f"limit {p}": _inference(call) for p, (call, _) in peaks.items()}
    times = race(calls, rounds=rounds, seconds=seconds, count=count, progress=progress)
    for precision, (_, flop) in peaks.items():
        rate = 1e-9 * flop / times[f"limit {precision}"].seconds.median
        limits[precision] = replace(limits[precision], convolution=rate)
    base = times[next(iter(tasks))]
    found = {}
    for name, task in tasks.items():
        timing, limit = times[name], limits.get(task.precision)
        share = None if limit is None else limit.share(task.gflop, timing.seconds.median)
        if task.precision in peaks:  # the ratio within a round is steadier
            ratio = speedup(times[f"limit {task.precision}"], timing).median
            share = 1e9 * task.gflop / peaks[task.precision][1] * ratio
        found[name] = Figures(
            timing=timing,
            speedup=speedup(base, timing),
            speedup_cpu=speedup(base, timing, cpu=True),
            gflops=task.gflop / timing.seconds.median,
            share=share,
            limit=None if limit is None else limit.peak,
        )
    return found


def _inference(call: Call) -> Call:
    def run() -> object:
        with torch.inference_mode():
            return call()

    return run
