"""A scan as one HTML file: scrolls the slices of all three planes offline, with what was found."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from pseudo3d.data.scans.intensity import CT
from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.files import save_bytes
from pseudo3d.report.plots import class_color
from pseudo3d.report.slices import SliceCurve
from pseudo3d.report.view import RESEARCH, ScanView, Upright, describe_geometry, hottest, upright
from pseudo3d.report.voxels import (
    Packed,
    Triple,
    fitting_size,
    pack_image,
    pack_overlay,
    shrink,
)

_PAGE = 120_000  # bytes of the page without voxels, generously
_MOST = 256**3  # voxels shown at most, whatever they compress to


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a network said of a scan."""

    label: str
    prob: float | None = None
    top: tuple[tuple[str, float], ...] = ()  # classes with probabilities, shown as bars
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ViewerOptions:
    """How the page is made."""

    title: str = ""  # default: the scan's name
    at: Triple | None = None  # voxel (d, h, w) it opens at; None: the hottest
    opacity: float = 0.5
    megabytes: float = 8.0  # of the whole file

    def __post_init__(self) -> None:
        if self.megabytes < 0.2 or not 0 <= self.opacity <= 1:
            raise Pseudo3dError(
                f"a page of {self.megabytes:g} MB with opacity {self.opacity:g}; wanted 0.2 MB or "
                "more, and an opacity of 0 to 1"
            )


@dataclass(frozen=True)
class _Voxels:
    image: Packed
    overlay: Packed | None

    @property
    def bytes(self) -> int:
        """In the page, where four letters hold three bytes."""
        over = len(self.overlay.data) if self.overlay else 0
        return (len(self.image.data) + over) * 4 // 3


def write_viewer(
    view: ScanView,
    path: str | Path,
    *,
    finding: Finding | None = None,
    curve: SliceCurve | None = None,
    options: ViewerOptions | None = None,
) -> Path:
    """Write the page; it needs no other file, no network and no installed program.

    Where the voxels are too many for the size that was asked for, neighbors are averaged (masks and
    heat: the largest is kept) and the page says so.

    Raises:
        Pseudo3dError: the place it is to open at is outside the scan, or the disk refuses.
    Example:
        >>> view = view_of(read_scan("scan.nii.gz"), heat)
        >>> write_viewer(view, "scan.html", finding=Finding(label="ill", prob=0.93))
    """
    how, turned = options or ViewerOptions(), upright(view)
    at = hottest(view) if how.at is None else how.at
    if any(not 0 <= v < n for v, n in zip(at, view.image.shape, strict=True)):
        raise Pseudo3dError(f"voxel {at} is outside a scan of shape {view.image.shape}")
    data = _data(view, turned, finding or Finding(label=""), how)
    data |= {"at": list(turned.to_upright(at)), "curve": _curve(curve, view, turned)}
    title = how.title or view.name or "scan"
    parts = {
        "title": escape(title),
        "research": escape(RESEARCH),
        "style": _asset("viewer.css"),
        "script": _asset("viewer.js") + _asset("viewer-page.js"),
        # "<" could end the script element early
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    }
    # in one pass: what a title holds is never taken for a place to fill
    page = re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], _asset("viewer.html"))
    return save_bytes(path, page.encode("utf-8"))


def _data(view: ScanView, turned: Upright, said: Finding, how: ViewerOptions) -> dict[str, Any]:
    """What the page is about, but for the place it opens at and the curve."""
    voxels = _fit(view, turned, how.megabytes)
    facts = [*describe_geometry(view), *_said(view, turned, voxels), *said.notes]
    return {
        **_geometry(view, turned, voxels.image.size),
        **_values(view, voxels),
        "hot": list(turned.to_upright(hottest(view))),
        "opacity": how.opacity,
        "label": said.label,
        "prob": said.prob,
        "top": [[name, share] for name, share in said.top],
        "facts": list(dict.fromkeys(facts)),  # each once
    }


def _fit(view: ScanView, turned: Upright, megabytes: float) -> _Voxels:
    """Pack at about the finest size that fits.

    Averaging takes noise away, so the first guess is often too small: one step back up follows.
    """
    room = megabytes * 1e6 - _PAGE
    size = fitting_size(turned.size, turned.spacing, _MOST)
    voxels = best = _pack(view, turned, size)
    shrunk = False
    while voxels.bytes > room:
        count = int(np.prod(size) * min(0.9, 0.97 * room / voxels.bytes))
        size, shrunk = fitting_size(turned.size, turned.spacing, max(1, count)), True
        voxels = best = _pack(view, turned, size)
    if shrunk and voxels.bytes < 0.85 * room:
        count = int(np.prod(size) * 0.95 * room / voxels.bytes)
        voxels = _pack(view, turned, fitting_size(turned.size, turned.spacing, min(count, _MOST)))
        best = voxels if voxels.bytes <= room else best
    return best


def _pack(view: ScanView, turned: Upright, size: Triple) -> _Voxels:
    image = shrink(turned.turn(view.image), size, largest=False, empty=view.window[0])
    over = None
    if view.overlay is not None:
        over = pack_overlay(shrink(turned.turn(view.overlay), size, largest=True), view.kind)
    return _Voxels(pack_image(image, view.window), over)


def _geometry(view: ScanView, turned: Upright, size: Triple) -> dict[str, Any]:
    """What the page needs to say where a shown voxel is."""
    lengths = [n * s for n, s in zip(turned.size, turned.spacing, strict=True)]
    return {
        "size": list(size),
        "spacing": [length / n for length, n in zip(lengths, size, strict=True)],
        "full": list(turned.size),
        "axes": list(turned.axes),
        "flips": list(turned.flips),
        "affine": view.affine[:3].tolist(),
        "placed": view.placed,
        "measured": view.measured,
        "planes": list(turned.planes),
        "edges": [list(edges) for edges in turned.edges],
    }


def _values(view: ScanView, voxels: _Voxels) -> dict[str, Any]:
    """Voxels, what their codes mean, and windows to choose from."""
    table = voxels.image.table
    presets: list[tuple[str, list[float]]] = [("as opened", list(view.window))]
    presets.append(("whole range", [float(table[0]), float(max(table[-1], table[0] + 1e-6))]))
    if view.units == "HU":
        presets += [(name, [c - w / 2, c + w / 2]) for name, (c, w) in CT.items()]
    over = voxels.overlay
    return {
        "image": _code(voxels.image),
        "overlay": None if over is None else _code(over),
        "kind": view.kind,
        "names": {str(k): v for k, v in view.labels.items()},
        "colors": [class_color(i) for i in range(256)] if view.kind == "mask" else _heat_colors(),
        "units": view.units,
        "window": list(view.window),
        "presets": presets,
    }


def _code(packed: Packed) -> dict[str, Any]:
    return {
        "data": b64encode(packed.data).decode("ascii"),
        "filtered": packed.filtered,
        "exact": packed.error == 0,
        "table": [float(f"{v:.6g}") for v in packed.table],
    }


def _heat_colors() -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(c) for c in colormaps["inferno"](np.linspace(0, 1, 256))]


def _curve(curve: SliceCurve | None, view: ScanView, turned: Upright) -> dict[str, Any] | None:
    """The curve in the order of the upright axis it runs along.

    Raises:
        Pseudo3dError: it has more or fewer values than the scan has slices.
    """
    if curve is None:
        return None
    if len(curve.values) != view.image.shape[curve.axis]:
        raise Pseudo3dError(
            f"a curve of {len(curve.values)} values for {view.image.shape[curve.axis]} slices"
        )
    k = turned.axes.index(curve.axis)
    values = curve.values[::-1] if turned.flips[k] else curve.values
    shown = [float(f"{v:.5g}") if isfinite(v) else None for v in values]
    return {"axis": k, "values": shown, "what": curve.what}


def _said(view: ScanView, turned: Upright, voxels: _Voxels) -> Sequence[str]:
    """What the page shows otherwise than the file holds it."""
    lines = []
    size, error, units = voxels.image.size, voxels.image.error, view.units
    if size != turned.size:
        a, b, c = (f"{n} of {full}" for n, full in zip(size, turned.size, strict=True))
        most = "; of the overlay the largest value is kept" if voxels.overlay else ""
        lines.append(
            f"shown coarser than the file, for the size of this page: neighbors are averaged to "
            f"{a}, {b}, {c} slices ({', '.join(turned.planes)}){most}"
        )
    if not isfinite(error):
        lines.append("the window holds too few voxels to say how exact gray values are")
    elif error:
        off = f"{error:.2g} {units}".rstrip()
        usual = f"{voxels.image.typical:.2g} {units}".rstrip()
        lines.append(
            f"256 gray values: within the first window a value is off by {usual} "
            f"(root mean square), {off} at most"
        )
    return lines


def _asset(name: str) -> str:
    return (files("pseudo3d.report") / "assets" / name).read_text(encoding="utf-8")
