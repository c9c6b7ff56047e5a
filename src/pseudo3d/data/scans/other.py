"""NRRD and MHA through SimpleITK; npy and npz with numpy alone."""

import math
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Shaped
from torch import Tensor

from pseudo3d.data.npz import array_in, check_header, header_in, names_in, opened_npz
from pseudo3d.data.scans.metaimage import header_fault
from pseudo3d.data.scans.pick import pick
from pseudo3d.data.scans.scan import LPS, ScanError, exact, note, reversed_axes
from pseudo3d.data.scans.source import Peek, Source
from pseudo3d.errors import require, unknown

MOST_CHANNELS = 32  # a first axis longer than this is a stack of volumes, not channels
GEOMETRY = ("affine", "spacing")  # names an npz may give beside its voxels
_TYPES = {"8-bit unsigned integer": "uint8", "8-bit signed integer": "int8",
          "16-bit signed integer": "int16"}  # fmt: skip
# numpy reads the header of an array as Python
_DAMAGE = (
    ValueError, EOFError, OSError, SyntaxError, TokenError, TypeError, OverflowError,
)  # fmt: skip


class Itk(Source):
    """A file that SimpleITK reads by one of its readers."""

    reader: ClassVar[str]

    def peek(self) -> Peek:
        """Geometry and size from the header."""
        reader = self._reader()
        try:
            reader.ReadImageInformation()
        except RuntimeError as err:
            raise self._unreadable(err) from err
        size, many = reader.GetSize(), reader.GetDimension()
        if many not in (2, 3, 4):
            raise ScanError(f"{self.path} has {many} axes; wanted three, or four with an index")
        meta: dict[str, str] = {}
        if self.kind == "nrrd" and not reader.HasMetaDataKey("NRRD_space"):
            meta["geometry"] = "none"
            note(meta, "the header names no space; axes are taken as left, back, up")
        sitk = require("SimpleITK", "scans")
        name = sitk.GetPixelIDValueAsString(reader.GetPixelID()).removeprefix("vector of ")
        depth, height, width = ((*size[:3], 1)[:3])[::-1]
        return Peek(
            shape=(reader.GetNumberOfComponents(), depth, height, width),
            affine=reversed_axes(LPS @ _affine(reader, many)),
            dtype=_TYPES.get(name, "float32"),
            volumes=size[3] if many == 4 else 1,
            meta=meta,
        )

    def voxels(self, found: Peek) -> Shaped[Tensor, "c d h w"]:
        """The volume."""
        chosen = pick(self.path, found.volumes, self.index, "volumes along the fourth axis")
        sitk = require("SimpleITK", "scans")
        try:
            image = self._reader().Execute()
        except RuntimeError as err:
            raise self._unreadable(err) from err
        values = sitk.GetArrayViewFromImage(image)
        if not values.size:
            raise ScanError(f"{self.path} holds no voxels; copy it again")
        if image.GetDimension() == 4:
            values = values[chosen]
        if values.dtype.kind == "c":
            raise ScanError(f"{self.path}: complex values; save the magnitude and read that")
        channels, *size = found.shape
        return exact(np.moveaxis(values.reshape(*size, channels), -1, 0))

    def _reader(self) -> Any:
        reader = require("SimpleITK", "scans").ImageFileReader()
        reader.SetImageIO(self.reader)
        reader.SetFileName(str(self.path))
        return reader

    def _unreadable(self, err: RuntimeError) -> ScanError:
        lines = [line for line in str(err).splitlines() if line.strip()]
        why = lines[-1].split("): ")[-1].strip() if lines else "no reason given"
        return ScanError(
            f"{self.path}: cannot be read, the file is cut off or damaged ({why}); copy it again"
        )


class Nrrd(Itk):
    """NRRD, header and voxels in one file or two."""

    kind = "nrrd"
    reader = "NrrdImageIO"


class Mha(Itk):
    """MetaImage: .mha, or .mhd with its .raw."""

    kind = "mha"
    reader = "MetaImageIO"

    def _reader(self) -> Any:
        if (fault := header_fault(self.path)) is not None:
            raise ScanError(f"{self.path}: {fault}; the file is damaged, copy it again")
        return super()._reader()


def _affine(reader: Any, many: int) -> Float64[np.ndarray, "4 4"]:
    """(i, j, k) -> LPS mm, of the first three axes."""
    turn = np.eye(max(many, 3))
    turn[:many, :many] = np.reshape(reader.GetDirection(), (many, many))
    affine = np.eye(4)
    spacing = [*reader.GetSpacing(), 1.0][:3]
    affine[:3, :3] = turn[:3, :3] * spacing
    affine[:3, 3] = [*reader.GetOrigin(), 0.0][:3]
    return affine


class Npy(Source):
    """One array: (D, H, W), (C, D, H, W), or with an index a stack of one of them."""

    kind = "npy"

    def peek(self) -> Peek:
        """Size from the header; there is no geometry in such a file."""
        values = self._map()
        return _plain_peek(self.path, values.shape, values.dtype, self.index, {})

    def voxels(self, found: Peek) -> Shaped[Tensor, "c d h w"]:
        """The volume."""
        values = self._map()
        if self.index is not None:
            values = values[pick(self.path, len(values), self.index, "volumes")]
        return exact(_channels_first(values).reshape(found.shape))

    def _map(self) -> np.ndarray:
        try:
            with self.path.open("rb") as file:
                check_header(file.read(12))
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except _DAMAGE as err:
            raise ScanError(f"{self.path} is no array that can be read: {err}") from err


class Npz(Source):
    """Arrays by name: a volume, or stacks of them as MedMNIST keeps its splits.

    `series` names the array, or the split before `_images`; names `affine` (4 x 4, index (d, h, w)
    to mm, RAS+) and `spacing` (mm, depth first) are its geometry.
    """

    kind = "npz"

    def peek(self) -> Peek:
        """Size from the array's header, geometry where the file gives one."""
        arrays = list_arrays(self.path)
        name = self._choose(arrays)
        shape, kind = arrays[name]
        return _plain_peek(self.path, shape, kind, self.index, _geometry(self.path))

    def voxels(self, found: Peek) -> Shaped[Tensor, "c d h w"]:
        """The volume; of a stack only what lies before it is unpacked."""
        arrays = list_arrays(self.path)
        name = self._choose(arrays)
        values = _member(self.path, name, self.index)
        return exact(_channels_first(values).reshape(found.shape))

    def _choose(self, arrays: dict[str, tuple[tuple[int, ...], np.dtype]]) -> str:
        volumes = {name: of for name, of in arrays.items() if len(of[0]) >= 3}
        if not volumes:
            said = ", ".join(f"{n} {of[0]}" for n, of in arrays.items()) or "no arrays"
            raise ScanError(f"{self.path} holds no volume: {said}; wanted (D, H, W) or more axes")
        if self.series is not None:
            for name in (self.series, f"{self.series}_images", f"X_{self.series}"):
                if name in volumes:
                    return name
            raise ScanError(f"{self.path}: {unknown('array', self.series, volumes)}")
        if len(volumes) > 1:
            rows = "".join(f"\n  {n}\t{' x '.join(map(str, v[0]))}" for n, v in volumes.items())
            raise ScanError(
                f"{self.path} holds {len(volumes)} arrays of volumes; choose one with --series "
                f"NAME (in Python series=):{rows}"
            )
        return next(iter(volumes))


def list_arrays(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array of an npz, without unpacking it.

    Raises:
        ScanError: the file is no npz, or damaged.
    """
    found = {}
    try:
        with opened_npz(path) as packed:
            for name in names_in(packed):
                with packed.open(f"{name}.npy") as file:
                    shape, _, kind = header_in(file)
                found[name] = (shape, kind)
    except ValueError as err:
        raise ScanError(f"{path} is no npz that can be read: {err}") from err
    return found


def _member(path: Path, name: str, index: int | None) -> np.ndarray:
    """One array, or one entry of its first axis."""
    try:
        with opened_npz(path) as packed:
            with packed.open(f"{name}.npy") as file:
                shape, fortran, kind = header_in(file)
                if index is not None and not fortran:
                    index = pick(path, shape[0], index, f"volumes under {name!r}")
                    count = math.prod(shape[1:])
                    file.seek(index * count * kind.itemsize, 1)
                    raw = file.read(count * kind.itemsize)
                    return np.frombuffer(raw, kind, count).reshape(shape[1:])
            values = array_in(packed, name)
        return values if index is None else values[pick(path, len(values), index, "volumes")]
    except ValueError as err:
        if isinstance(err, ScanError):
            raise
        raise ScanError(f"{path}: {name!r} cannot be unpacked: {err}; copy the file again") from err


def _geometry(path: Path) -> dict[str, np.ndarray]:
    try:
        with opened_npz(path) as packed:
            given = [name for name in GEOMETRY if name in names_in(packed)]
            return {name: array_in(packed, name) for name in given}
    except ValueError as err:
        raise ScanError(f"{path}: the geometry cannot be read: {err}") from err


def _channels_first(values: np.ndarray) -> np.ndarray:
    """(D, H, W) or (C, D, H, W); MedMNIST's (D, H, W, C) turned."""
    if values.ndim == 3:
        return values[None]
    if values.shape[-1] in (1, 3, 4) and values.shape[0] > MOST_CHANNELS // 8:
        return np.moveaxis(values, -1, 0)
    return values


def _plain_peek(
    path: Path,
    shape: Sequence[int],
    kind: np.dtype,
    index: int | None,
    given: dict[str, np.ndarray],
) -> Peek:
    """What an array without a header is taken for."""
    if kind.hasobject or kind.kind not in "biuf":
        raise ScanError(f"{path}: values are {kind}; wanted numbers")
    inner = tuple(shape[1:] if index is not None else shape)
    stacked = len(inner) == 5 or (len(inner) == 4 and inner[0] > MOST_CHANNELS and index is None)
    if stacked:
        raise ScanError(
            f"{path} holds a stack of {inner[0]} volumes {tuple(inner[1:])} where one is meant; "
            f"choose one with --index 0 to {inner[0] - 1} (in Python index=)"
        )
    if len(inner) not in (3, 4):
        raise ScanError(
            f"{path} has shape {tuple(shape)}; wanted (D, H, W), (C, D, H, W) or, with an index, a "
            "stack of them"
        )
    probe = _channels_first(np.broadcast_to(np.zeros((), kind), inner))
    meta: dict[str, str] = {}
    return Peek(
        shape=probe.shape,
        affine=_given_affine(path, given, meta),
        dtype=kind.name,
        volumes=int(shape[0]) if index is not None else 1,
        meta=meta,
    )


def _given_affine(
    path: Path, given: dict[str, np.ndarray], meta: dict[str, str]
) -> Float64[np.ndarray, "4 4"]:
    if "affine" in given:
        meta |= {"geometry": "affine of the file", "spacing": "affine of the file"}
        return np.asarray(given["affine"], dtype=np.float64)
    spacing = np.ones(3)
    if "spacing" in given:
        spacing = np.asarray(given["spacing"], dtype=np.float64).reshape(-1)
        if spacing.size != 3 or not (spacing > 0).all():
            raise ScanError(f"{path}: spacing is {spacing.tolist()}; wanted three values above 0")
        meta["spacing"] = "of the file"
        note(meta, "spacing is the file's own; position and orientation are assumptions")
    else:
        note(meta, "no geometry in the file: spacing 1 mm and orientation SAR are assumptions")
    meta["geometry"] = "none"
    return reversed_axes(np.diag([*spacing[::-1], 1.0]))
