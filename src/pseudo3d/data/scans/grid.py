"""Grids of voxels: which axis is depth, other spacings, other orders of axes, and the way back."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from pseudo3d.data.scans.scan import Scan, ScanError, Triple, world_axes

Mode = Literal["linear", "nearest"]
SAME = 1.01  # spacings that differ by less than this factor count as equal
_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_WORDS = dict.fromkeys("RL", "left-right") | dict.fromkeys("AP", "front-back")
_WORDS |= dict.fromkeys("SI", "head-foot")


@dataclass(frozen=True, kw_only=True)
class DepthAxis:
    """Which axis of a scan the network takes as depth, and why."""

    axis: int  # 0, 1 or 2 of (D, H, W)
    ratio: float  # its spacing over the mean of the other two
    said: str

    @property
    def order(self) -> tuple[int, int, int]:
        """Axes of (D, H, W) in the order the network takes them."""
        return (self.axis, *(a for a in range(3) if a != self.axis))  # type: ignore[return-value]


def plan_depth_axis(spacing: Triple, orientation: str | None = None) -> DepthAxis:
    """Choose the axis with the largest spacing; where two share it, the third one.

    So the planes stay square where they can. Where all three are equal, the file's first axis.

    P3D's 3x1x1 kernels run along it, its 1x3x3 kernels in the planes across, which are the sharp
    ones.

    Args:
        orientation: three letters as in `Scan`, for the words only.
    """
    _check_spacing("spacing", spacing)
    large = [a for a in range(3) if spacing[a] * SAME >= max(spacing)]
    axis = large[0] if len(large) != 2 else 3 - sum(large)
    others = [spacing[a] for a in range(3) if a != axis]
    ratio = spacing[axis] / (sum(others) / 2)
    place = f"axis {axis}"
    if orientation is not None:
        place += f" ({_WORDS[orientation[axis]]})"
    planes = f"{others[0]:.3g} x {others[1]:.3g} mm"
    if len(large) == 3:
        why = f"spacing is {spacing[axis]:.3g} mm along every axis, so the file's first axis stays"
    elif len(large) == 2:
        why = f"{spacing[axis]:.3g} mm across square planes of {planes}"
    else:
        why = f"{spacing[axis]:.3g} mm, the largest spacing, across planes of {planes}"
    return DepthAxis(axis=axis, ratio=ratio, said=f"depth is {place}: {why}")


def depth_first(scan: Scan) -> Scan:
    """The scan with the axis of `plan_depth_axis` first; the other two keep their order."""
    return permuted(scan, plan_depth_axis(scan.spacing).order)


def permuted(scan: Scan, order: tuple[int, int, int]) -> Scan:
    """The scan with its axes (D, H, W) in another order; every voxel stays where it is."""
    if sorted(order) != [0, 1, 2]:
        raise ValueError(f"order is {order!r}; wanted 0, 1 and 2, each once")
    array = scan.array.permute(0, *(a + 1 for a in order))
    return scan.with_array(array, scan.affine[:, [*order, 3]])


def orient(scan: Scan, code: str) -> Scan:
    """Permute and flip the axes so that they lead to `code`; every voxel stays where it is.

    Args:
        code: for (d, h, w), as "SAR"; an oblique scan takes the nearest axes.

    Raises:
        ValueError: the code does not name three world axes.
    """
    wanted = [_WORLD.get(letter) for letter in code]
    if len(wanted) != 3 or len({pair[0] for pair in wanted if pair}) != 3:
        raise ValueError(f"orientation is {code!r}; wanted one of R L, A P, S I each, as 'SAR'")
    have = world_axes(scan.affine)
    order = [[axis for axis, _ in have].index(pair[0]) for pair in wanted if pair]
    turned = permuted(scan, (order[0], order[1], order[2]))
    flips = [i for i, pair in enumerate(wanted) if pair and have[order[i]][1] != pair[1]]
    return _flipped(turned, flips)


def _flipped(scan: Scan, axes: list[int]) -> Scan:
    affine = scan.affine.copy()
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (scan.size[axis] - 1)
        affine[:3, axis] *= -1
    return scan.with_array(scan.array.flip([a + 1 for a in axes]), affine)


def restore(array: Shaped[Tensor, "*c d h w"], seen: Scan, scan: Scan) -> Tensor:
    """Bring a mask or map on the grid of `seen` to that of `scan`: the way back from `orient`.

    Args:
        seen: the scan the network saw: `scan` with axes permuted or flipped.

    Raises:
        ScanError: the two grids do not hold the same voxels.
    """
    if tuple(array.shape[-3:]) != seen.size:
        raise ScanError(f"the map has size {tuple(array.shape[-3:])}, its scan {seen.size}")
    steps = np.linalg.solve(scan.affine, seen.affine)  # index of seen -> index of scan
    turn = np.rint(steps[:3, :3])
    if not np.allclose(steps[:3, :3], turn, atol=1e-3) or not (abs(turn).sum(0) == 1).all():
        raise ScanError(
            f"{scan.source}: the map's voxels are not those of the scan; resample it back first"
        )
    order = [int(np.flatnonzero(turn[axis])[0]) for axis in range(3)]
    lead = array.ndim - 3
    found = array.permute(*range(lead), *(lead + a for a in order))
    found = found.flip([lead + a for a in range(3) if turn[a, order[a]] < 0])
    corner = np.where(turn.sum(1) < 0, np.array(scan.size) - 1, 0)
    if tuple(found.shape[-3:]) != scan.size or not np.allclose(steps[:3, 3], corner, atol=1e-2):
        raise ScanError(
            f"{scan.source}: the map covers {seen.size} voxels elsewhere than the scan's "
            f"{scan.size}; pad or crop it back first"
        )
    return found


def resample(
    array: Shaped[Tensor, "*c d h w"],
    spacing: Triple,
    to: Triple,
    mode: Mode = "linear",
    size: tuple[int, int, int] | None = None,
) -> Tensor:
    """Take the voxels at another spacing; the middle of the volume stays the middle.

    `linear` gives float32 and, toward a coarser grid, averages over the larger voxel, so that
    nothing between two samples is lost and nothing is moved; `nearest` keeps type and values, for
    labels. Beyond the outermost voxel its value goes on.

    Args:
        spacing: mm, of `array`.
        to: mm, wanted; kept exactly.
        size: voxels wanted; None covers the extent, rounded to whole voxels.
    """
    _check_spacing("spacing", spacing)
    _check_spacing("to", to)
    if mode not in ("linear", "nearest"):
        raise ValueError(f"mode is {mode!r}; wanted linear or nearest")
    size = resampled_size(array.shape[-3:], spacing, to) if size is None else size
    if min(size) < 1:
        raise ValueError(f"size is {size!r}; wanted voxels, 1 or more")
    found = array.float() if mode == "linear" else array
    # The axis that shrinks most goes first: less is left for the others.
    for axis in sorted(range(3), key=lambda a: size[a] / array.shape[a - 3]):
        found = _along(found, axis - 3, to[axis] / spacing[axis], size[axis], mode)
    return found


def resampled(
    scan: Scan, to: Triple, mode: Mode = "linear", size: tuple[int, int, int] | None = None
) -> Scan:
    """`resample` a scan, with the affine that says where the new voxels are."""
    array = resample(scan.array, scan.spacing, to, mode, size)
    return scan.with_array(array, resampled_affine(scan, to, tuple(array.shape[1:])))  # type: ignore[arg-type]


def resampled_size(
    size: torch.Size | tuple[int, int, int], spacing: Triple, to: Triple
) -> tuple[int, int, int]:
    """Voxels that `resample` gives: the extent over the new spacing, rounded, at least 1."""
    depth, height, width = (
        max(1, math.floor(n * s / t + 0.5)) for n, s, t in zip(size, spacing, to, strict=True)
    )
    return depth, height, width


def resampled_affine(
    scan: Scan, to: Triple, size: tuple[int, int, int]
) -> Float64[np.ndarray, "4 4"]:
    """Where the voxels are after `resample` to this spacing and size."""
    ratio = np.array(to) / scan.spacing
    shift = (np.array(scan.size) - 1) / 2 - ratio * (np.array(size) - 1) / 2
    change = np.eye(4)
    change[:3, :3] = np.diag(ratio)
    change[:3, 3] = shift
    return scan.affine @ change


def _along(x: Tensor, axis: int, ratio: float, count: int, mode: Mode) -> Tensor:
    """Sample one axis at `count` places, `ratio` old voxels apart, about the middle."""
    length = x.shape[axis]
    if count == length and ratio == 1:
        return x
    places = torch.arange(count, dtype=torch.float64, device=x.device)
    places = (places - (count - 1) / 2) * ratio + (length - 1) / 2
    if mode == "nearest":
        # ties go up, everywhere alike
        return x.index_select(axis, (places + 0.5).floor().long().clamp(0, length - 1))
    # Box of linear interpolants: widths add in squares, so that the box vanishes at equal spacing.
    box = math.sqrt(max(0.0, ratio**2 - 1))
    reach = 1 + box / 2
    first = (places - reach).ceil()
    taps = [first + k for k in range(math.floor(2 * reach) + 1)]
    weights = [_weight(tap - places, box) for tap in taps]
    shape = [count if a == axis + x.ndim else 1 for a in range(x.ndim)]
    out = x.new_zeros([count if a == axis + x.ndim else n for a, n in enumerate(x.shape)])
    for tap, weight in zip(taps, weights, strict=True):
        if weight.any():
            part = x.index_select(axis, tap.long().clamp(0, length - 1))
            out.addcmul_(part, weight.to(x.dtype).reshape(shape))
    return out


def _weight(offset: Tensor, box: float) -> Tensor:
    """Share of a sample at an offset: linear interpolation, averaged over a box about the place.

    Its shares sum to 1 and leave a straight ramp straight, at any ratio.
    """
    if box < 1e-6:
        return (1 - offset.abs()).clamp(min=0)

    def below(u: Tensor) -> Tensor:
        """Area of the triangle of interpolation left of u."""
        u = u.clamp(-1, 1)
        return torch.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)

    return (below(offset + box / 2) - below(offset - box / 2)) / box


def _check_spacing(name: str, spacing: Triple) -> None:
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"{name} is {spacing!r}; wanted (depth, height, width) in mm, above 0")
