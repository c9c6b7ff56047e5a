"""Scores of predicted numbers: errors with intervals, beside naming the mean."""

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Float

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import (
    Draws,
    Interval,
    Statistic,
    as_numbers,
    interval,
    unit_numbers,
)


@dataclass(frozen=True, kw_only=True)
class Regression:
    """What predicted numbers scored, in the unit of the number."""

    scans: int
    scores: dict[str, Interval]  # mae, rmse, r2, bias
    floor_mae: float  # of always naming one number
    floor_rmse: float
    floor_note: str

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of every score and floor, for a table."""
        floor = f"MAE {self.floor_mae:.4g}, RMSE {self.floor_rmse:.4g} ({self.floor_note})"
        return [*((n, str(s)) for n, s in self.scores.items()), ("floor: mean value", floor)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "scans": self.scans,
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
            "floor": {"mae": self.floor_mae, "rmse": self.floor_rmse, "note": self.floor_note},
        }


def regression(
    found: Any,
    truth: Any,
    *,
    units: Any = None,
    learned: Any = None,
    draws: Draws | None = None,
) -> Regression:
    """Score predicted against true numbers.

    Args:
        learned: true numbers of the training scans, whose mean is the floor's answer; None takes
            the mean of `truth`, which is lower than an honest floor can be.
    Raises:
        Pseudo3dError: sizes do not fit, or a number is not finite.
    """
    said, real = as_numbers(found, "predictions", 1), as_numbers(truth, "true values", 1)
    if said.shape != real.shape:
        raise Pseudo3dError(f"{len(said)} predictions for {len(real)} values; wanted one for each")
    numbers, how = unit_numbers(len(real), units), draws or Draws()
    gap = said - real

    statistics = {
        "mae": lambda w: w @ np.abs(gap) / w.sum(1),
        "rmse": lambda w: np.sqrt(w @ gap**2 / w.sum(1)),
        "r2": _r2(gap, real),
        "bias": lambda w: w @ gap / w.sum(1),
    }
    base = real if learned is None else as_numbers(learned, "training values", 1)
    rest = real - base.mean()
    source = "these scans" if learned is None else f"{len(base)} training scans"
    return Regression(
        scans=len(real),
        scores={name: interval(s, numbers, how) for name, s in statistics.items()},
        floor_mae=float(np.abs(rest).mean()),
        floor_rmse=float(np.sqrt((rest**2).mean())),
        floor_note=f"always the mean of {source}, {base.mean():.4g}",
    )


def _r2(gap: Float[np.ndarray, " n"], real: Float[np.ndarray, " n"]) -> Statistic:
    """Share of the spread that is explained; NaN where a draw has no spread."""

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        total = weights.sum(1)
        mean = weights @ real / total
        spread = weights @ (real - real.mean()) ** 2 / total - (mean - real.mean()) ** 2
        # equal values leave a difference of rounded numbers, which may lie above 0
        known = spread > 1e-12 * np.max(real**2, initial=0.0)
        share = 1 - (weights @ gap**2 / total) / np.where(known, spread, 1)
        return np.where(known, share, nan)

    return statistic
