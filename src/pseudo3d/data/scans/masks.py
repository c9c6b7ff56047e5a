"""Masks beside their scans: whole labels in the very same grid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import Scan, ScanError


def mask_values(paths: Sequence[Path]) -> set[int]:
    """Every label that occurs in the masks."""
    found: set[int] = set()
    for path in paths:
        found.update(torch.unique(whole_labels(read_scan(path))).tolist())
    return found


def read_mask(path: Path, scan: Scan | None = None) -> UInt8[Tensor, "1 d h w"]:
    """Labels of a mask, after a look at whether it lies on its scan.

    Raises:
        ScanError: no whole labels of 0 to 255, another size, or another place than the scan's.
    """
    mask = read_scan(path)
    if scan is not None:
        if mask.size != scan.size:
            raise ScanError(f"{path}: {mask.size} voxels for a scan of {scan.size} ({scan.source})")
        if not np.allclose(mask.affine, scan.affine, atol=1e-2 * min(scan.spacing)):
            raise ScanError(
                f"{path}: lies elsewhere than its scan {scan.source}: affine "
                f"{mask.affine.round(3).tolist()} instead of {scan.affine.round(3).tolist()}"
            )
    return whole_labels(mask)


def whole_labels(mask: Scan) -> UInt8[Tensor, "1 d h w"]:
    """Labels of a mask, which may be stored as floats.

    Raises:
        ScanError: no whole labels of 0 to 255 in one channel.
    """
    values = mask.array[:1]
    whole = values if not values.is_floating_point() else values.round()
    if mask.array.shape[0] != 1 or not torch.equal(whole, values) or whole.min() < 0:
        raise ScanError(f"{mask.source}: no mask; wanted whole labels 0 to 255 in one channel")
    if whole.max() > 255:
        raise ScanError(f"{mask.source}: label {int(whole.max())}; wanted whole labels 0 to 255")
    return whole.to(torch.uint8)
