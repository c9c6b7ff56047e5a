"""Is one network better than another on the same scans, or is it luck?

Paired bootstrap: scans are drawn once for both networks, so that a hard scan is hard for both.
Where there are several seeds, they are drawn too, for each network on its own: the interval then
holds both what another test set and what another training would change.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan, sqrt
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import (
    Draws,
    Interval,
    Statistic,
    draw_weights,
    percentile_bounds,
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One score of two networks on the same scans, and the difference."""

    score: str
    names: tuple[str, str]
    first: Interval
    second: Interval
    difference: Interval  # first minus second
    p: float  # two-sided, bootstrap
    seeds: tuple[int, int]
    better: int = 1  # 1: a higher score is better; -1: a lower one is

    @property
    def decided(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def sentence(self) -> str:
        """The verdict in words; it says so where nothing can be claimed."""
        gap = self.difference
        if not isfinite(gap.value):
            return f"{self.score}: undefined"
        figures = f"{self.score} {self.first.value:.3f} against {self.second.value:.3f}"
        if not isfinite(gap.low):
            return f"{figures}: no interval, every draw gives the same difference"
        bounds = f"{gap.value:+.3f}, {100 * gap.level:g} % {gap.low:+.3f} to {gap.high:+.3f}"
        if not self.decided:
            return f"{figures}: no difference can be claimed ({bounds})"
        wins = (gap.value > 0) == (self.better > 0)
        winner, loser = self.names if wins else self.names[::-1]
        return f"{figures}: {winner} is better than {loser} ({bounds})"

    @property
    def caution(self) -> str:
        """What the interval does not hold; empty where it holds both sources of luck."""
        few = [n for n, s in zip(self.names, self.seeds, strict=True) if s < 3]
        if not few:
            return ""
        return (
            f"{' and '.join(few)}: fewer than 3 seeds, so the interval does not hold what another "
            "training would change"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self),
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "difference": self.difference.to_dict(),
            "verdict": self.sentence,
            "caution": self.caution,
        }


@dataclass(frozen=True)
class Rival:
    """A network's score as a function of weights, one for each seed it was trained with."""

    name: str
    seeds: Sequence[Statistic]


def compare(
    score: str,
    first: Rival,
    second: Rival,
    units: Integer[np.ndarray, " n"],
    draws: Draws | None = None,
    better: int = 1,
) -> Comparison:
    """Compare two networks that were scored on the same scans.

    Args:
        score: name of the score, for the record.
        units: patient of each scan, as `unit_numbers` gives them.
        better: 1 where a higher score is better, -1 where a lower one is.
    Raises:
        Pseudo3dError: a network without a seed.
    Example:
        >>> auc_of = lambda probs: [rest_statistic(p, labels) for p in probs]
        >>> compare("auc", Rival("P3D", auc_of(p3d)), Rival("2-D", auc_of(flat)), units).sentence
        'auc 0.869 against 0.791: P3D is better than 2-D (+0.078, 95 % +0.031 to +0.124)'
    """
    for rival in (first, second):
        if not rival.seeds:
            raise Pseudo3dError(f"{rival.name} has no seed; wanted one or more")
    how = draws or Draws()
    ones = np.ones((1, len(units)))
    at = [float(np.mean([s(ones)[0] for s in r.seeds])) for r in (first, second)]
    drawn = drawn_scores([first.seeds, second.seeds], units, how)
    method = describe_draws(units, how, max(len(first.seeds), len(second.seeds)))
    gap = drawn[0] - drawn[1]
    return Comparison(
        score=score,
        names=(first.name, second.name),
        first=_interval(at[0], drawn[0], how, method),
        second=_interval(at[1], drawn[1], how, method),
        difference=_interval(at[0] - at[1], gap, how, f"paired {method}", inside=False),
        p=_two_sided(gap),
        seeds=(len(first.seeds), len(second.seeds)),
        better=better,
    )


def _two_sided(gap: Float[np.ndarray, " b"]) -> float:
    """How often draws of a difference lie on the other side of 0, twice; 1 where none moves."""
    kept = gap[np.isfinite(gap)]
    if not len(kept) or np.ptp(kept) == 0:
        return 1.0
    # one more draw on either side: 2,000 draws cannot show p = 0
    tail = min((kept <= 0).sum(), (kept >= 0).sum())
    return min(1.0, float(2 * (tail + 1) / (len(kept) + 1)))


def over_seeds(
    seeds: Sequence[Statistic], units: Integer[np.ndarray, " n"], draws: Draws | None = None
) -> Interval:
    """Mean score of several seeds; its interval is drawn over scans and over seeds at once."""
    how = draws or Draws()
    if not seeds:
        raise Pseudo3dError("no seeds to score; wanted one or more")
    value = float(np.mean([s(np.ones((1, len(units))))[0] for s in seeds]))
    (drawn,) = drawn_scores([seeds], units, how)
    return _interval(value, drawn, how, describe_draws(units, how, len(seeds)))


def drawn_scores(
    rivals: Sequence[Sequence[Statistic]], units: Integer[np.ndarray, " n"], draws: Draws
) -> list[Float[np.ndarray, " b"]]:
    """Mean over drawn seeds of each rival, in draws of scans that all rivals share."""
    rng = np.random.default_rng([draws.seed, 1])  # another stream than that of the scans
    parts: list[list[np.ndarray]] = [[] for _ in rivals]
    for weights in draw_weights(units, draws):
        for part, seeds in zip(parts, rivals, strict=True):
            table, count = np.stack([s(weights) for s in seeds], axis=1), len(seeds)  # (b, s)
            often = rng.multinomial(count, np.full(count, 1 / count), len(weights)) / count
            mean = table.mean(1)
            # draws of s seeds spread by a share (s - 1) / s too little
            wider = sqrt(count / (count - 1)) if count > 1 else 1.0
            part.append(mean + wider * ((table * often).sum(1) - mean))
    return [np.concatenate(part) for part in parts]


def describe_draws(units: Integer[np.ndarray, " n"], draws: Draws, seeds: int) -> str:
    """What was drawn, in words."""
    count = int(units.max()) + 1
    what = "scans" if count == len(units) else f"units of {len(units)} scans"
    also = f" and {seeds} seeds" if seeds > 1 else ""
    return f"bootstrap over {count} {what}{also}, {draws.count} draws"


def value_statistic(values: Any) -> Statistic:
    """Mean of one number per scan (Dice, an error) as a function of weights.

    Raises:
        Pseudo3dError: a value is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise Pseudo3dError(
            f"values of shape {numbers.shape} with {(~np.isfinite(numbers)).sum()} that are not "
            "finite; wanted one finite number per scan: leave such scans out for both networks"
        )
    return lambda weights: weights @ numbers / weights.sum(1)


def _interval(
    value: float, drawn: np.ndarray, draws: Draws, method: str, inside: bool = True
) -> Interval:
    """Percentiles of the draws; `inside`: widened to hold the value itself."""
    kept = drawn[np.isfinite(drawn)]
    moved = len(kept) > 0 and np.ptp(kept) > 0 and isfinite(value)
    low, high = percentile_bounds(kept, draws.level) if moved else (nan, nan)
    if moved and inside:
        low, high = min(low, value), max(high, value)
    return Interval(
        value=value,
        low=low,
        high=high,
        level=draws.level,
        method=method,
        undefined=len(drawn) - len(kept),
    )
