"""Every way to run a network against plain PyTorch: time, rate, share of the limit, error."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pseudo3d.bench.limits import Limit, Precision
from pseudo3d.bench.measure import Figures, Task, measure, measure_limits
from pseudo3d.bench.timing import Progress, threads
from pseudo3d.bench.ways import PLAIN, WAYS, Job, Way, open_ways
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.models.profile import profile

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way's result; `skipped` says why there is none."""

    name: str
    title: str
    precision: Precision
    clips: int = 0  # of a call
    figures: Figures | None = None  # its speed-up is against the first row that ran
    error: float | None = None  # relative L2 distance of the logits from that row's
    skipped: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON and tables of results."""
        about = {"name": self.name, "precision": self.precision}
        if self.figures is None:
            return {**about, "skipped": self.skipped}
        took = self.figures.timing.seconds.median
        error = None if self.error is None else float(f"{self.error:.2e}")
        speed = {"clips_per_second": round(self.clips / took, 3)}
        return {**about, **self.figures.to_dict(), **speed, "relative_error": error}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A whole comparison."""

    model: str
    shape: tuple[int, ...]  # of the clips
    threads: int
    gflop: float  # of a call
    limits: dict[Precision, Limit]
    rows: list[Row]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model,
            "shape": list(self.shape),
            "threads": self.threads,
            "gflop": self.gflop,
            "limits": {key: vars(limit) for key, limit in self.limits.items()},
            "rows": [row.to_dict() for row in self.rows],
        }


def compare(
    net: Network,
    clips: Tensor,
    *,
    count: int | None = None,
    names: Iterable[str] = tuple(WAYS),
    rounds: int = 15,
    seconds: float = 60.0,
    limit_seconds: float = 6.0,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Result:
    """Measure the machine's limits, then time every way in turn.

    Args:
        net: in eval mode.
        count: threads; None leaves torch's number.
        seconds: for the timing; making the ways ready and the limits come on top.
        limit_seconds: for each precision's limits.
        tell: given what is being done.
        progress: told rounds done and wanted.
    Raises:
        ValueError: no such way.
        Pseudo3dError: no way that runs.
    """
    say = tell or (lambda text: None)
    gflop = 2e-9 * profile(net, clips.shape[2], clips.shape[3]).macs * len(clips)
    with threads(count) as used, tempfile.TemporaryDirectory() as folder:
        job = Job(net=net, clips=clips, folder=Path(folder), threads=used)
        ways = open_ways(job, dict.fromkeys((PLAIN, *names)), lambda title: say(f"opening {title}"))
        if not any(way.infer for way in ways):
            raise Pseudo3dError("nothing to time: " + "; ".join(way.skipped for way in ways))
        say("measuring the machine's limits")
        running = [way.precision for way in ways if way.infer is not None]
        limits = measure_limits(running, seconds=limit_seconds)
        say(f"timing {len(running)} ways in turn")
        rows = _time(ways, clips, gflop, limits, rounds=rounds, seconds=seconds, progress=progress)
    return Result(
        model=net.name,
        shape=tuple(clips.shape),
        threads=used,
        gflop=gflop,
        limits=limits,
        rows=rows,
    )


def _time(
    ways: list[Way], clips: Tensor, gflop: float, limits: dict[Precision, Limit], **options: Any
) -> list[Row]:
    tasks, logits = {}, {}
    for way in ways:
        if way.infer is not None:
            call = partial(way.infer, clips)
            tasks[way.name] = Task(call=call, precision=way.precision, gflop=gflop)
            logits[way.name] = call()
    found = measure(tasks, limits, **options)
    base, rows = logits[next(iter(tasks))], []
    for way in ways:
        row = Row(name=way.name, title=way.title, precision=way.precision, skipped=way.skipped)
        if way.infer is not None:
            error = relative_error(logits[way.name], base)
            row = replace(row, clips=len(clips), figures=found[way.name], error=error)
        rows.append(row)
    return rows


def relative_error(got: Tensor, want: Tensor) -> float:
    """Relative L2 distance."""
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).norm() / want.norm().clamp_min(torch.finfo(torch.double).tiny))
