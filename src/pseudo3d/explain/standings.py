"""What a study says: size, cost, speed and accuracy of every network, and what follows."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan, nan, sqrt
from pathlib import Path
from typing import Any

import torch

from pseudo3d.bench.timing import Progress, race
from pseudo3d.explain.study import Study, Tell, Trial, Variant, weights_of
from pseudo3d.models.profile import profile
from pseudo3d.report.tradeoff import tradeoff_png
from pseudo3d.runtime.lower import optimize
from pseudo3d.weights import load

COLUMNS = ("network", "parameters", "MB", "GMACs", "ms", "clips/s", "accuracy", "± s.e.", "seeds")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One row of the table."""

    title: str
    parameters: int
    macs: int  # of one clip
    milliseconds: float  # of one clip, optimized float32
    scores: tuple[float, ...]  # video_hit@1, one per seed
    train_seconds: float  # mean over the seeds

    @property
    def mean(self) -> float:
        """Accuracy over the seeds."""
        return statistics.fmean(self.scores)

    @property
    def error(self) -> float:
        """Standard error of the mean over the seeds; NaN for a single one, which cannot tell."""
        if len(self.scores) < 2:
            return nan
        return statistics.stdev(self.scores) / sqrt(len(self.scores))

    def __str__(self) -> str:
        figure = f"{self.title} {100 * self.mean:.1f}"
        if isnan(self.error):
            return f"{figure} % (one seed: no interval)"
        return f"{figure} ± {100 * self.error:.1f} %"

    def cells(self) -> tuple[str, ...]:
        """As the columns of the table."""
        return (
            self.title,
            f"{self.parameters / 1e6:.2f} M",
            f"{4e-6 * self.parameters:.1f}",
            f"{1e-9 * self.macs:.2f}",
            f"{self.milliseconds:.2f}",
            f"{1e3 / self.milliseconds:.0f}",
            f"{100 * self.mean:.1f} %",
            "" if isnan(self.error) else f"{100 * self.error:.1f}",
            str(len(self.scores)),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no NaN: None."""
        error = None if isnan(self.error) else self.error
        return {**asdict(self), "mean": self.mean, "standard_error": error}


def standings(
    study: Study,
    trials: Sequence[Trial],
    *,
    seconds: float = 60.0,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> list[Standing]:
    """Measure every network's size and speed and put its scores beside them.

    Speed is that of the optimized float32 form on one clip, all networks in turn within one run.

    Args:
        seconds: for timing them all.
    """
    nets, calls = {}, {}
    for variant in study.variants:
        if tell is not None:
            tell(f"preparing {variant.title}")
        net = load(weights_of(study, variant, study.seeds[0]))
        h, w = net.card.preprocessing.size
        clip = torch.randn(1, net.cfg.in_channels, net.card.preprocessing.frames, h, w)
        nets[variant.title] = net
        calls[variant.title] = partial(optimize(net, clip), clip)
    times = race(calls, rounds=25, seconds=seconds, progress=progress)
    return [
        _standing(variant, nets[variant.title], times[variant.title].seconds.median, trials)
        for variant in study.variants
    ]


def _standing(variant: Variant, net: Any, seconds: float, trials: Iterable[Trial]) -> Standing:
    own = [t for t in trials if t.title == variant.title]
    pre = net.card.preprocessing
    found = profile(net, pre.frames, pre.size)
    return Standing(
        title=variant.title,
        parameters=found.parameters,
        macs=found.macs,
        milliseconds=1e3 * seconds,
        scores=tuple(t.video_hit1 for t in own),
        train_seconds=statistics.fmean(t.train_seconds for t in own),
    )


def findings(rows: Sequence[Standing]) -> list[str]:
    """What the paper found (mixed is best, each beats 2-D), said of these rows, true or not."""
    named = {row.title: row for row in rows}

    def found(end: str) -> Standing | None:
        return next((row for title, row in named.items() if title.endswith(end)), None)

    flat, mixed, full = found("(2-D)"), found(" mixed"), found(" full 3-D")
    pure = [row for row in (found(f" {letter}") for letter in "ABC") if row]
    said = []
    if flat is not None:
        above = [r for r in (*pure, mixed) if r is not None]
        below = [r for r in above if r.mean <= flat.mean]
        what = "every P3D network is better than the 2-D one" if above and not below else (
            f"NOT every P3D network is better than the 2-D one: {_figures(below)}"
        )  # fmt: skip
        said.append(f"{what} ({flat})")
    if mixed is not None and pure:
        said.append(_against(mixed, pure))
    if mixed is not None and full is not None:
        gap, spread = 100 * (mixed.mean - full.mean), 100 * sqrt(mixed.error**2 + full.error**2)
        time, size = full.milliseconds / mixed.milliseconds, full.parameters / mixed.parameters
        sure = "one seed: no interval" if isnan(spread) else f"± {spread:.1f}"
        said.append(
            f"against full 3-D, mixed has {gap:+.1f} points ({sure}), takes 1/{time:.2f} "
            f"of the time and has 1/{size:.2f} of the parameters"
        )
    return said


def _against(mixed: Standing, pure: Sequence[Standing]) -> str:
    """Whether mixing is worse than one letter; without a standard error nobody knows."""
    if any(isnan(row.error) for row in (mixed, *pure)):
        return f"mixed ({mixed}) against {_figures(pure)}: one seed cannot tell which is better"
    if worse := [row for row in pure if mixed.mean < row.mean - row.error]:
        return f"mixed ({mixed}) is WORSE than {_figures(worse)}"
    return f"mixed ({mixed}) is no worse than A, B and C, within a standard error"


def _figures(rows: Sequence[Standing]) -> str:
    return ", ".join(map(str, rows))


def markdown(rows: Sequence[Standing]) -> str:
    """The table for a page."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(rows: Sequence[Standing], path: str | Path, *, title: str = "") -> Path:
    """Accuracy against the time of a clip, with the spread over seeds, as PNG."""
    points = {row.title: (row.milliseconds, row.mean, row.error) for row in rows}
    return tradeoff_png(points, path, title=title)
