"""A scan as pictures show it: turned upright for a reader, with the way back to its own voxels.

Radiological convention: axial and coronal slices have the patient's right on the left of the
picture, axial ones the front at the top, sagittal ones the front at the left. A scan whose file
does not say how it lies (npy, npz, a header without geometry) is shown as it is stored, without
letters.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Shaped

from pseudo3d.data.scans.intensity import percentiles, plan_intensity
from pseudo3d.data.scans.scan import Scan, orientation_of, world_axes
from pseudo3d.errors import Pseudo3dError

Triple = tuple[int, int, int]
RESEARCH = "Research use only. Not a medical device; not for diagnosis."
_DOWN = (2, 1, 0)  # world axes (z, y, x) in the order of the upright picture's axes
_THICK = 9.0  # mm: a mask is centered where it fills most of a cube of this side


class Edges(NamedTuple):
    """Letters at the four sides of a plane."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True, kw_only=True)
class ScanView:
    """One channel of a scan, what lies over it, and how it is shown; made by `view_of`."""

    image: Shaped[np.ndarray, "d h w"]
    affine: Float64[np.ndarray, "4 4"]  # (d, h, w, 1) -> mm, RAS+
    spacing: tuple[float, float, float]
    placed: bool  # whether the file says how the patient lies
    window: tuple[float, float]  # values shown black and white
    units: str = ""
    name: str = ""
    overlay: Shaped[np.ndarray, "d h w"] | None = None  # on the same grid; 0 is nothing
    kind: Literal["heat", "mask"] = "heat"
    labels: dict[int, str] = field(default_factory=dict)  # of a mask's values
    notes: tuple[str, ...] = ()  # what a reader should know about the geometry

    def __post_init__(self) -> None:
        low, high = self.window
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise Pseudo3dError(f"window {self.window}; wanted two finite numbers, low below high")
        if self.overlay is None:
            return
        if self.overlay.shape != self.image.shape:
            raise Pseudo3dError(
                f"overlay has shape {self.overlay.shape}, scan {self.image.shape}; wanted one grid"
            )
        lowest, highest = float(self.overlay.min()), float(self.overlay.max())
        if not np.isfinite(lowest + highest) or lowest < 0:
            raise Pseudo3dError(
                f"overlay goes from {lowest:g} to {highest:g}; wanted finite numbers from 0 on"
            )
        if self.kind == "mask" and (highest > 255 or self.overlay.dtype.kind == "f"):
            raise Pseudo3dError(
                f"mask of type {self.overlay.dtype} up to {highest:g}; wanted whole numbers to 255"
            )

    def world(self, voxel: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where a voxel index is, mm, RAS+."""
        x, y, z = (self.affine @ (*voxel, 1.0))[:3]
        return float(x), float(y), float(z)

    @property
    def measured(self) -> bool:
        """Whether millimeters mean anything: 1 mm everywhere in npy and npz is an assumption."""
        return self.placed or self.spacing != (1.0, 1.0, 1.0)

    @property
    def oblique(self) -> float:
        """Largest angle between one of our axes and the body axis it is named after, degrees."""
        cosines = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        along = [abs(cosines[world, i]) for i, (world, _) in enumerate(world_axes(self.affine))]
        return float(np.degrees(np.arccos(np.clip(min(along), 0, 1))))


@dataclass(frozen=True, kw_only=True)
class Upright:
    """The way a scan is turned for the reader: axes (down, down or back, left) of the pictures.

    Planes are then plain slices: `[i]` axial, `[:, i]` coronal, `[:, :, i]` sagittal.
    """

    axes: Triple  # upright axis -> axis of the scan
    flips: tuple[bool, bool, bool]  # whether an upright axis runs against the scan's
    spacing: tuple[float, float, float]  # of the upright axes, mm
    size: Triple
    planes: tuple[str, str, str]
    edges: tuple[Edges, Edges, Edges]

    def turn(self, array: Shaped[np.ndarray, "d h w"]) -> Shaped[np.ndarray, "a b c"]:
        """An array of the scan, upright; a view, nothing is copied."""
        turned = array.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def to_upright(self, voxel: Triple) -> Triple:
        """Index in the upright array of a voxel (d, h, w)."""
        a, b, c = (
            self.size[k] - 1 - voxel[self.axes[k]] if self.flips[k] else voxel[self.axes[k]]
            for k in range(3)
        )
        return a, b, c

    def to_voxel(self, index: Triple) -> Triple:
        """Voxel (d, h, w) of an index in the upright array."""
        voxel = [0, 0, 0]
        for k in range(3):
            voxel[self.axes[k]] = self.size[k] - 1 - index[k] if self.flips[k] else index[k]
        return voxel[0], voxel[1], voxel[2]


def view_of(
    scan: Scan,
    overlay: Any = None,
    *,
    kind: Literal["heat", "mask"] = "heat",
    labels: dict[int, str] | None = None,
    window: tuple[float, float] | str = "auto",
    channel: int = 0,
) -> ScanView:
    """Prepare a scan and what was found in it for pictures.

    Args:
        overlay: (D, H, W) on the scan's grid: a heat map, or a mask of whole numbers. Of heat that
            goes below 0, as logits do, the part above 0 is shown, and that is said.
        labels: names of a mask's values.
        window: (low, high) in the scan's values, or a name that `windowed` takes.
    Raises:
        Pseudo3dError: the overlay is on another grid, or there is no such channel.
    """
    if not 0 <= channel < len(scan.array):
        raise Pseudo3dError(f"channel {channel}; {scan.source} has 0 to {len(scan.array) - 1}")
    low, high = _window(scan, window, channel) if isinstance(window, str) else window
    bare = "none" if scan.kind in ("npy", "npz") else ""
    placed = scan.meta.get("geometry", bare) != "none"
    over, told = None if overlay is None else np.asarray(overlay), ""
    if over is not None and kind == "heat":
        over, told = from_zero(over)
    return ScanView(
        image=scan.array[channel].numpy(),
        affine=scan.affine,
        spacing=scan.spacing,
        placed=placed,
        window=(low, high),
        units=scan.units,
        name=scan.source.name,
        overlay=over.astype(np.uint8) if over is not None and over.dtype == bool else over,
        kind=kind,
        labels=labels or {},
        notes=(*scan.notes, *filter(None, [told])),
    )


def from_zero(
    heat: Shaped[np.ndarray, "d h w"],
) -> tuple[Shaped[np.ndarray, "d h w"], str]:
    """A heat map as pictures show it, from 0 on, and what that left out.

    Evidence against a label is no heat; where all of it is, the least counts as 0.
    """
    least = float(heat.min())
    if not least < 0:
        return heat, ""
    if (heat > 0).any():
        return np.clip(heat, 0, None), f"the heat map goes down to {least:.3g}: shown from 0 on"
    return heat - heat.min(), f"the heat map is nowhere above 0: shown from its least, {least:.3g}"


def upright(view: ScanView) -> Upright:
    """Decide how a scan is turned, by the body axes its own axes run along most."""
    if not view.placed:
        axes, flips = (0, 1, 2), (False, False, False)
        planes = ("height and width", "depth and width", "depth and height")
        none = Edges("", "", "", "")
        return _turned(view, axes, flips, planes, (none, none, none))
    world = world_axes(view.affine)
    order = [next(i for i, (axis, _) in enumerate(world) if axis == down) for down in _DOWN]
    axes = (order[0], order[1], order[2])
    # all three run down, back and left: against R, A and S
    flips = (world[axes[0]][1] > 0, world[axes[1]][1] > 0, world[axes[2]][1] > 0)
    edges = (Edges("R", "L", "A", "P"), Edges("R", "L", "S", "I"), Edges("A", "P", "S", "I"))
    return _turned(view, axes, flips, ("axial", "coronal", "sagittal"), edges)


def hottest(view: ScanView) -> Triple:
    """The voxel (d, h, w) worth looking at first.

    The highest one of a heat map; of a mask, where it is thickest; the middle without either.
    """
    over = view.overlay
    if over is None or not over.any():
        d, h, w = (n // 2 for n in view.image.shape)
        return d, h, w
    if view.kind == "mask":
        return _thickest(over != 0, view.spacing)
    d, h, w = np.unravel_index(int(over.argmax()), over.shape)
    return int(d), int(h), int(w)


def place(world: tuple[float, float, float]) -> str:
    """A position, mm RAS+, with the letters of its side.

    Example:
        >>> place((-30.2, 46.0, -14.66))
        'L 30.2  A 46.0  I 14.7 mm'
    """
    sides = (("R", "L"), ("A", "P"), ("S", "I"))
    parts = [f"{side[x < 0]} {abs(x):.1f}" for side, x in zip(sides, world, strict=True)]
    return "  ".join(parts) + " mm"


def describe_geometry(view: ScanView) -> list[str]:
    """Size, spacing and orientation in words, and what to be careful about."""
    d, h, w = view.image.shape
    step = " x ".join(f"{s:.4g}" for s in view.spacing)
    lines = [f"{d} x {h} x {w} voxels of {step} mm (depth, height, width)"]
    if not view.placed:
        return [*lines, "the file does not say how the patient lies: shown as stored", *view.notes]
    lines.append(f"indices grow toward {', '.join(orientation_of(view.affine))}")
    if view.oblique > 1:
        lines.append(
            f"oblique by {view.oblique:.0f} degrees: slices follow the scan's own axes, letters "
            "name the nearest direction"
        )
    return [*lines, *view.notes]


def _thickest(mask: Bool[np.ndarray, "d h w"], spacing: tuple[float, float, float]) -> Triple:
    """The voxel of a mask around which most of a cube is filled; of equals, the middlemost."""
    inside = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    sides = [max(1, 2 * int(_THICK / 2 / s) + 1) for s in spacing]
    thick = torch.nn.functional.avg_pool3d(inside, sides, 1, [s // 2 for s in sides])
    filled = (thick * inside)[0, 0].numpy()
    spots = np.argwhere(filled >= filled.max() - 1e-4)
    gaps = (spots - np.argwhere(mask).mean(0)) * spacing
    d, h, w = spots[(gaps**2).sum(1).argmin()]
    return int(d), int(h), int(w)


def _turned(
    view: ScanView,
    axes: Triple,
    flips: tuple[bool, bool, bool],
    planes: tuple[str, str, str],
    edges: tuple[Edges, Edges, Edges],
) -> Upright:
    a, b, c = axes
    return Upright(
        axes=axes,
        flips=flips,
        spacing=(view.spacing[a], view.spacing[b], view.spacing[c]),
        size=(view.image.shape[a], view.image.shape[b], view.image.shape[c]),
        planes=planes,
        edges=edges,
    )


def _window(scan: Scan, name: str, channel: int) -> tuple[float, float]:
    plan = plan_intensity(scan, name)
    if plan.kind == "window":
        return plan.center - plan.width / 2, plan.center + plan.width / 2
    values = scan.array[channel]
    if values.is_floating_point():
        values = values[values.isfinite()]
    low, high = percentiles(values, (0.5, 99.5)) if plan.kind == "mri" else (0.0, 0.0)
    if low >= high and values.numel():
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low, low + 1.0)
