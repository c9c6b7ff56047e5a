"""Small scans with something to learn in them, and quick runs on them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest, read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.volumes.augment import VolumeAugment
from pseudo3d.engine.volumes.recipes import VolumeRecipe
from pseudo3d.engine.volumes.train import ScanParts, train_volumes
from pseudo3d.models import create_model

QUICK = {
    "epochs": 3, "batch": 6, "lr": 1e-2, "warmup": 0.1, "label_smoothing": 0.0, "ema": 0.0,
    "precision": "fp32", "augment": VolumeAugment(),
}  # fmt: skip


@pytest.fixture(scope="session")
def stack(tmp_path_factory) -> Path:
    """Bars along depth or along width, 8 x 8 x 8: equal but for their direction."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 36), ("val", 12), ("test", 12)):
        volumes = rng.integers(0, 30, (count, 8, 8, 8), dtype=np.uint8)
        labels = np.arange(count) % 2
        for volume, label in zip(volumes, labels, strict=True):
            a, b = rng.integers(1, 6, 2)
            if label:
                volume[:, a : a + 2, b : b + 2] += 180
            else:
                volume[a : a + 2, b : b + 2, :] += 180
        arrays |= {f"{split}_images": volumes, f"{split}_labels": labels[:, None]}
    path = tmp_path_factory.mktemp("stack") / "bars.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def bars(stack) -> ScanManifest:
    return read_scans(stack)


@pytest.fixture(scope="session")
def parts(bars) -> ScanParts:
    return ScanParts(train=bars.split("train"), val=bars.split("val"), held=bars.split("test"))


@pytest.fixture(scope="session")
def store() -> ScanStore:
    return ScanStore(ScanPreprocessing(size=(8, 8, 8), mean=(20.0,), std=(40.0,)))


@pytest.fixture(scope="session")
def fresh():
    """A tiny network; the same seed gives the same weights."""

    def make(seed=0, **options):
        torch.manual_seed(seed)
        small = {"widths": (4, 8, 8), "stem_width": 4, "dropout": 0.0}
        return create_model("p3d_volume", **{**small, **options})

    return make


@pytest.fixture(scope="session")
def quick():
    def make(**changes):
        return VolumeRecipe(**{**QUICK, **changes})

    return make


@pytest.fixture(scope="session")
def trained(parts, store, fresh, quick, tmp_path_factory):
    """A network that tells the bars apart, its run folder beside it."""
    net, out = fresh(), tmp_path_factory.mktemp("trained") / "run"
    train_volumes(net, parts, store, Job(recipe=quick(epochs=12), out=out))
    return net, out


@pytest.fixture(scope="session")
def blobs(tmp_path_factory) -> Path:
    """NIfTI scans of 10 x 14 x 12 voxels with a bright ball each, and a CSV of their masks."""
    pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")
    from pseudo3d.data.scans.write import write_like

    home, rows = tmp_path_factory.mktemp("blobs"), ["path,mask,group,split"]
    axes = [torch.arange(n) for n in (10, 14, 12)]
    for i in range(10):
        rng = torch.Generator().manual_seed(i)
        center = [int(torch.randint(3, n - 3, (), generator=rng)) for n in (10, 14, 12)]
        gaps = [(axis - c).square() for axis, c in zip(axes, center, strict=True)]
        mask = (gaps[0][:, None, None] + gaps[1][:, None] + gaps[2] <= 6).to(torch.uint8)
        values = torch.randn(10, 14, 12, generator=rng) + 4 * mask
        affine = np.diag([2.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]  # d leads up, w to the right
        scan = scan_of(values[None], affine, source="x.nii", kind="nifti")
        write_like(home / f"{i}.nii", values, scan)
        write_like(home / f"{i}_mask.nii", mask, scan)
        rows.append(f"{i}.nii,{i}_mask.nii,{i},{'train' if i < 6 else 'val' if i < 8 else 'test'}")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n")
    return home / "manifest.csv"
