"""NIfTI-1 and NIfTI-2, read with nibabel; the units of the header are honored."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from pseudo3d.data.scans.pick import pick
from pseudo3d.data.scans.scan import ScanError, exact, note, reversed_axes
from pseudo3d.data.scans.source import Peek, Source
from pseudo3d.errors import Pseudo3dError, require

MILLIMETERS = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_DEFLATE = 1040  # times as large as its file can what was compressed be
VECTOR = 1007  # intent code: the fifth axis holds components of a vector
AGREE = 0.1  # voxels that sform and qform may lie apart before a person should know


class Nifti(Source):
    """One NIfTI file."""

    kind = "nifti"

    def peek(self) -> Peek:
        """Geometry and size from the header."""
        with self.opened() as image:
            return self._describe(image)

    def _describe(self, image: Any) -> Peek:
        header = image.header
        meta: dict[str, str] = {}
        volumes, channels, inner = self._axes(image)
        unit = header.get_xyzt_units()[0]
        if unit not in MILLIMETERS:
            raise ScanError(f"{self.path}: lengths are in {unit!r}; wanted meter, mm or micron")
        if unit in ("meter", "micron"):
            meta["spatial_unit"] = unit
            note(meta, f"lengths of the header are in {unit}; they were turned into mm")
        affine = np.array(image.affine, dtype=np.float64)
        affine[:3] *= MILLIMETERS[unit]
        _say_geometry(header, meta, inner)
        if text := bytes(header["descrip"].item()).split(b"\0")[0].decode("latin-1").strip():
            meta["description"] = text
        stored = image.get_data_dtype()
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        name = "float32" if scaled else "uint8" if stored.names else stored.newbyteorder("=").name
        return Peek(
            shape=(channels, *reversed(inner)),  # type: ignore[arg-type]  # four integers
            affine=reversed_axes(affine),
            dtype=name,
            volumes=volumes,
            meta=meta,
        )

    def voxels(self, found: Peek) -> Shaped[Tensor, "c d h w"]:
        """The volume."""
        chosen = pick(self.path, found.volumes, self.index, "volumes along the fourth axis")
        with self.opened() as image:
            self._check_size(image)
            try:
                part = (*(slice(None),) * 3, chosen) if image.ndim > 3 else (...,)
                return exact(_arranged(_whole(image, part), found.shape))
            except (OSError, EOFError, ValueError, zlib.error) as err:
                raise ScanError(
                    f"{self.path}: the voxels cannot be read, the file is cut off or damaged "
                    f"({err}); copy it again"
                ) from err

    def _check_size(self, image: Any) -> None:
        """Refuse a header that promises more than the file holds, before memory is taken for it."""
        file = Path(image.file_map["image"].filename or self.path)
        with file.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        have = file.stat().st_size * (_DEFLATE if packed else 1)
        need = math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
        if need > have:
            raise ScanError(
                f"{self.path}: the voxels cannot be read, the file is cut off or damaged (its "
                f"header promises {need} bytes); copy it again"
            )

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The image, its voxels not read yet."""
        nib = require("nibabel", "scans")
        with ExitStack() as files:
            try:
                yield self._image(nib, files)
            except Pseudo3dError:
                raise
            except _damage(nib) as err:
                raise ScanError(f"{self.path} is no NIfTI that can be read: {err}") from err

    def _image(self, nib: ModuleType, files: ExitStack) -> Any:
        if self.path.suffix.lower() in (".hdr", ".img"):
            pair = nib.load(self.path)
            if not isinstance(pair, nib.Nifti1Pair):
                raise ScanError(
                    f"{self.path} is Analyze 7.5, which keeps no left-right; convert it"
                )
            return pair
        with self.path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        opened = gzip.open if packed else open
        stream = files.enter_context(opened(self.path, "rb"))
        head = stream.read(4)
        stream.seek(0)
        # the first number is the header's length in either byte order: 540 in version 2
        second = 540 in (int.from_bytes(head, "little"), int.from_bytes(head, "big"))
        maker = nib.Nifti2Image if second else nib.Nifti1Image
        if not packed and self.path.suffix.lower() == ".nii":
            return maker.from_filename(self.path)  # maps the voxels
        return maker.from_stream(stream)

    def _axes(self, image: Any) -> tuple[int, int, tuple[int, ...]]:
        """How many volumes, channels of each, and voxels along (i, j, k)."""
        stored = image.get_data_dtype()
        if stored.kind == "c":
            raise ScanError(f"{self.path}: complex values; save the magnitude and read that")
        channels = len(stored.names) if stored.names else 1
        if 3000 <= int(image.header["intent_code"]) < 3100:
            raise ScanError(f"{self.path} is a CIFTI of a surface; a volume is wanted")
        shape = tuple(int(n) for n in image.shape)
        if min(shape, default=0) < 1:
            raise ScanError(f"{self.path}: the header says {shape} voxels; copy the file again")
        inner, rest = (*shape, 1, 1)[:3], list(shape[3:])
        if len(rest) >= 2 and int(image.header["intent_code"]) == VECTOR:
            channels *= rest.pop(1)
        while len(rest) > 1 and rest[-1] == 1:
            rest.pop()
        if len(rest) > 1:
            raise ScanError(
                f"{self.path} has {len(shape)} axes, {shape}; wanted three, or four with an index"
            )
        volumes = rest[0] if rest else 1
        return volumes, channels, inner


def _damage(nib: ModuleType) -> tuple[type[Exception], ...]:
    """What nibabel and numpy raise over a header that lies."""
    own = (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError)
    more = (nib.wrapstruct.WrapStructError, zlib.error, EOFError, OSError, MemoryError)
    return (*own, *more, ValueError, LookupError, OverflowError)


def _whole(image: Any, part: tuple[Any, ...]) -> np.ndarray:
    """Values after the header's scaling; whole numbers where scaling leaves them whole."""
    values = np.asanyarray(image.dataobj[part])
    slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
    stored = image.get_data_dtype().kind
    if values.dtype.kind == "f" and stored in "iu" and slope.is_integer() and inter.is_integer():
        return np.rint(values).astype(np.int64)
    return values


def _arranged(values: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """(i, j, k), with components as a record or as the last axis, -> (C, D, H, W)."""
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names], axis=-1)
    channels, *size = shape
    return values.reshape(*reversed(size), channels, order="F").transpose(3, 2, 1, 0)


def _say_geometry(header: Any, meta: dict[str, str], shape: tuple[int, ...]) -> None:
    """Say which of the header's two places holds, and when they differ."""
    sform, scode = header.get_sform(coded=True)
    qform, qcode = header.get_qform(coded=True)
    if not scode and not qcode:
        meta["geometry"] = "none"
        note(meta, "the header gives spacing only; position and left-right are assumptions")
        return
    meta["geometry"] = f"sform, code {int(scode)}" if scode else f"qform, code {int(qcode)}"
    if scode and qcode and sform is not None and qform is not None:
        corner = np.array([*(n - 1 for n in shape), 1])
        apart = max(
            np.linalg.norm((sform - qform)[:3, 3]), np.linalg.norm((sform - qform)[:3] @ corner)
        )
        if apart > AGREE * np.linalg.norm(sform[:3, :3], axis=0).min():
            note(meta, f"sform and qform differ by {apart:.3g} mm at a corner; the sform holds")
