"""How far the borders of two masks are apart, in mm: HD95, mean distance, surface Dice.

The border is the set of voxels of a mask that have a neighbor (of six) outside it; what lies at the
edge of the volume counts as border. That is MONAI's choice (`compute_hausdorff_distance`,
`compute_surface_dice` without subvoxels) and differs a little from DeepMind's surface elements.
"""

from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.scores.overlap import Spacing, check_spacing, same_grid


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Distance of every border voxel of each mask to the other mask's border, mm."""

    found: Float[np.ndarray, " a"]
    true: Float[np.ndarray, " b"]

    @property
    def empty(self) -> float | None:
        """NaN where neither mask has a voxel, infinity where one has none; else None."""
        if len(self.found) and len(self.true):
            return None
        return inf if len(self.found) or len(self.true) else nan

    def hausdorff(self, percentile: float = 100.0) -> float:
        """Largest distance (or a percentile of it), the worse of both directions, mm."""
        if self.empty is not None:
            return self.empty
        return float(max(np.percentile(d, percentile) for d in (self.found, self.true)))

    @property
    def hd95_mm(self) -> float:
        """95th percentile of the distances, the worse of both directions."""
        return self.hausdorff(95.0)

    @property
    def mean_mm(self) -> float:
        """Mean over the border voxels of both masks."""
        if self.empty is not None:
            return self.empty
        return float(np.concatenate([self.found, self.true]).mean())

    def surface_dice(self, tolerance: float) -> float:
        """Share of both borders that lies within `tolerance` mm of the other one.

        0 where one mask is empty, NaN where both are.
        """
        if not tolerance >= 0:
            raise Pseudo3dError(f"tolerance {tolerance!r} mm; wanted 0 or more")
        if self.empty is not None:
            return 0.0 if self.empty == inf else nan
        # distances carry the rounding of a square root; the tolerance is meant exactly
        close = [(d <= tolerance * (1 + 1e-9)).sum() for d in (self.found, self.true)]
        return float(sum(close) / (len(self.found) + len(self.true)))


def surface_distances(
    found: Shaped[np.ndarray, "d h w"],
    true: Shaped[np.ndarray, "d h w"],
    spacing: Spacing,
) -> Distances:
    """Measure how far the borders of two masks of one label are apart.

    Args:
        spacing: of the voxels, mm, (depth, height, width). It has no default: distances in voxels
            of an anisotropic scan mean nothing.
    Raises:
        Pseudo3dError: the masks differ in shape, or the spacing is none.
        ImportError: scipy is not installed.
    Example:
        >>> surface_distances(found == 1, true == 1, scan.spacing).hd95_mm
        1.414...
    """
    transform = require("scipy.ndimage", "eval").distance_transform_edt
    step = check_spacing(spacing)
    a, b = _cropped(*same_grid(found, true))
    edge_a, edge_b = border(a), border(b)
    if not (edge_a.any() and edge_b.any()):  # the distances to nothing are unknown
        return Distances(found=np.full(edge_a.sum(), inf), true=np.full(edge_b.sum(), inf))
    return Distances(
        found=transform(~edge_b, sampling=step)[edge_a],
        true=transform(~edge_a, sampling=step)[edge_b],
    )


def border(mask: Bool[np.ndarray, "d h w"]) -> Bool[np.ndarray, "d h w"]:
    """Voxels of a mask with one of their six neighbors outside it."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for step in (0, 2):
            cut = [slice(1, -1)] * 3
            cut[axis] = slice(step, step + mask.shape[axis])
            inner &= padded[tuple(cut)]
    return mask & ~inner


def _cropped(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both masks where one of them is: distances do not change, the transform is faster."""
    either = a | b
    if not either.any():
        return a, b
    cut = []
    for axis in range(3):
        spots = np.flatnonzero(either.any(axis=tuple({0, 1, 2} - {axis})))
        cut.append(slice(int(spots[0]), int(spots[-1]) + 1))
    return a[tuple(cut)], b[tuple(cut)]
