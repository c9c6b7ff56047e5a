"""Masks and heat maps back in the grid of their scan, as NIfTI."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from pseudo3d.data.scans.nifti import MILLIMETERS, Nifti
from pseudo3d.data.scans.scan import Scan, ScanError, reversed_axes
from pseudo3d.errors import require

SUFFIXES = (".nii", ".nii.gz")
SCANNER = 1  # code of coordinates that are the scanner's
SAID = b"pseudo3d: research use only"
_WHOLE = (np.uint8, np.int16, np.int32)


def write_like(
    path: str | Path, mask: Shaped[Tensor, "d h w"] | Shaped[np.ndarray, "d h w"], scan: Scan
) -> Path:
    """Write a mask or heat map on the grid of a scan; the two overlay voxel for voxel.

    Axes go back to the order of the file, the affine is the scan's own: sform and qform bit for bit
    where the source is NIfTI. Whole numbers get the smallest type that holds them, others float32.
    A map of a scan that was permuted or flipped comes back with `grid.restore` first.

    Args:
        path: ends in .nii or .nii.gz; written under a temporary name, then renamed.
        mask: values at (d, h, w) of `scan`.

    Raises:
        ScanError: size or suffix do not fit, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise ScanError(f"{path}: masks are written as NIfTI; wanted a name in .nii or .nii.gz")
    values = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if values.shape != scan.size:
        raise ScanError(
            f"{path}: the map has size {values.shape}, the scan {scan.size}; bring it to the "
            "scan's own grid first (grid.restore, grid.resample)"
        )
    nib = require("nibabel", "scans")
    values = _small(values).transpose(2, 1, 0)
    image = nib.Nifti1Image(values, None, _header(nib, scan, values))
    ending = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    draft = path.with_name(f".{path.name}.{os.getpid()}{ending}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, draft)
        draft.replace(path)
    except OSError as err:
        raise ScanError(f"{path} cannot be written: {err.strerror or err}") from err
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return path


def refuse_theirs(path: str | Path) -> None:
    """Refuse to replace a NIfTI file that `write_like` did not write: a mask drawn by hand, say.

    Raises:
        ScanError: it exists, and does not say that it is from here.
    """
    path = Path(path)
    if path.exists() and not is_ours(path):
        raise ScanError(
            f"{path} was not written by p3d, or was changed since, and would be replaced; move it "
            "or give another folder"
        )


def is_ours(path: str | Path) -> bool:
    """Whether a NIfTI file says that `write_like` wrote it.

    Raises:
        ScanError: it is no NIfTI that can be read.
    """
    with Nifti(Path(path)).opened() as image:
        return bytes(image.header["descrip"].item()).rstrip(b"\0") == SAID


def _small(values: np.ndarray) -> np.ndarray:
    """The smallest type NIfTI readers know that holds the values."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind not in "iu":
        return values.astype(np.float32)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in _WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float32)


def _header(nib: Any, scan: Scan, values: np.ndarray) -> Any:
    """The scan's own header where it is NIfTI, else one with its affine in both places."""
    unit = scan.meta.get("spatial_unit", "mm")
    affine = reversed_axes(scan.affine).copy()
    affine[:3] /= MILLIMETERS[unit]  # whoever ignores units sees scan and mask alike
    header = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_xyzt_units(unit)
    header["descrip"] = SAID
    own = _own_header(scan, affine, values.shape)
    if own is None:
        header.set_qform(affine, SCANNER, strip_shears=True)
        header.set_sform(affine, SCANNER)
        return header
    for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
                 "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):  # fmt: skip
        header[name] = own[name]
    header["pixdim"][:4] = own["pixdim"][:4]
    return header


def _own_header(scan: Scan, affine: np.ndarray, shape: tuple[int, ...]) -> Any | None:
    """Header of the file the scan came from, if it is NIfTI and still has this very grid."""
    if scan.kind != "nifti" or not scan.source.exists():
        return None
    with Nifti(scan.source).opened() as image:
        same = (*image.shape, 1, 1)[:3] == shape
        return image.header.copy() if same and np.allclose(image.affine, affine) else None
