"""How sure a score is: resampling of whole units (patients), and what to say where it cannot see.

A statistic here takes weights (B, N), how often each of N scans was drawn in B draws, and gives B
values; the score itself is the statistic of ones. That keeps scans of one patient together, keeps
two models paired, and makes thousands of draws a matrix product.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import isfinite, isinf, isnan, nan, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from pseudo3d.errors import Pseudo3dError

Statistic = Callable[[Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]]
Bounds = Callable[[int], tuple[float, float]]  # from the number of units
_SMALL = 0.1
_AT_ONCE = 4_000_000  # weights held at a time: 32 MB


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How a bootstrap is drawn."""

    count: int = 2000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.count < 100 or not 0.5 <= self.level < 1:
            raise Pseudo3dError(
                f"bootstrap of {self.count} draws at level {self.level}; wanted 100 or more "
                "and a level of 0.5 up to, but not including, 1"
            )


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score, where it lies with some confidence, and how that was found."""

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""
    undefined: int = 0  # draws in which the score does not exist, left out

    def __str__(self) -> str:
        if isnan(self.value):
            return "undefined"
        most = max(abs(v) for v in (self.value, self.low, self.high) if not isnan(v))
        form = ".4g" if most < _SMALL else ".3f"  # of a number in a small unit, three places say 0
        if isnan(self.low):
            return f"{self.value:{form}} (no interval)"
        ends = f"{self.low:{form}} to {self.high:{form}}"
        return f"{self.value:{form}} ({100 * self.level:g} % {ends})"

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: None, and `text` says what it stands for."""
        plain = {
            k: None if isinstance(v, float) and not isfinite(v) else v
            for k, v in asdict(self).items()
        }
        ends = self.value, self.low, self.high
        return plain | ({"text": str(self)} if any(map(isinf, ends)) else {})


def unit_numbers(count: int, units: Any) -> Integer[np.ndarray, " n"]:
    """Number the unit of each scan: equal entries of a list or array are one; None, each its own.

    Raises:
        Pseudo3dError: there are more or fewer units than scans, or no scans.
    """
    if count == 0:
        raise Pseudo3dError("no scans to score; wanted one or more")
    if units is None:
        return np.arange(count)
    if len(units) != count:
        raise Pseudo3dError(f"{len(units)} units for {count} scans; wanted one for each")
    return np.unique(np.array([str(u) for u in units]), return_inverse=True)[1].reshape(-1)


def draw_weights(
    units: Integer[np.ndarray, " n"], draws: Draws
) -> Iterator[Float[np.ndarray, "b n"]]:
    """How often each scan is in each draw, in blocks; scans of a unit always together."""
    rng = np.random.default_rng(draws.seed)
    count = int(units.max()) + 1
    block = max(1, _AT_ONCE // max(len(units), count))
    for start in range(0, draws.count, block):
        size = min(block, draws.count - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size)[:, units].astype(np.float64)


def interval(
    statistic: Statistic,
    units: Integer[np.ndarray, " n"],
    draws: Draws,
    otherwise: Bounds | None = None,
) -> Interval:
    """The score with its percentile interval over draws of units.

    Args:
        units: as `unit_numbers` gives them.
        otherwise: bounds for a score that no draw changes (everything right, say), where the
            percentiles would promise certainty.
    """
    value = float(statistic(np.ones((1, len(units))))[0])
    count = int(units.max()) + 1
    if isnan(value):
        return Interval(value=value, low=nan, high=nan, level=draws.level, method="undefined")
    drawn = np.concatenate([statistic(weights) for weights in draw_weights(units, draws)])
    kept = drawn[~np.isnan(drawn)]  # an infinite distance is a value: half of the scans are missed
    what = "scans" if count == len(units) else f"units of {len(units)} scans"
    method = f"bootstrap over {count} {what}, {draws.count} draws"
    if len(kept) == 0 or kept.min() == kept.max():
        low, high = (nan, nan) if otherwise is None else otherwise(count)
        method = f"no draw of {count} {what} changes the score; " + (
            "no interval" if otherwise is None else "score interval"
        )
    else:
        low, high = percentile_bounds(kept, draws.level)
    return Interval(
        value=value,
        low=low if isnan(low) else min(low, value),
        high=high if isnan(high) else max(high, value),
        level=draws.level,
        method=method,
        undefined=len(drawn) - len(kept),
    )


def percentile_bounds(drawn: Float[np.ndarray, " b"], level: float) -> tuple[float, float]:
    """The middle `level` of the draws; between a number and infinity nothing is interpolated."""
    wanted = np.array([(1 - level) / 2, (1 + level) / 2])
    if np.isfinite(drawn).all():
        low, high = np.quantile(drawn, wanted)
    else:
        first, last = wanted * (len(drawn) - 1)
        low, high = np.sort(drawn)[[int(np.floor(first)), int(np.ceil(last))]]
    return float(low), float(high)


def wilson(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of `count` cases; sane at 0 and 1.

    Example:
        >>> wilson(1.0, 20)  # twenty of twenty right
        (0.8388..., 1.0)
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def as_numbers(values: Any, what: str, ndim: int) -> np.ndarray:
    """`values` as a float64 array of `ndim` axes.

    Raises:
        Pseudo3dError: another number of axes, or an entry that is not a number.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim:
        raise Pseudo3dError(f"{what} have shape {array.shape}; wanted {ndim} axes")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise Pseudo3dError(f"{what} hold {array[tuple(bad)]} at {bad}; wanted finite numbers")
    return array
