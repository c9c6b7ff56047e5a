"""How much of a mask is right: Dice, Jaccard, sensitivity, precision, and volume in ml."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Shaped

from pseudo3d.errors import Pseudo3dError

Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Counts of one label in one scan, and what follows from them.

    Where the label is in neither mask there is nothing to score: NaN, not 1, so that empty scans
    do not lift a mean.
    """

    both: int  # voxels
    found: int  # voxels said to be the label
    true: int  # voxels that are
    voxel_ml: float = 0.001

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|)."""
        return _share(2 * self.both, self.found + self.true)

    @property
    def jaccard(self) -> float:
        """|A and B| / |A or B|."""
        return _share(self.both, self.found + self.true - self.both)

    @property
    def sensitivity(self) -> float:
        """Share of the true voxels that are found."""
        return _share(self.both, self.true)

    @property
    def precision(self) -> float:
        """Share of the found voxels that are true."""
        return _share(self.both, self.found)

    @property
    def found_ml(self) -> float:
        """Volume said, ml."""
        return self.found * self.voxel_ml

    @property
    def true_ml(self) -> float:
        """Volume that is, ml."""
        return self.true * self.voxel_ml


def overlap(
    found: Shaped[np.ndarray, "d h w"],
    true: Shaped[np.ndarray, "d h w"],
    spacing: Spacing = (1.0, 1.0, 1.0),
    *,
    voxel_ml: float | None = None,
) -> Overlap:
    """Compare two masks of one label: whatever is not 0 is the label.

    Args:
        voxel_ml: volume of a voxel; None is the product of the spacings, which is too much where
            the axes are not at right angles (gantry tilt): `Scan.voxel_ml`.
    Raises:
        Pseudo3dError: the masks differ in shape.
    """
    a, b = same_grid(found, true)
    return Overlap(
        both=int((a & b).sum()),
        found=int(a.sum()),
        true=int(b.sum()),
        voxel_ml=box_ml(spacing) if voxel_ml is None else voxel_ml,
    )


def overlaps(
    found: Shaped[np.ndarray, "d h w"],
    true: Shaped[np.ndarray, "d h w"],
    labels: Sequence[int],
    spacing: Spacing = (1.0, 1.0, 1.0),
) -> dict[int, Overlap]:
    """Compare two label maps, label by label."""
    check_shapes(found, true)
    return {k: overlap(found == k, true == k, spacing) for k in labels}


def same_grid(found: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as bool arrays of one shape."""
    a, b = np.asarray(found), np.asarray(true)
    check_shapes(a, b)
    return a.astype(bool), b.astype(bool)


def check_shapes(found: Any, true: Any) -> None:
    """Refuse masks on different grids."""
    if found.shape != true.shape or found.ndim != 3:
        raise Pseudo3dError(
            f"masks have shapes {found.shape} and {true.shape}; wanted one (D, H, W): "
            "bring them to the same grid first (pseudo3d.data.scans.grid.resample)"
        )


def check_spacing(spacing: Sequence[float]) -> np.ndarray:
    """Refuse what is no spacing of three axes in mm."""
    step = np.asarray(spacing, dtype=np.float64)
    if step.shape != (3,) or not (np.isfinite(step) & (step > 0)).all():
        raise Pseudo3dError(f"spacing {spacing!r}; wanted three positive numbers, mm")
    return step


def box_ml(spacing: Spacing) -> float:
    """Volume of a voxel whose axes are at right angles, ml."""
    return float(np.prod(check_spacing(spacing))) / 1000


def _share(part: float, whole: float) -> float:
    return part / whole if whole else nan
