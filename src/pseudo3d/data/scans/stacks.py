"""Stacks of volumes in one npz file: MedMNIST's layout and that of the voxel sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from pseudo3d.data.npz import array_in, header_in, names_in, opened_npz
from pseudo3d.data.scans.scan import exact
from pseudo3d.errors import ManifestError

_STACKS = (  # name of a split, its volumes, its labels
    *((s, f"{s}_images", f"{s}_labels") for s in ("train", "val", "test")),
    *((s, f"X_{s}", f"y_{s}") for s in ("train", "val", "test")),
)


def read_targets(path: Path) -> list[tuple[str, str, list[int] | list[float]]]:
    """(split, name of its volumes, one label or value per volume) of a file.

    Volumes are not read, only counted.

    Raises:
        ManifestError: labels are missing, or are not one number per volume.
    """
    found: list[tuple[str, str, list[int] | list[float]]] = []
    with _opened(path) as stored:
        names = names_in(stored)
        for split, volumes, labels in _STACKS:
            if volumes not in names:
                continue
            if labels not in names:
                raise ManifestError(f"{path} holds {volumes} without {labels}")
            targets = array_in(stored, labels)
            if targets.ndim == 2 and targets.shape[1] == 1:
                targets = targets[:, 0]
            if targets.ndim != 1 or targets.dtype.kind not in "biuf":
                raise ManifestError(
                    f"{path}: {labels} has shape {targets.shape} of {targets.dtype}; wanted one "
                    "number per volume"
                )
            if (count := _length(stored, volumes)) != len(targets):
                raise ManifestError(
                    f"{path}: {volumes} holds {count} volumes for {len(targets)} labels"
                )
            found.append((split, volumes, targets.tolist()))
    return found


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    try:
        with opened_npz(path) as packed:
            yield packed
    except ManifestError:
        raise
    except ValueError as err:
        raise ManifestError(f"{path} is no npz that can be read: {err}") from err


def _length(archive: ZipFile, name: str) -> int:
    """Length of an array, from its header alone."""
    with archive.open(f"{name}.npy") as file:
        shape, _, _ = header_in(file)
    return shape[0] if shape else 0


def read_stack(path: Path, name: str) -> Shaped[Tensor, "n c d h w"]:
    """All volumes of one array: (N, D, H, W), or (N, D, H, W, 3) with colors last.

    Raises:
        ManifestError: no volumes.
    """
    with _opened(path) as stored:
        values: Shaped[np.ndarray, ...] = array_in(stored, name)
    if values.ndim == 5 and values.shape[-1] in (1, 3):
        return torch.movedim(exact(values), -1, 1)
    if values.ndim != 4:
        raise ManifestError(
            f"{path}: {name} has shape {values.shape}; wanted (N, D, H, W) or (N, D, H, W, C)"
        )
    return exact(values)[:, None]
