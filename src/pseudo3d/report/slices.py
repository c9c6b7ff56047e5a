"""The timeline of a scan: a curve over its slices, as PNG and as a table."""

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from pseudo3d.data.scans.scan import world_axes
from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.files import save_figure
from pseudo3d.report.plots import class_color
from pseudo3d.report.view import RESEARCH, ScanView

How = Literal["max", "mean", "area"]
AXES = ("depth", "height", "width")
_WHAT = {"max": "highest heat", "mean": "mean heat", "area": "area of the mask, mm2"}


@dataclass(frozen=True, kw_only=True)
class SliceCurve:
    """One number for each slice across an axis of the scan."""

    values: Float[np.ndarray, " s"]  # NaN where nothing is known
    what: str  # of the values, with their unit
    axis: int = 0  # of the scan: 0 depth, 1 height, 2 width
    positions: Float[np.ndarray, " s"] | None = None  # mm along `direction`; None: unknown
    direction: str = ""  # "S", "A" or "R": where positions grow
    spacing: float = 1.0  # of the slices, mm

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not len(self.values) or self.axis not in (0, 1, 2):
            raise Pseudo3dError(
                f"values of shape {self.values.shape} across axis {self.axis}; wanted one for "
                "each slice, across axis 0, 1 or 2"
            )
        if np.isnan(self.values).all():
            raise Pseudo3dError("a curve without a number; wanted one for at least one slice")
        if self.positions is not None and self.positions.shape != self.values.shape:
            raise Pseudo3dError(
                f"{len(self.positions)} positions for {len(self.values)} slices; wanted as many"
            )

    @property
    def peak(self) -> int:
        """The slice with the highest value."""
        return int(np.nanargmax(self.values))

    def to_csv(self) -> str:
        """One row per slice: index, position in mm and value where they are known."""
        text = StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow([AXES[self.axis], "position_mm", "value"])
        for i, value in enumerate(self.values):
            place = "" if self.positions is None else f"{self.positions[i]:.3f}"
            out.writerow([i, place, "" if np.isnan(value) else f"{value:.6g}"])
        return text.getvalue()


def slice_curve(view: ScanView, axis: int = 0, how: How | None = None) -> SliceCurve:
    """What lies over each slice: the highest or mean heat, or the area of a mask.

    Args:
        axis: of the scan, 0 depth, 1 height, 2 width.
        how: None takes `max` for heat and `area` for a mask.
    Raises:
        Pseudo3dError: nothing lies over the scan.
    """
    if view.overlay is None:
        raise Pseudo3dError(f"{view.name or 'the scan'} has no heat map and no mask to follow")
    kind = how or ("area" if view.kind == "mask" else "max")
    rest = tuple({0, 1, 2} - {axis})
    if kind == "area":
        one, other = (view.affine[:3, k] for k in rest)
        pixel = np.linalg.norm(np.cross(one, other))  # where axes are sheared, no rectangle
        values = (view.overlay != 0).sum(axis=rest) * pixel
    else:
        values = view.overlay.max(axis=rest) if kind == "max" else view.overlay.mean(axis=rest)
    return curve_of(view, values.astype(np.float64), _WHAT[kind], axis)


def curve_of(
    view: ScanView, values: Float[np.ndarray, " s"], what: str, axis: int = 0
) -> SliceCurve:
    """A curve of any numbers, one per slice of the scan (probabilities, say), with its places.

    Raises:
        Pseudo3dError: there are more or fewer numbers than slices.
    """
    if values.shape != (view.image.shape[axis],):
        raise Pseudo3dError(
            f"{values.shape} values for {view.image.shape[axis]} slices across {AXES[axis]}"
        )
    positions, direction = None, ""
    if view.placed:
        world = world_axes(view.affine)[axis][0]
        middle = [(n - 1) / 2 for n in view.image.shape]
        spots = [view.world(_at(middle, axis, i))[world] for i in range(len(values))]
        positions, direction = np.array(spots), "RAS"[world]
    return SliceCurve(
        values=values,
        what=what,
        axis=axis,
        positions=positions,
        direction=direction,
        spacing=view.spacing[axis],
    )


def slices_png(
    curve: SliceCurve, path: str | Path, *, title: str = "", threshold: float | None = None
) -> Path:
    """Draw the curve, its peak marked, with places in mm above it where they are known.

    Args:
        threshold: a dashed line, and what lies above it filled.
    """
    figure = Figure(figsize=(10, 2.9), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    index, color = np.arange(len(curve.values)), class_color(0)
    axes.plot(
        index, curve.values, color=color, linewidth=1.6, marker="." if len(index) < 80 else ""
    )
    if threshold is not None:
        axes.axhline(threshold, color="#666666", linestyle="--", linewidth=1)
        above = curve.values >= threshold
        axes.fill_between(index, threshold, curve.values, where=above, color=color, alpha=0.25)
    peak = curve.peak
    axes.axvline(peak, color=class_color(5), linewidth=1)
    place = "" if curve.positions is None else f", {curve.direction} {curve.positions[peak]:.1f} mm"
    label = f" slice {peak}{place}: {curve.values[peak]:.3g}"
    right = peak > 0.6 * len(index)
    axes.text(
        peak, 1.0, label + (" " if right else ""), transform=axes.get_xaxis_transform(),
        ha="right" if right else "left", va="bottom", fontsize=9, color=class_color(5),
    )  # fmt: skip
    axes.set_xlim(-0.5, len(index) - 0.5)
    axes.set_ylim(min(0.0, float(np.nanmin(curve.values))), None)
    axes.set_xlabel(f"slice (index along {AXES[curve.axis]}, {curve.spacing:.4g} mm apart)")
    axes.set_ylabel(curve.what, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title or "Slice by slice", fontsize=11)
    figure.text(0.995, 0.01, RESEARCH, ha="right", va="bottom", fontsize=7, color="#8a1c1c")
    return save_figure(figure, path)


def _at(middle: list[float], axis: int, index: float) -> tuple[float, float, float]:
    spot = [*middle[:axis], index, *middle[axis + 1 :]]
    return spot[0], spot[1], spot[2]
