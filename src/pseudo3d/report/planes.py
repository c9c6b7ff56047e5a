"""Three planes through one voxel as PNG: true proportions, letters, scale bar, what was found."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.files import save_figure
from pseudo3d.report.plots import class_color
from pseudo3d.report.view import RESEARCH, ScanView, Triple, Upright, hottest, place, upright

HEAT = "inferno"
_LINE = "#7FDBFF"
_OUTLINE = [withStroke(linewidth=2, foreground="black")]
_PLANES = ((1, 2), (0, 2), (0, 1))  # upright axes of rows and columns of each plane


@dataclass(frozen=True, kw_only=True)
class PlanesOptions:
    """How three planes are drawn."""

    at: Triple | None = None  # voxel (d, h, w); None: the hottest
    title: str = ""  # label and probability, say
    opacity: float = 0.5  # of the strongest overlay
    crosshair: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise Pseudo3dError(f"opacity {self.opacity!r}; wanted 0 to 1")


def planes_png(view: ScanView, path: str | Path, options: PlanesOptions | None = None) -> Path:
    """Draw the three planes through a voxel, all at the same scale.

    Raises:
        Pseudo3dError: the voxel is outside the scan, or the file cannot be written.
    """
    how = options or PlanesOptions()
    voxel = hottest(view) if how.at is None else how.at
    if any(not 0 <= v < n for v, n in zip(voxel, view.image.shape, strict=True)):
        raise Pseudo3dError(f"voxel {voxel} is outside a scan of shape {view.image.shape}")
    turned = upright(view)
    lengths = [n * s for n, s in zip(turned.size, turned.spacing, strict=True)]
    wide = lengths[2] + lengths[2] + lengths[1]
    tall = max(lengths[1], lengths[0])
    inch = 12 / wide if wide > 2.2 * tall else 5.4 / tall  # one scale for all, mm to paper
    size = (max(7.0, wide * inch + 0.9), tall * inch + 1.35)
    figure = Figure(figsize=size, facecolor="white")
    left, where = (size[0] - wide * inch - 0.4) / 2, turned.to_upright(voxel)
    for k, (rows, columns) in enumerate(_PLANES):
        width, height = lengths[columns] * inch, lengths[rows] * inch
        box = (left / size[0], (0.62 + (tall * inch - height) / 2) / size[1])
        axes = figure.add_axes((*box, width / size[0], height / size[1]))
        _plane(axes, view, turned, (k, where), how)
        left += width + 0.2
    if how.title:
        figure.text(0.5, 1 - 0.24 / size[1], how.title, ha="center", va="center", fontsize=12)
    figure.text(0.5, 0.34 / size[1], _where(view, voxel), ha="center", fontsize=8)
    figure.text(0.5, 0.13 / size[1], RESEARCH, ha="center", fontsize=8, color="#8a1c1c")
    return save_figure(figure, path)


def plane_rgb(
    view: ScanView, turned: Upright, plane: int, index: int, opacity: float = 0.5
) -> Float[np.ndarray, "r s 3"]:
    """One slice as colors 0 to 1, one pixel per voxel, upright."""
    low, high = view.window
    gray = _slice(turned.turn(view.image), plane, index).astype(np.float64)
    gray = np.clip((np.nan_to_num(gray, nan=low) - low) / (high - low), 0, 1)[..., None]
    if view.overlay is None or not view.overlay.any():
        return np.repeat(gray, 3, axis=-1)
    over = _slice(turned.turn(view.overlay), plane, index)
    color, alpha = _colored(over, view)
    return gray * (1 - opacity * alpha) + color * (opacity * alpha)


def _colored(
    over: Shaped[np.ndarray, "r s"], view: ScanView
) -> tuple[Float[np.ndarray, "r s 3"], Float[np.ndarray, "r s 1"]]:
    """Color and cover of each pixel: masks flat, heat stronger where it is hotter."""
    if view.kind == "mask":
        table = np.array([(0, 0, 0), *(to_rgb(class_color(i + 1)) for i in range(255))])
        return table[over.astype(int)], (over > 0)[..., None].astype(np.float64)
    top = float(view.overlay.max()) if view.overlay is not None else 1.0
    share = over.astype(np.float64) / top
    return colormaps[HEAT](share)[..., :3], share[..., None]


def _plane(
    axes: Axes, view: ScanView, turned: Upright, at: tuple[int, Triple], how: PlanesOptions
) -> None:
    """One plane in millimeters, with its letters; `at`: which plane, and the upright index."""
    plane, where = at
    rows, columns = _PLANES[plane]
    width = turned.size[columns] * turned.spacing[columns]
    height = turned.size[rows] * turned.spacing[rows]
    rgb = plane_rgb(view, turned, plane, where[plane], how.opacity)
    axes.imshow(rgb, extent=(0, width, height, 0), interpolation="nearest", aspect="equal")
    if how.crosshair:
        x = (where[columns] + 0.5) * turned.spacing[columns]
        y = (where[rows] + 0.5) * turned.spacing[rows]
        axes.axvline(x, color=_LINE, linewidth=0.7, alpha=0.8)
        axes.axhline(y, color=_LINE, linewidth=0.7, alpha=0.8)
    edges = turned.edges[plane]
    spots = ((0.0, 0.5), (1.0, 0.5), (0.5, 1.0), (0.5, 0.0))
    sides = (("left", "center", 4, 0), ("right", "center", -4, 0))
    shifts = (*sides, ("center", "top", 0, -4), ("center", "bottom", 0, 4))
    for text, spot, (ha, va, x, y) in zip(edges, spots, shifts, strict=True):
        axes.annotate(
            text, spot, (x, y), xycoords="axes fraction", textcoords="offset points", ha=ha, va=va,
            color="white", fontsize=9, fontweight="bold", path_effects=_OUTLINE,
        )  # fmt: skip
    if view.measured:
        _scale_bar(axes, width, height)
    letter, last = "dhw"[turned.axes[plane]], turned.size[plane] - 1
    name = f"{turned.planes[plane]}, {letter} = {turned.to_voxel(where)[turned.axes[plane]]}"
    name += f" of 0 to {last}"
    axes.set_title(name, fontsize=8, pad=3)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()


def _scale_bar(axes: Axes, width: float, height: float) -> None:
    """A round length of about a quarter of the picture, at its lower left."""
    length = round_length(width / 4)
    x, y = 0.05 * width, 0.95 * height
    axes.plot(
        [x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt",
        path_effects=_OUTLINE,
    )  # fmt: skip
    axes.annotate(
        f"{length:g} mm", (x, y), (0, 3), textcoords="offset points", color="white", fontsize=7,
        path_effects=_OUTLINE,
    )  # fmt: skip


def round_length(most: float) -> float:
    """The longest of 1, 2, 5, 10, 20, ... that is not above `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def _where(view: ScanView, voxel: Triple) -> str:
    """Position and values, in words."""
    value = float(view.image[voxel])
    text = f"voxel (d, h, w) = {voxel}"
    if view.placed:
        text += f"    {place(view.world(voxel))}"
    text += f"    value {value:g} {view.units}".rstrip()
    low, high = view.window
    text += f"    window {low:.4g} to {high:.4g}"
    if view.overlay is None:
        return text
    over = view.overlay[voxel]
    if view.kind == "mask":
        return text + f"    mask {view.labels.get(int(over), int(over))}"
    return text + f"    heat {float(over):.3g} of {float(view.overlay.max()):.3g}"


def _slice(array: np.ndarray, plane: int, index: int) -> np.ndarray:
    return array.take(index, axis=plane)
