"""Voxels of a DICOM series: decoded by pydicom, by SimpleITK where pydicom has no decoder."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from pseudo3d.data.scans.dicom_grid import Grid
from pseudo3d.data.scans.dicom_headers import Slice, load, quiet
from pseudo3d.data.scans.scan import ScanError, rescaled
from pseudo3d.errors import require

_INT16 = np.iinfo(np.int16)


def read_voxels(grid: Grid) -> Shaped[Tensor, "c d h w"]:
    """All slices, rescaled, in the order of depth; interpolated where the grid asks for it."""
    first = grid.slices[0]
    shape = (len(grid.slices), *first.size, first.samples)
    out: np.ndarray | None = None
    for depth, values in _slices(grid.slices):
        if out is None:
            small = values.dtype == np.uint8
            out = np.empty(shape, np.uint8 if small else np.int16)
        out = _room_for(out, values)
        out[depth] = values.reshape(shape[1:])
    if out is None:
        raise ScanError(f"{first.file}: no voxels")
    voxels = torch.from_numpy(out).permute(3, 0, 1, 2).contiguous()
    return voxels if _is_even(grid) else _interpolated(voxels, grid)


def _room_for(out: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The volume in a type that holds these values exactly, or in float32."""
    if values.dtype == np.uint8 or out.dtype == np.float32:
        return out
    fits = values.dtype.kind in "iu" and (
        not values.size or (values.min() >= _INT16.min and values.max() <= _INT16.max)
    )
    if not fits:
        return out.astype(np.float32)
    return out.astype(np.int16) if out.dtype == np.uint8 else out


def _slices(slices: Sequence[Slice]) -> Iterator[tuple[int, np.ndarray]]:
    """Depth and rescaled pixels of each slice, each file opened once."""
    numbered = sorted(enumerate(slices), key=lambda pair: str(pair[1].file))
    for file, members in groupby(numbered, key=lambda pair: pair[1].file):
        wanted = list(members)
        pixels, is_rescaled = _decode(file, [one for _, one in wanted])
        if pixels.ndim == (2 if wanted[0][1].samples == 1 else 3):  # one frame has no axis of them
            pixels = pixels[None]
        for depth, one in wanted:
            values = pixels[one.frame or 0]
            if not is_rescaled:
                values = rescaled(values, one.slope, one.intercept)
            yield depth, values


def _decode(file: Path, slices: Sequence[Slice]) -> tuple[np.ndarray, bool]:
    """Pixels of a file and whether they are rescaled already."""
    data = load(file, pixels=True)
    syntax = getattr(data.file_meta, "TransferSyntaxUID", None)
    if syntax is None:  # an old file without a meta header
        syntax = data.file_meta.TransferSyntaxUID = _implicit()
    try:
        with quiet():
            return np.asarray(data.pixel_array), False
    except (ValueError, RuntimeError, AttributeError, NotImplementedError, EOFError) as err:
        if syntax.is_compressed:
            return _decode_elsewhere(file, slices, f"{syntax.name}: {err}")
        raise ScanError(
            f"{file}: pixel data are cut off or damaged ({err}); copy the series again"
        ) from err


def _implicit() -> Any:
    from pydicom.uid import ImplicitVRLittleEndian

    return ImplicitVRLittleEndian


def _decode_elsewhere(file: Path, slices: Sequence[Slice], why: str) -> tuple[np.ndarray, bool]:
    """Let SimpleITK decode what pydicom cannot; it rescales on its own, by one slope per file."""
    advice = (
        "install a decoder (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg) or save "
        "the series uncompressed (gdcmconv --raw)"
    )
    if len({(s.slope, s.intercept) for s in slices}) > 1:
        raise ScanError(f"{file}: compressed pixel data cannot be decoded ({why}); {advice}")
    try:
        sitk = require("SimpleITK", "scans")
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        values = sitk.GetArrayFromImage(reader.Execute())
    except (ImportError, RuntimeError) as err:
        missing = "SimpleITK is not installed" if isinstance(err, ImportError) else "nor SimpleITK"
        raise ScanError(
            f"{file}: compressed pixel data cannot be decoded ({why}; {missing}); {advice}"
        ) from err
    is_single = slices[0].frame is None
    return (values[0] if is_single else values), True


def _is_even(grid: Grid) -> bool:
    return grid.places == tuple(map(float, range(grid.count)))


def _interpolated(voxels: Tensor, grid: Grid) -> Shaped[Tensor, "c d h w"]:
    """Linear between the slices there are, at each place of the even grid."""
    places = torch.tensor(grid.places, dtype=torch.float64)
    wanted = torch.arange(grid.count, dtype=torch.float64).clamp(max=grid.places[-1])
    right = torch.searchsorted(places, wanted).clamp(1, len(places) - 1)
    left = right - 1
    share = ((wanted - places[left]) / (places[right] - places[left])).float()
    share = share.reshape(1, -1, 1, 1)
    return torch.lerp(voxels[:, left].float(), voxels[:, right].float(), share)
