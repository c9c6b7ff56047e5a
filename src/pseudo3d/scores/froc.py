"""Are lesions found, one by one? Free-response ROC: sensitivity against false alarms per scan.

A detector gives points with a confidence. A point in a lesion (or within `reach` mm of it) hits
that lesion; several hits of one lesion count once, with the highest confidence, and are no false
alarms. Points that hit nothing are. The definition is that of CAMELYON16 and LUNA16 and of MONAI's
`compute_froc_curve_data`, apart from two things: sensitivity at x false alarms is that of a
threshold that exists (no interpolation between two of them), and a lesion that nothing hits is
missed at every threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Shaped

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.scores.bootstrap import Draws, Interval, Statistic, interval, unit_numbers, wilson
from pseudo3d.scores.overlap import Spacing, check_spacing

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false alarms per scan, as LUNA16


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Points where a detector sees something, the surest first."""

    points: Integer[np.ndarray, "k 3"]  # voxel (d, h, w)
    scores: Float[np.ndarray, " k"]


@dataclass(frozen=True, kw_only=True)
class Hits:
    """One scan: the confidence of each lesion's best hit, and of each false alarm."""

    lesions: Float[np.ndarray, " l"]  # -inf where nothing hits the lesion
    alarms: Float[np.ndarray, " f"]


class FrocPoint(NamedTuple):
    """What one threshold does."""

    alarms_per_scan: float
    sensitivity: float
    threshold: float


def peaks(
    heat: Float[np.ndarray, "d h w"],
    spacing: Spacing,
    *,
    radius: float,
    least: float = 0.0,
    most: int = 100,
) -> Candidates:
    """Local maxima of a heat map that are no nearer to a higher one than `radius` mm.

    A plateau counts as one peak, at the voxel of it nearest to its middle.

    Args:
        least: peaks must be higher than this.
        most: peaks kept.
    Raises:
        ImportError: scipy is not installed.
        Pseudo3dError: the map is not finite, or `radius` is no length.
    """
    image = require("scipy.ndimage", "eval")
    step = check_spacing(spacing)
    if heat.ndim != 3 or not np.isfinite(heat).all() or not radius > 0:
        raise Pseudo3dError(
            f"heat map of shape {heat.shape} with radius {radius!r} mm; wanted (D, H, W), finite "
            "numbers, and a radius above 0"
        )
    heat = heat.astype(np.promote_types(heat.dtype, np.float32), copy=False)  # scipy has no halves
    near = image.maximum_filter(heat, size=3)  # cheap: a peak is highest among its 26 neighbors
    groups, count = image.label((heat == near) & (heat > least), structure=np.ones((3, 3, 3)))
    spots = _middles(groups, count)
    values = heat[tuple(spots.T)].astype(np.float64)
    kept: list[int] = []
    for i in np.argsort(-values, kind="stable"):
        gaps = np.linalg.norm((spots[kept] - spots[i]) * step, axis=1)
        if not (gaps < radius).any():
            kept.append(int(i))
        if len(kept) == most:
            break
    return Candidates(points=spots[kept], scores=values[kept])


def lesions_of(mask: Shaped[np.ndarray, "d h w"]) -> tuple[Integer[np.ndarray, "d h w"], int]:
    """Number the connected parts of a mask (26 neighbors) from 1 on.

    Raises:
        ImportError: scipy is not installed.
    """
    label = require("scipy.ndimage", "eval").label
    numbered, count = label(np.asarray(mask) != 0, structure=np.ones((3, 3, 3)))
    return numbered.astype(np.int64), int(count)


def hits(
    found: Candidates,
    lesions: Integer[np.ndarray, "d h w"],
    spacing: Spacing = (1.0, 1.0, 1.0),
    reach: float = 0.0,
) -> Hits:
    """Tell hits from false alarms in one scan.

    Args:
        lesions: a number for each lesion, 0 elsewhere, as `lesions_of` gives it.
        reach: a point this near to a lesion, mm, hits it; 0: only within it. A point near to
            several hits the nearest one.
    Raises:
        Pseudo3dError: a point lies outside the scan.
    """
    step = check_spacing(spacing)
    inside = (found.points >= 0) & (found.points < np.array(lesions.shape))
    if not inside.all():
        bad = found.points[~inside.all(axis=1)][0].tolist()
        raise Pseudo3dError(f"candidate at voxel {bad} of a scan of shape {lesions.shape}")
    numbers = [int(n) for n in np.unique(lesions) if n]
    best = dict.fromkeys(numbers, -np.inf)
    where = _nearest(lesions, step, reach) if reach > 0 and numbers else lesions
    alarms = []
    for point, score in zip(found.points, found.scores, strict=True):
        number = int(where[tuple(point)])
        if number:
            best[number] = max(best[number], float(score))
        else:
            alarms.append(float(score))
    return Hits(lesions=np.array([best[n] for n in numbers]), alarms=np.array(alarms))


def froc_curve(scans: Sequence[Hits]) -> list[FrocPoint]:
    """Every threshold's false alarms per scan and sensitivity, the strictest first.

    Raises:
        Pseudo3dError: no scans, or none with a lesion.
    """
    if not scans or not (count := sum(len(s.lesions) for s in scans)):
        raise Pseudo3dError(f"FROC of {len(scans)} scans without a lesion; wanted one or more")
    good = np.sort(np.concatenate([s.lesions for s in scans]))
    bad = np.sort(np.concatenate([s.alarms for s in scans]))
    steps = np.unique(np.concatenate([good[np.isfinite(good)], bad]))[::-1]
    found = len(good) - np.searchsorted(good, steps)
    false = len(bad) - np.searchsorted(bad, steps)
    rows = zip(false / len(scans), found / count, steps, strict=True)
    return [FrocPoint(0.0, 0.0, np.inf), *(FrocPoint(*map(float, row)) for row in rows)]


@dataclass(frozen=True, kw_only=True)
class Froc:
    """How well lesions are found, with what it was measured on."""

    scans: int
    lesions: int
    curve: tuple[FrocPoint, ...]
    at: dict[float, Interval]  # sensitivity at so many false alarms per scan
    mean: Interval  # of those sensitivities; LUNA16's score for its seven rates

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of every score, for a table."""
        shown = [(f"sensitivity at {r:g} false alarms a scan", str(v)) for r, v in self.at.items()]
        return [*shown, ("mean of these sensitivities", str(self.mean))]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "scans": self.scans,
            "lesions": self.lesions,
            "sensitivity_at": {f"{rate:g}": v.to_dict() for rate, v in self.at.items()},
            "mean_sensitivity": self.mean.to_dict(),
            "curve": [[p.alarms_per_scan, p.sensitivity] for p in self.curve],
        }


def froc(
    scans: Sequence[Hits],
    *,
    rates: Sequence[float] = RATES,
    units: Any = None,
    draws: Draws | None = None,
) -> Froc:
    """Score a detector on many scans, with bootstrap intervals over them.

    Args:
        rates: false alarms per scan at which sensitivity is read off.
        units: patient of each scan.
    """
    curve, how = froc_curve(scans), draws or Draws()
    numbers, lesions = unit_numbers(len(scans), units), sum(len(s.lesions) for s in scans)
    each = [froc_statistic(scans, rate) for rate in rates]

    def bounded(statistic: Statistic) -> Interval:
        share = float(statistic(np.ones((1, len(scans))))[0])
        # units, not lesions: lesions of one scan may be found or missed together
        return interval(
            statistic, numbers, how, lambda count: wilson(share, min(count, lesions), how.level)
        )

    return Froc(
        scans=len(scans),
        lesions=lesions,
        curve=tuple(curve),
        at={rate: bounded(s) for rate, s in zip(rates, each, strict=True)},
        mean=bounded(lambda weights: np.mean([s(weights) for s in each], axis=0)),
    )


def froc_statistic(scans: Sequence[Hits], rate: float) -> Statistic:
    """Sensitivity at `rate` false alarms per scan as a function of weights.

    Each draw looks for its own threshold, as one who publishes the figure does.
    """
    # sensitivity changes at the confidences of hits alone: no other threshold can be the best
    steps = np.unique(np.concatenate([s.lesions for s in scans]))
    steps = steps[np.isfinite(steps)][::-1]
    found = np.stack([_at_least(s.lesions, steps) for s in scans])
    false = np.stack([_at_least(s.alarms, steps) for s in scans])
    count = np.array([len(s.lesions) for s in scans], dtype=np.float64)

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        total = weights @ count
        allowed = weights @ false <= rate * weights.sum(1, keepdims=True) + 1e-9
        best = np.where(allowed, weights @ found, 0).max(axis=1, initial=0)
        return np.where(total > 0, best / np.where(total > 0, total, 1), nan)

    return statistic


def _at_least(
    scores: Float[np.ndarray, " k"], steps: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """How many scores reach each threshold."""
    return (len(scores) - np.searchsorted(np.sort(scores), steps)).astype(np.float64)


def _middles(groups: np.ndarray, count: int) -> np.ndarray:
    """The voxel of each numbered group that is nearest to its middle."""
    spots = np.argwhere(groups)
    numbers = groups[tuple(spots.T)]
    order = np.argsort(numbers, kind="stable")
    parts = np.split(spots[order], np.cumsum(np.bincount(numbers, minlength=count + 1)[1:])[:-1])
    middles = [p[((p - p.mean(0)) ** 2).sum(1).argmin()] for p in parts if len(p)]
    return np.array(middles, dtype=np.int64).reshape(-1, 3)


def _nearest(lesions: np.ndarray, step: np.ndarray, reach: float) -> np.ndarray:
    """For each voxel the number of the nearest lesion within `reach` mm, else 0."""
    transform = require("scipy.ndimage", "eval").distance_transform_edt
    gaps, spots = transform(lesions == 0, sampling=step, return_indices=True)
    return np.where(gaps <= reach * (1 + 1e-9), lesions[tuple(spots)], 0)
