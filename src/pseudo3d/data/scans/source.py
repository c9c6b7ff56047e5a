"""What every kind of file tells before its voxels are read."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Shaped
from torch import Tensor

from pseudo3d.data.scans.scan import Kind, Scan, check_affine, orientation_of, scan_of, spacing_of

_BYTES = {"uint8": 1, "bool": 1, "int8": 2, "int16": 2}  # as `exact` keeps them; else float32


@dataclass(frozen=True, kw_only=True)
class Peek:
    """Size and place of a scan, from headers alone."""

    shape: tuple[int, int, int, int]  # (C, D, H, W)
    affine: Float64[np.ndarray, "4 4"]  # (d, h, w, 1) -> mm, RAS+
    dtype: str  # as stored
    volumes: int = 1  # how many the file holds; one is read
    units: str = ""
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbors in mm, (depth, height, width)."""
        return spacing_of(self.affine)

    @property
    def orientation(self) -> str:
        """Letters of where (d, h, w) lead."""
        return orientation_of(self.affine)

    @property
    def nbytes(self) -> int:
        """Memory that the voxels take at most, in bytes."""
        return int(np.prod(self.shape)) * _BYTES.get(self.dtype, 4)


class Source(ABC):
    """A file, or folder, that holds a scan, and which part of it is wanted."""

    kind: ClassVar[Kind]

    def __init__(
        self,
        path: Path,
        *,
        series: str | None = None,
        allow_nonuniform: bool = False,
        index: int | None = None,
    ) -> None:
        self.path = path
        self.series = series
        self.allow_nonuniform = allow_nonuniform
        self.index = index

    @abstractmethod
    def peek(self) -> Peek:
        """Size and place, without reading voxels."""

    @abstractmethod
    def voxels(self, found: Peek) -> Shaped[Tensor, "c d h w"]:
        """The voxels that `peek` described."""

    def look(self) -> Peek:
        """`peek`, with a geometry that holds."""
        found = self.peek()
        check_affine(found.affine, self.path)
        return found

    def read(self) -> Scan:
        """Voxels and geometry together."""
        found = self.look()
        return scan_of(
            self.voxels(found),
            found.affine,
            source=self.path,
            kind=self.kind,
            units=found.units,
            meta=found.meta,
        )
