"""Scans as samples: prepared once, cut repeatably, masks on their scans."""

import numpy as np
import pytest
import torch

from pseudo3d.data.dataset import Draw
from pseudo3d.data.scans.dataset import ScanDataset, ScanSpec, ScanStore, cut, measure, scan_loader
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest, read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.data.scans.write import write_like
from pseudo3d.engine.volumes.plan import with_statistics
from pseudo3d.engine.volumes.train import readable_scans

pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Two scans of 12 x 16 x 20 voxels with one small bright label each."""
    home, items = tmp_path_factory.mktemp("scans"), []
    for number in range(2):
        mask = torch.zeros(12, 16, 20, dtype=torch.uint8)
        mask[3:5, 4:7, 10 + number : 13 + number] = 1
        values = torch.randn(12, 16, 20, generator=torch.Generator().manual_seed(number)) + 9 * mask
        scan = scan_of(values[None], np.diag([2.0, 1, 1, 1]), source="x.nii", kind="nifti")
        items.append(
            ScanItem(
                path=write_like(home / f"{number}.nii", values, scan),
                label="",
                mask=write_like(home / f"{number}_mask.nii", mask, scan),
                group=str(number),
            )
        )
    return ScanManifest(items=tuple(items), classes=("background", "1"), task="segment")


def patches(masked, near=1.0, **pre):
    store = ScanStore(ScanPreprocessing(size=(4, 6, 6), view="patch", **pre))
    return ScanDataset(masked, store, ScanSpec(canvas=(4, 6, 6), random=True, near=near))


def test_the_same_draw_gives_the_same_patch_and_another_epoch_another(masked):
    data = patches(masked)
    once, again, later = data[Draw(0, 3)], patches(masked)[Draw(0, 3)], data[Draw(0, 4)]
    assert torch.equal(once[0], again[0])
    assert not torch.equal(once[0], later[0])


def test_patches_near_a_label_hold_it_far_more_often_than_chance(masked):
    def share(near):
        data = patches(masked, near)
        return np.mean([bool(data[Draw(0, i)][2].any()) for i in range(60)])

    assert share(1.0) > 0.8 > 2 * share(0.0)


def test_a_patch_and_its_mask_are_cut_at_the_same_place(masked):
    volume, _, mask = patches(masked)[Draw(1, 0)]
    assert mask.any()
    assert volume[0][mask == 1].float().min() > volume[0][mask == 0].float().max() - 1


def test_a_mask_follows_its_scan_to_another_grid(masked):
    store = ScanStore(
        ScanPreprocessing(size=(4, 6, 6), view="patch", spacing=(1.0, 1.0, 1.0), layout="RAS")
    )
    sample = store.read(masked.items[0])
    assert sample.mask is not None
    assert sample.volume.shape[1:] == sample.mask.shape[1:] == (24, 16, 20)
    assert sample.volume[0][sample.mask[0] == 1].float().mean() > 7


def test_a_mask_that_lies_elsewhere_is_quarantined_by_name(masked, tmp_path):
    item = masked.items[0]
    moved = scan_of(torch.zeros(1, 12, 16, 20), np.diag([2.0, 1, 1.2, 1]), source="y", kind="nifti")
    wrong = write_like(tmp_path / "wrong.nii", np.zeros((12, 16, 20), np.uint8), moved)
    store = ScanStore(ScanPreprocessing(size=(2, 2, 2), view="patch"))
    store.fill([ScanItem(path=item.path, label="", mask=wrong)])
    assert "lies elsewhere than its scan" in store.quarantined[item.name]


def test_a_wrong_index_into_a_file_takes_no_other_volume_of_it_along(tmp_path):
    np.save(tmp_path / "four.npy", np.random.default_rng(0).random((4, 3, 4, 5)))
    items = tuple(
        ScanItem(path=tmp_path / "four.npy", label="", value=float(i), index=i) for i in (0, 9, 2)
    )
    manifest = ScanManifest(items=items, classes=("value",), task="regress")
    store = ScanStore(ScanPreprocessing(size=(3, 4, 5)))
    store.fill(items)
    assert readable_scans(manifest, store).values == [0.0, 2.0]
    (bad,) = store.quarantined
    assert bad == f"{tmp_path / 'four.npy'}[9]"
    assert len(with_statistics(store, manifest).quarantined) == 1


def test_scans_beyond_the_room_are_prepared_again_and_the_same(masked):
    small = ScanStore(ScanPreprocessing(size=(4, 4, 4)), room=10)
    first, second = (small.read(masked.items[0]).volume for _ in range(2))
    assert first is not second
    assert torch.equal(first, second)


def test_a_patch_stays_inside_and_is_filled_where_the_scan_ends():
    x = torch.arange(1, 28).view(1, 3, 3, 3)
    assert torch.equal(cut(x, (0, 0, 0), (2, 2, 2)), x[:, :2, :2, :2])
    assert torch.equal(cut(x, (9, 9, 9), (2, 2, 2)), x[:, 1:, 1:, 1:])
    assert cut(x, (1, 1, 1), (3, 3, 5), 0)[..., 0].eq(0).all()


def test_a_stack_is_batched_and_measured(tmp_path):
    images = np.random.default_rng(0).integers(0, 200, (8, 4, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.arange(8) % 2)
    manifest = read_scans(tmp_path / "x.npz")
    store = ScanStore(ScanPreprocessing(size=(4, 4, 4)))
    mean, std = measure(manifest.items, store)
    assert mean[0] == pytest.approx(images.mean(), rel=1e-4)
    assert std[0] == pytest.approx(images.std(), rel=1e-4)
    data = ScanDataset(manifest, store, ScanSpec(canvas=(4, 4, 4)))
    batch = next(iter(scan_loader(data, [[Draw(2, 0), Draw(5, 0)]])))
    assert batch.labels.tolist() == [0, 1]
    assert torch.equal(batch.clips[1, 0], torch.from_numpy(images[5]))


def test_scans_with_voxels_that_are_not_finite_are_put_aside_by_name(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 6, 6)).astype(np.float32)
    items = []
    for name, hole in (("good", 0), ("hole", 1), ("empty", 4)):
        values[:hole] = np.nan
        np.save(tmp_path / f"{name}.npy", values)
        items.append(ScanItem(path=tmp_path / f"{name}.npy", label="x"))
    for window, aside in (("none", ["hole", "empty"]), ("mri", ["empty"])):
        store = ScanStore(ScanPreprocessing(size=(4, 6, 6), window=window))
        store.fill(items)
        assert list(store.quarantined) == [str(tmp_path / f"{name}.npy") for name in aside]


def test_a_stack_lies_as_its_file_says(tmp_path):
    volumes = np.zeros((2, 3, 4, 5), np.uint8)
    item = ScanItem(path=tmp_path / "s.npz", label="x", array="train_images", index=1)
    for more, spacing in (({}, (1.0, 1.0, 1.0)), ({"spacing": np.array([5.0, 1, 2])}, (5, 1, 2))):
        np.savez(item.path, train_images=volumes, train_labels=np.arange(2), **more)
        scan = ScanStore(ScanPreprocessing(size=(2, 2, 2))).scan(item)
        assert (scan.spacing, scan.orientation) == (spacing, "SAR")
