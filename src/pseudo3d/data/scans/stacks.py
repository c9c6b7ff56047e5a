"""Stacks of volumes in one npz file: MedMNIST's layout and that of the voxel sets."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

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
    with np.load(path, allow_pickle=False) as stored:
        for split, volumes, labels in _STACKS:
            if volumes not in stored.files:
                continue
            if labels not in stored.files:
                raise ManifestError(f"{path} holds {volumes} without {labels}")
            targets = np.asarray(stored[labels])
            if targets.ndim == 2 and targets.shape[1] == 1:
                targets = targets[:, 0]
            if targets.ndim != 1:
                raise ManifestError(
                    f"{path}: {labels} has shape {targets.shape}; wanted one number per volume"
                )
            if (count := _length(path, volumes)) != len(targets):
                raise ManifestError(
                    f"{path}: {volumes} holds {count} volumes for {len(targets)} labels"
                )
            found.append((split, volumes, targets.tolist()))
    return found


def _length(path: Path, name: str) -> int:
    """Length of an array, from its header alone."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        head = io.BytesIO(file.read(10_000))
    version = np.lib.format.read_magic(head)
    one, two = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    return int((one if version == (1, 0) else two)(head)[0][0])


def read_stack(path: Path, name: str) -> Shaped[Tensor, "n c d h w"]:
    """All volumes of one array: (N, D, H, W), or (N, D, H, W, 3) with colors last.

    Raises:
        ManifestError: no volumes.
    """
    with np.load(path, allow_pickle=False) as stored:
        values: Shaped[np.ndarray, ...] = stored[name]
    if values.ndim == 5 and values.shape[-1] in (1, 3):
        return torch.movedim(exact(values), -1, 1)
    if values.ndim != 4:
        raise ManifestError(
            f"{path}: {name} has shape {values.shape}; wanted (N, D, H, W) or (N, D, H, W, C)"
        )
    return exact(values)[:, None]
