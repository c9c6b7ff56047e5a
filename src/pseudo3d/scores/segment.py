"""Scores of masks over many scans: one row per scan and label, and a mean with its interval."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from math import inf, nan
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws, Interval, Statistic, interval, unit_numbers
from pseudo3d.scores.overlap import Spacing, box_ml, check_shapes, overlap
from pseudo3d.scores.surface import surface_distances

_SHEARED = 1e-4  # of a voxel's volume that shear may take before distances are doubted
MEASURES = ("dice", "hd95_mm", "mean_distance_mm", "surface_dice", "found_ml", "true_ml")


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """One label in one scan."""

    scan: str
    label: str
    dice: float
    hd95_mm: float
    mean_distance_mm: float
    surface_dice: float
    found_ml: float
    true_ml: float
    sheared: bool = False  # the axes of the scan are not at right angles: distances are off


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """One label over all scans."""

    label: str
    dice: Interval
    surface_dice: Interval
    hd95_mm: Interval  # of the median: it exists even where some scans have no distance
    scored: int  # scans in which the label is, or is said to be
    missed: int  # of them, nothing of it found: Dice 0, distance infinite
    invented: int  # of them, the label is not there at all: the same


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What masks scored: every row, and every label over the scans."""

    rows: tuple[CaseRow, ...]
    labels: tuple[LabelScore, ...]
    tolerance_mm: float
    mean_dice: float  # over labels

    def describe(self) -> str:
        """What was scored, in words."""
        scans = len({row.scan for row in self.rows})
        parts = [
            f"{s.label}: {s.scored} scans, {s.missed} missed, {s.invented} invented"
            for s in self.labels
        ]
        if tilted := len({row.scan for row in self.rows if row.sheared}):
            parts.append(
                f"warning: the axes of {tilted} scans are not at right angles (gantry tilt), their "
                "distances and surface Dice are measured as if they were"
            )
        return f"{scans} scans; surface Dice at {self.tolerance_mm:g} mm; " + "; ".join(parts)

    def to_csv(self) -> str:
        """One row per scan and label; an infinite distance is written `inf`, no score as empty."""
        text = StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow(["scan", "label", *MEASURES])
        for row in self.rows:
            values = [getattr(row, name) for name in MEASURES]
            out.writerow([row.scan, row.label, *("" if v != v else f"{v:.6g}" for v in values)])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the rows."""
        return {
            "protocol": self.describe(),
            "mean_dice": self.mean_dice if self.mean_dice == self.mean_dice else None,
            "tolerance_mm": self.tolerance_mm,
            "labels": {
                s.label: {
                    "dice": s.dice.to_dict(),
                    "surface_dice": s.surface_dice.to_dict(),
                    "median_hd95_mm": s.hd95_mm.to_dict(),
                    "scored": s.scored,
                    "missed": s.missed,
                    "invented": s.invented,
                }
                for s in self.labels
            },
        }


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """What is measured of a mask."""

    names: tuple[str, ...]  # of labels 1, 2, ...; 0 is the background
    tolerance_mm: float = 1.0  # of surface Dice


def case_rows(
    scan: str,
    found: Shaped[np.ndarray, "d h w"],
    true: Shaped[np.ndarray, "d h w"],
    spacing: Spacing,
    options: MaskOptions,
    voxel_ml: float | None = None,
) -> list[CaseRow]:
    """Measure one scan, in its own grid.

    Args:
        voxel_ml: volume of a voxel (`Scan.voxel_ml`); None is the product of the spacings.
    Raises:
        Pseudo3dError: the masks differ in shape, or a label has no name.
    """
    check_shapes(found, true)
    highest = max(int(found.max()), int(true.max()))
    if highest > len(options.names):
        raise Pseudo3dError(
            f"{scan} holds label {highest}; wanted at most {len(options.names)}: "
            f"{', '.join(options.names)}"
        )
    box = box_ml(spacing)
    volume = box if voxel_ml is None else voxel_ml
    rows = []
    for number, name in enumerate(options.names, start=1):
        a, b = found == number, true == number
        count = overlap(a, b, spacing, voxel_ml=volume)
        gaps = surface_distances(a, b, spacing)
        rows.append(
            CaseRow(
                scan=scan,
                label=name,
                dice=count.dice,
                hd95_mm=gaps.hd95_mm,
                mean_distance_mm=gaps.mean_mm,
                surface_dice=gaps.surface_dice(options.tolerance_mm),
                found_ml=count.found_ml,
                true_ml=count.true_ml,
                sheared=volume < (1 - _SHEARED) * box,
            )
        )
    return rows


def segmentation(
    rows: Sequence[CaseRow],
    options: MaskOptions,
    *,
    units: dict[str, Any] | None = None,
    draws: Draws | None = None,
) -> Segmentation:
    """Put the rows of all scans together.

    A scan that neither has a label nor is said to have it is no row of that label's mean.

    Args:
        units: patient of each scan, by its name; scans of one patient are drawn together.
    Raises:
        Pseudo3dError: no rows, or a scan without a patient.
    """
    if not rows:
        raise Pseudo3dError("no scans to score; wanted one or more")
    if units is not None and (bare := sorted({r.scan for r in rows} - {*units})):
        raise Pseudo3dError(f"{len(bare)} scans have no unit: {', '.join(bare[:5])}")
    how = draws or Draws()
    scores = [
        _label([r for r in rows if r.label == name], name, units, how) for name in options.names
    ]
    means = [s.dice.value for s in scores if np.isfinite(s.dice.value)]
    return Segmentation(
        rows=tuple(rows),
        labels=tuple(scores),
        tolerance_mm=options.tolerance_mm,
        mean_dice=float(np.mean(means)) if means else nan,
    )


def _label(
    rows: Sequence[CaseRow], name: str, units: dict[str, Any] | None, draws: Draws
) -> LabelScore:
    kept = [r for r in rows if np.isfinite(r.dice)]
    none = Interval(value=nan, low=nan, high=nan, level=draws.level, method="no scans")
    found = {"dice": none, "surface_dice": none, "hd95_mm": none}
    if kept:
        numbers = unit_numbers(len(kept), [units[r.scan] for r in kept] if units else None)
        for key in found:
            values = np.array([getattr(r, key) for r in kept])
            statistic = _median(values) if key == "hd95_mm" else _mean(values)
            found[key] = interval(statistic, numbers, draws)
    return LabelScore(
        label=name,
        scored=len(kept),
        missed=sum(r.true_ml > 0 and r.found_ml == 0 for r in kept),
        invented=sum(r.true_ml == 0 and r.found_ml > 0 for r in kept),
        **found,
    )


def _mean(values: Float[np.ndarray, " n"]) -> Statistic:
    return lambda weights: weights @ values / weights.sum(1)


def _median(values: Float[np.ndarray, " n"]) -> Statistic:
    """Weighted median; infinite where half of the scans are."""
    order = np.argsort(values, kind="stable")

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        share = np.cumsum(weights[:, order], axis=1) / weights.sum(1, keepdims=True)
        low = values[order][(share >= 0.5 - 1e-9).argmax(1)]
        high = values[order][(share > 0.5 + 1e-9).argmax(1)]
        return np.where(np.isfinite(high), (low + np.where(high < inf, high, low)) / 2, inf)

    return statistic
