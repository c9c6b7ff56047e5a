"""The same training with several seeds: a row for each, and what they say together."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from math import isfinite, nan, sqrt
from typing import Any

from pseudo3d.errors import Pseudo3dError

# Student's t, two-sided 95 %, for 1, 2, ... 30 degrees of freedom; 1.960 + 2.5 / df after that.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeedRow:
    """What one seed scored."""

    seed: int
    scores: Mapping[str, float]
    facts: Mapping[str, str | int | float] | None = None  # epoch taken, seconds, machine, ...


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One score over seeds.

    The interval is that of the mean over trainings, on this test set: Student's t, so 2 or 3 seeds
    have a wide one. What another test set would change is not in it; `compare.over_seeds` holds
    both.
    """

    count: int
    mean: float
    deviation: float  # of the seeds; NaN for one
    low: float  # 95 % of the mean
    high: float
    least: float
    most: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / sqrt(self.count)

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.mean:.3f} (one seed: no interval)"
        return (
            f"{self.mean:.3f} ± {self.deviation:.3f} (95 % of the mean {self.low:.3f} to "
            f"{self.high:.3f}; {self.count} seeds from {self.least:.3f} to {self.most:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is not a number becomes None."""
        found = {**asdict(self), "error": self.error}
        return {k: v if isfinite(v) else None for k, v in found.items()}


def spread(values: Sequence[float]) -> Spread:
    """Put one score of several seeds together.

    Raises:
        Pseudo3dError: no value, or one that is not finite: a seed that failed is to be said, not
            averaged away.
    Example:
        >>> str(spread([0.869, 0.870, 0.861]))
        '0.867 ± 0.005 (95 % of the mean 0.854 to 0.879; 3 seeds from 0.861 to 0.870)'
    """
    if not values or not all(map(isfinite, values)):
        raise Pseudo3dError(f"scores of seeds are {list(values)}; wanted one or more finite ones")
    mean = statistics.fmean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else nan
    half = student95(len(values) - 1) * deviation / sqrt(len(values))
    return Spread(
        count=len(values),
        mean=mean,
        deviation=deviation,
        low=mean - half,
        high=mean + half,
        least=min(values),
        most=max(values),
    )


def summary(rows: Sequence[SeedRow]) -> dict[str, Spread]:
    """Every score over the seeds.

    Raises:
        Pseudo3dError: a seed is there twice, or rows have different scores.
    """
    _check(rows)
    return {name: spread([row.scores[name] for row in rows]) for name in rows[0].scores}


def rows_csv(rows: Sequence[SeedRow]) -> str:
    """One row per seed: seed, scores, facts."""
    _check(rows)
    facts = list(dict.fromkeys(key for row in rows for key in row.facts or {}))
    text = StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["seed", *rows[0].scores, *facts])
    for row in rows:
        scores = [f"{row.scores[name]:.6f}" for name in rows[0].scores]
        out.writerow([row.seed, *scores, *((row.facts or {}).get(key, "") for key in facts)])
    return text.getvalue()


def student95(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; NaN without a degree of freedom."""
    if freedom < 1:
        return nan
    return _T95[freedom - 1] if freedom <= len(_T95) else 1.96 + 2.5 / freedom


def _check(rows: Sequence[SeedRow]) -> None:
    if not rows:
        raise Pseudo3dError("no seeds; wanted one or more rows")
    seeds = [row.seed for row in rows]
    if twice := sorted({s for s in seeds if seeds.count(s) > 1}):
        raise Pseudo3dError(f"seeds {twice} are there twice; wanted each once")
    if odd := [row.seed for row in rows if row.scores.keys() != rows[0].scores.keys()]:
        raise Pseudo3dError(
            f"seed {odd[0]} has scores {sorted(rows[-1].scores)}, seed {seeds[0]} has "
            f"{sorted(rows[0].scores)}; wanted the same"
        )
