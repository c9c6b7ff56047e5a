"""The images of a series become one grid of voxels, or are refused with the reason."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np
from jaxtyping import Float64

from pseudo3d.data.scans.dicom_headers import TELLS, Slice
from pseudo3d.data.scans.scan import LPS, ScanError

SAME_PLACE = 0.01  # mm: images nearer than this lie at the same position
UNEVEN = 0.02  # of a gap: what positions may be off an even grid
ROUNDING = 0.05  # mm: or so much, as headers are rounded,
SHIFT = 0.2  # of a gap: but never this much; a missing slice moves others by half a gap
MISSING = 0.1  # of a gap: how near a gap is to a whole number of gaps if slices are missing
TURNED = 1e-4  # of direction cosines: what images of one series may differ
ASIDE = 0.05  # mm: what an image may lie off the line through the others


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Images in the order of depth, and where they are."""

    slices: tuple[Slice, ...]
    places: tuple[float, ...]  # depth of each in steps of the grid; 0, 1, 2, ... unless uneven
    count: int  # slices of the grid
    affine: Float64[np.ndarray, "4 4"]  # (d, h, w, 1) -> mm, RAS+
    notes: tuple[str, ...] = ()


def check_alike(slices: Sequence[Slice]) -> None:
    """Refuse images that cannot be of one volume, before their positions are looked at.

    Raises:
        ScanError: names the image that differs from most.
    """
    _check_localizers(slices)
    _check_same(slices, lambda s: s.size, "rows x columns")
    _check_same(slices, lambda s: s.samples, "samples per pixel")
    _check_same(slices, lambda s: tuple(round(v, 4) for v in s.spacing), "pixel spacing")
    usual = _usual(slices, lambda s: tuple(round(v, 3) for v in s.orientation))
    for one in slices:
        off = np.abs(np.subtract(one.orientation, usual.orientation)).max()
        if off > TURNED:
            raise ScanError(
                f"{one.file}: mixed orientation: {one.name} has {_plain(one.orientation)}, most "
                f"of the {len(slices)} images {_plain(usual.orientation)}; it may be a localizer: "
                "leave it out"
            )
    column, row = np.array(usual.orientation[:3]), np.array(usual.orientation[3:])
    lengths = np.linalg.norm([column, row], axis=1)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(column @ row) > 1e-3:
        raise ScanError(
            f"{usual.file}: ImageOrientationPatient {_plain(usual.orientation)} is no pair of "
            "perpendicular directions of length 1; export the series anew"
        )
    if min(usual.spacing) <= 0:
        raise ScanError(f"{usual.file}: PixelSpacing {usual.spacing}; wanted mm above 0")
    _check_copies(slices)


def _check_localizers(slices: Sequence[Slice]) -> None:
    odd = [s for s in slices if s.localizer]
    if odd and len(odd) < len(slices):
        raise ScanError(
            f"{odd[0].file}: a localizer inside the series ({len(odd)} of {len(slices)} images say "
            "LOCALIZER in ImageType); move it out of the folder"
        )


def _usual(slices: Sequence[Slice], key: Callable[[Slice], Hashable]) -> Slice:
    """An image with the most frequent value."""
    value, _ = Counter(map(key, slices)).most_common(1)[0]
    return next(s for s in slices if key(s) == value)


def _check_same(slices: Sequence[Slice], key: Callable[[Slice], Any], what: str) -> None:
    usual = key(_usual(slices, key))
    for one in slices:
        if key(one) != usual:
            raise ScanError(
                f"{one.file}: mixed {what}: {one.name} has {key(one)}, most of the {len(slices)} "
                f"images {usual}; leave it out or read its series by itself"
            )


def _check_copies(slices: Sequence[Slice]) -> None:
    seen: dict[tuple[str, int | None], Slice] = {}
    for one in slices:
        key = (one.uid, one.frame)
        if one.uid and key in seen:
            raise ScanError(
                f"{one.file}: duplicate slice: the same image (SOP instance) as {seen[key].file}; "
                "keep one of them"
            )
        seen[key] = one


def volumes_of(slices: Sequence[Slice]) -> tuple[list[list[Slice]], str]:
    """Part a series into volumes, each sorted by depth, and say what tells them apart.

    Raises:
        ScanError: some positions hold more images than others, or volumes cannot be told apart.
    """
    groups = _by_position(slices)
    counts = Counter(map(len, groups))
    usual, _ = counts.most_common(1)[0]
    if len(counts) > 1:
        odd = next(g for g in groups if len(g) != usual)
        if usual == 1 or len(odd) > usual:
            raise ScanError(
                f"{odd[-1].file}: duplicate slice: {odd[-1].name} lies at the position of "
                f"{odd[0].name} ({_plain(odd[0].position)} mm), other positions hold {usual}; "
                "keep one of them"
            )
        raise ScanError(
            f"{odd[0].file}: missing slice: {len(odd)} images at the position of {odd[0].name}, "
            f"{usual} at the others; export the series anew"
        )
    if usual == 1:
        return [[g[0] for g in groups]], ""
    for name in TELLS:
        values = [[s.tells.get(name, "") for s in g] for g in groups]
        kinds = sorted(set(values[0]), key=_by_value)
        if len(kinds) == usual and all(set(v) == set(kinds) for v in values):
            chosen = [{s.tells[name]: s for s in g} for g in groups]
            return [[g[kind] for g in chosen] for kind in kinds], name
    return _by_number(groups, usual), "InstanceNumber"


def _by_number(groups: list[list[Slice]], volumes: int) -> list[list[Slice]]:
    """Volumes as blocks of consecutive numbers, each with one image at every position."""
    place = {id(s): depth for depth, group in enumerate(groups) for s in group}
    ordered = sorted((s for g in groups for s in g), key=lambda s: (s.number, s.frame or 0))
    blocks, size = [], len(groups)
    for start in range(0, volumes * size, size):
        block = sorted(ordered[start : start + size], key=lambda s: place[id(s)])
        if [place[id(s)] for s in block] != list(range(size)):
            first = groups[0]
            raise ScanError(
                f"{first[1].file}: {volumes} images at each position ({first[0].name}, "
                f"{first[1].name}, ...) and nothing tells them apart; export one volume"
            )
        blocks.append(block)
    return blocks


def _by_value(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return 0.0, text


def _normal(one: Slice) -> np.ndarray:
    return np.cross(one.orientation[:3], one.orientation[3:])


def _by_position(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Images that lie at the same depth, from the lowest depth along the normal on."""
    normal = _normal(slices[0])
    ordered = sorted(slices, key=lambda s: (float(normal @ s.position), s.number, s.frame or 0))
    groups: list[list[Slice]] = []
    for one in ordered:
        if groups and normal @ np.subtract(one.position, groups[-1][0].position) < SAME_PLACE:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def grid_of(slices: Sequence[Slice], allow_nonuniform: bool) -> Grid:
    """Images of one volume, sorted by depth, on an even grid.

    Raises:
        ScanError: slices are missing or the gaps differ, unless allowed; or an image lies aside.
    """
    points = np.array([s.position for s in slices], dtype=np.float64)
    if len(slices) == 1:
        return _single(slices[0], points[0])
    depths = points @ _normal(slices[0])
    gaps = np.diff(depths)
    uneven = _off(depths, len(slices)) > 1
    usual = float(median_low(gaps.tolist()))  # a gap there is, not one between two
    count = _count(gaps, usual) if uneven else len(slices)
    step = gaps.sum() / (count - 1)
    places = (depths - depths[0]) / step
    notes: tuple[str, ...] = ()
    if uneven:
        why = _uneven(slices, gaps, usual)
        if not allow_nonuniform:
            raise ScanError(f"{why}; --allow-nonuniform interpolates between the slices there are")
        if count > 4 * len(slices):
            raise ScanError(f"{why}: too few slices for a grid of {count}")
        notes = (f"{why}; interpolated onto an even grid of {count} slices, {step:.4g} mm apart",)
    else:
        places = np.arange(count, dtype=np.float64)
    along = (points[-1] - points[0]) / (count - 1)
    _check_line(slices, points, places)
    tilt = float(np.degrees(np.arccos(min(1.0, abs(along @ _normal(slices[0])) / _length(along)))))
    if tilt > 0.1:
        notes += (
            f"the slices are sheared by {tilt:.1f} degrees (gantry tilt); the affine says so",
        )
    return Grid(
        slices=tuple(slices),
        places=tuple(float(p) for p in places),
        count=count,
        affine=_affine(slices[0], along),
        notes=notes,
    )


def _off(depths: np.ndarray, count: int) -> float:
    """How far slices lie off an even grid between the outermost, in what is allowed."""
    even = np.linspace(depths[0], depths[-1], count)
    step = (depths[-1] - depths[0]) / (count - 1)
    allowed = max(UNEVEN * step, min(ROUNDING, SHIFT * step))
    return float(np.abs(depths - even).max() / allowed)


def _count(gaps: np.ndarray, usual: float) -> int:
    """Slices of an even grid for uneven ones: with the missing ones, else by the usual gap."""
    whole = np.rint(gaps / usual)
    is_missing = (np.abs(gaps / usual - whole) < MISSING).all() and whole.min() >= 1
    return round(float(whole.sum() if is_missing else gaps.sum() / usual)) + 1


def _length(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector))


def _single(one: Slice, point: np.ndarray) -> Grid:
    step = one.thickness or 1.0
    said = f"{step:g} mm, its declared thickness" if one.thickness else "1 mm, as nothing is said"
    return Grid(
        slices=(one,),
        places=(0.0,),
        count=1,
        affine=_affine(one, _normal(one) * step),
        notes=(f"a single slice; its depth is {said}",),
    )


def _uneven(slices: Sequence[Slice], gaps: np.ndarray, usual: float) -> str:
    """Which gap is wrong, and whether slices are missing in it."""
    multiples = gaps / usual
    whole = np.rint(multiples)
    worst = int(np.abs(multiples - 1).argmax())
    before, after = slices[worst], slices[worst + 1]
    between = f"between {before.name} and {after.name}"
    if (np.abs(multiples - whole) < MISSING).all() and (whole >= 1).all() and whole.max() > 1:
        gone = int(whole.sum()) - len(gaps)
        return (
            f"{after.file}: missing slice: {int(whole[worst]) - 1} {between} ({gone} in all), "
            f"{gaps[worst]:.4g} mm where others are {usual:.4g} mm apart"
        )
    return (
        f"{after.file}: non-uniform gaps: {gaps[worst]:.4g} mm {between}, most are {usual:.4g} mm "
        f"({gaps.min():.4g} to {gaps.max():.4g} mm)"
    )


def _check_line(slices: Sequence[Slice], points: np.ndarray, places: np.ndarray) -> None:
    line = (points[-1] - points[0]) / places[-1]
    off = points - points[0] - places[:, None] * line
    normal = _normal(slices[0])
    aside = np.linalg.norm(off - np.outer(off @ normal, normal), axis=1)
    worst = int(aside.argmax())
    if aside[worst] > ASIDE + 0.01 * min(slices[0].spacing):
        raise ScanError(
            f"{slices[worst].file}: {slices[worst].name} lies {aside[worst]:.3g} mm beside the "
            "line through the other slices; the series is no straight stack: read its parts apart"
        )


def _affine(first: Slice, along: np.ndarray) -> Float64[np.ndarray, "4 4"]:
    """Columns for depth, height (growing row) and width (growing column), LPS turned to RAS."""
    affine = np.eye(4)
    affine[:3, 0] = along
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    affine[:3, 2] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 3] = first.position
    return LPS @ affine


def _plain(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"
