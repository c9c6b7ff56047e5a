"""A scan in memory: voxels, and where each of them is in the patient."""

from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from pseudo3d.errors import Pseudo3dError

Kind = Literal["nifti", "dicom", "nrrd", "mha", "npy", "npz"]
Triple = tuple[float, float, float]
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))  # where -x, +x; -y, +y; -z, +z of RAS+ lead
_INT16 = torch.iinfo(torch.int16)


class ScanError(Pseudo3dError):
    """A scan cannot be used as it is; the message names the file, the cause and the way out."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """Voxels (C, D, H, W) with their place in the patient; made by `scan_of` or `read_scan`.

    The axes keep the order of the file, slowest first: `array[:, d, h, w]` lies at
    `affine @ (d, h, w, 1)` millimeters in RAS+ (x to the patient's right, y to the front, z up;
    nibabel's convention). Nothing is flipped or permuted by reading.

    Raises:
        ScanError: the parts contradict each other.
    """

    array: Shaped[Tensor, "c d h w"]  # uint8, int16 or float32, rescaled
    affine: Float64[np.ndarray, "4 4"]  # (d, h, w, 1) -> (x, y, z, 1), mm, RAS+
    spacing: Triple  # mm, (depth, height, width)
    orientation: str  # where each of our indices leads, as "SAR": up, to the front, to the right
    units: str = ""  # of the values: "HU", "BQML", ...; empty where the file does not say
    source: Path
    kind: Kind
    meta: dict[str, str] = field(default_factory=dict)  # no names or numbers of patients

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or 0 in self.array.shape:
            raise ScanError(
                f"{self.source}: voxels have shape {tuple(self.array.shape)}; wanted (C, D, H, W)"
            )
        if self.kind not in get_args(Kind):
            raise ScanError(f"kind is {self.kind!r}; wanted one of {', '.join(get_args(Kind))}")
        check_affine(self.affine, self.source)
        measured = spacing_of(self.affine)
        if not np.allclose(measured, self.spacing, rtol=1e-4):
            raise ScanError(f"{self.source}: spacing is {self.spacing}, its affine says {measured}")

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along (depth, height, width)."""
        _, depth, height, width = self.array.shape
        return depth, height, width

    @property
    def measured(self) -> bool:
        """Whether the distances of voxels are stated, and not an assumption about bare arrays."""
        return self.kind not in ("npy", "npz") or "spacing" in self.meta

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml; where the axes are sheared, less than the product of spacings."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the reading of this file."""
        return tuple(line for line in self.meta.get("note", "").split("\n") if line)

    def with_array(
        self, array: Shaped[Tensor, "c d h w"], affine: Float64[np.ndarray, "4 4"] | None = None
    ) -> "Scan":
        """The same scan with other voxels, and another place of them where one is given."""
        affine = self.affine if affine is None else affine
        return replace(
            self,
            array=array,
            affine=affine,
            spacing=spacing_of(affine),
            orientation=orientation_of(affine),
        )

    def world(self, depth: float, height: float, width: float) -> Triple:
        """Where a voxel index is, in mm, RAS+."""
        x, y, z = (self.affine @ (depth, height, width, 1.0))[:3]
        return float(x), float(y), float(z)


def scan_of(
    array: Shaped[Tensor, "c d h w"],
    affine: Float64[np.ndarray, "4 4"],
    *,
    source: str | Path,
    kind: Kind,
    **rest: Any,
) -> Scan:
    """Make a scan; spacing and orientation come out of the affine.

    Args:
        rest: `units` and `meta`.

    Raises:
        ScanError: the affine maps voxels to nowhere.
    """
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(affine, Path(source))
    return Scan(
        array=array,
        affine=affine,
        spacing=spacing_of(affine),
        orientation=orientation_of(affine),
        source=Path(source),
        kind=kind,
        **rest,
    )


def check_affine(affine: np.ndarray, source: Path) -> None:
    """Refuse an affine that is no map from voxels to space.

    Raises:
        ScanError: wrong shape, not finite, or two axes fall together.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ScanError(f"{source}: the affine is {affine.tolist()}; wanted 4 x 4 finite numbers")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(affine[:3, :3]))
    if not lengths.all() or volume < 1e-3 * lengths.prod() or affine[3].tolist() != [0, 0, 0, 1]:
        raise ScanError(
            f"{source}: the affine {affine.tolist()} does not span space: an axis has no length or "
            "two axes fall together; correct the header of the file"
        )


def spacing_of(affine: Float64[np.ndarray, "4 4"]) -> Triple:
    """Distance of neighbors along each of our axes, mm."""
    depth, height, width = np.linalg.norm(affine[:3, :3], axis=0)
    return float(depth), float(height), float(width)


def world_axes(affine: Float64[np.ndarray, "4 4"]) -> list[tuple[int, int]]:
    """For each of our axes, the world axis (0 x, 1 y, 2 z) it runs along most, and its sign.

    Each world axis is given once, so that what is oblique still has three different letters.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[p[i], i]) for i in range(3)))
    return [(axis, 1 if cosines[axis, i] > 0 else -1) for i, axis in enumerate(best)]


def orientation_of(affine: Float64[np.ndarray, "4 4"]) -> str:
    """Letters of where our indices (d, h, w) lead, the nearest ones for an oblique scan.

    Example:
        >>> orientation_of(np.eye(4))
        'RAS'
    """
    return "".join(_LETTERS[axis][sign > 0] for axis, sign in world_axes(affine))


def reversed_axes(affine: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """(i, j, k) -> world becomes (k, j, i) -> world: file order to ours, and back."""
    return affine[:, [2, 1, 0, 3]]


LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM, NRRD and MHA count to the left and back


def exact(values: np.ndarray) -> Tensor:
    """A contiguous copy in the smallest of uint8 (if stored so), int16, float32 that is exact.

    Whole numbers outside of int16, and floats, become float32.
    """
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.dtype == np.uint8:
        return torch.from_numpy(np.array(values, order="C"))
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if low >= _INT16.min and high <= _INT16.max:
            return torch.from_numpy(np.array(values, dtype=np.int16, order="C"))
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """values * slope + intercept: whole numbers stay such where the result is exact."""
    if slope == 1 and intercept == 0:
        return values
    if values.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        whole = values.astype(np.int64)
        whole *= int(slope)
        whole += int(intercept)
        return whole
    found = values.astype(np.float64)
    found *= slope
    found += intercept
    return found.astype(np.float32)


def note(meta: dict[str, str], text: str) -> None:
    """Add a line to what a person should know."""
    meta["note"] = "\n".join(filter(None, [meta.get("note", ""), text]))
