"""How sure shares of right answers are: paired bootstrap over videos."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95
_DRAWS = 2000


class Interval(NamedTuple):
    """A share or a difference of shares, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float


def bootstrap(right: Float[np.ndarray, "v c"], seed: int) -> Float[np.ndarray, "draws c"]:
    """Means of resampled videos; what a video got in all conditions stays together.

    Two made-up videos are added, one right in the first condition only and one right in all but
    the first (Bonett and Price, 2012): a handful of videos that agree must not look certain.
    """
    first = np.arange(right.shape[1]) == 0
    values = np.concatenate([right, [first, ~first]])
    rng = np.random.default_rng(seed)
    picks = (rng.integers(len(values), size=len(values)) for _ in range(_DRAWS))
    return np.stack([values[pick].mean(0) for pick in picks])


def interval(value: float, draws: Float[np.ndarray, " draws"]) -> Interval:
    """The middle 95 % of the draws, and the value itself within them."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))
