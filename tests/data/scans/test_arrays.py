"""npy and npz: plain arrays, stacks of volumes, the layout of MedMNIST."""

import numpy as np
import pytest
from torch.testing import assert_close

from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import ScanError
from pseudo3d.data.scans.stacks import read_targets

AFFINE = np.array([[0, 0.1, 3, -7], [-1.5, 0, 0.2, 20], [0.1, 2, 0, 5], [0, 0, 0, 1.0]])


def test_arrays_have_channels_or_an_index(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    np.save(tmp_path / "field.npy", values)
    assert_close(read_scan(tmp_path / "field.npy").array.numpy(), values)
    assert_close(read_scan(tmp_path / "field.npy", index=1).array[0].numpy(), values[1])
    np.save(tmp_path / "stack.npy", np.zeros((40, 4, 5, 6)))
    with pytest.raises(ScanError, match=r"stack of 40 volumes \(4, 5, 6\) .* --index 0 to 39"):
        read_scan(tmp_path / "stack.npy")
    np.save(tmp_path / "many.npy", values[None])
    with pytest.raises(ScanError, match="stack of 1 volumes"):
        read_scan(tmp_path / "many.npy")
    assert_close(read_scan(tmp_path / "many.npy", index=0).array.numpy(), values)
    np.save(tmp_path / "text.npy", np.array([[["a"]]]))
    with pytest.raises(ScanError, match="wanted numbers"):
        read_scan(tmp_path / "text.npy")
    np.save(tmp_path / "flat.npy", values[0, 0])
    with pytest.raises(ScanError, match=r"shape \(5, 6\); wanted \(D, H, W\)"):
        read_scan(tmp_path / "flat.npy")


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "o.npy", np.array([[[{}]]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", a=np.array([[[{}]]], dtype=object), allow_pickle=True)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(ScanError, match=name):
            read_scan(tmp_path / name)


def test_the_layout_of_medmnist_is_read_one_volume_at_a_time(tmp_path):
    rng = np.random.default_rng(0)
    parts = {f"{s}_images": rng.integers(0, 255, (n, 4, 5, 6)).astype(np.uint8)
             for s, n in (("train", 7), ("test", 3))}  # fmt: skip
    labels = {"train_labels": np.zeros((7, 1)), "test_labels": np.zeros((3, 1))}
    np.savez_compressed(tmp_path / "m.npz", **parts, **labels)
    with pytest.raises(ScanError, match=r"2 arrays of volumes; .*\n  train_images\t7 x 4 x 5 x 6"):
        read_scan(tmp_path / "m.npz")
    for name in ("test", "test_images"):
        scan = read_scan(tmp_path / "m.npz", series=name, index=2)
        assert_close(scan.array[0].numpy(), parts["test_images"][2])
    with pytest.raises(ScanError, match=r"unknown array: 'tests'. Did you mean test_images"):
        read_scan(tmp_path / "m.npz", series="tests", index=0)
    with pytest.raises(ScanError, match="has no volume 3: it holds 3"):
        read_scan(tmp_path / "m.npz", series="test", index=3)
    color = rng.integers(0, 255, (2, 8, 5, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "rgb.npz", train_images=np.asfortranarray(color))
    scan = read_scan(tmp_path / "rgb.npz", index=1)
    assert_close(scan.array.numpy(), np.moveaxis(color[1], -1, 0))


def test_an_npz_may_bring_its_geometry(tmp_path):
    values = np.zeros((2, 3, 4), np.float32)
    np.savez(tmp_path / "s.npz", u=values, spacing=np.array([5.0, 1, 2]))
    scan = read_scan(tmp_path / "s.npz")
    assert (scan.spacing, scan.orientation) == ((5.0, 1.0, 2.0), "SAR")
    assert "assumptions" in scan.notes[0]
    np.savez(tmp_path / "a.npz", u=values, affine=AFFINE)
    scan = read_scan(tmp_path / "a.npz")
    assert_close(scan.affine, AFFINE)
    assert not scan.notes
    np.savez(tmp_path / "z.npz", u=values, spacing=np.array([5.0, 0, 2]))
    with pytest.raises(ScanError, match=r"spacing is .*; wanted three values above 0"):
        read_scan(tmp_path / "z.npz")


@pytest.mark.parametrize("name", ["adrenalmnist3d", "adrenalmnist3d_64", "modelnet10_vox32"])
def test_published_archives_of_masks_are_no_bombs(shared_data, name):
    path = shared_data / "volumes" / f"{name}.npz"
    found = read_targets(path)
    assert {"train", "test"} <= {split for split, _, _ in found}
    for split, volumes, labels in found:
        last = read_scan(path, series=volumes, index=len(labels) - 1)
        assert set(np.unique(last.array)) <= {0, 1, 255}, split
