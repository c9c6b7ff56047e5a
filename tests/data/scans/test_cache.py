"""The cache of scans is sized before it is filled, true to the file, and renewed with it."""

import os

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from data.scans.dicoms import image, save, series
from pseudo3d.data.scans import cache as module
from pseudo3d.data.scans.cache import Request, ScanCache, scan_folder
from pseudo3d.data.scans.grid import orient, resampled
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import ScanError

AFFINE = np.array([[0, 0.1, 3, -7], [-1.5, 0, 0.2, 20], [0.1, 2, 0, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def requests(tmp_path):
    """A NIfTI, one volume of a 4-D NIfTI and a DICOM folder."""
    rng = np.random.default_rng(0)
    three = rng.integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    four = rng.normal(size=(5, 6, 7, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(three, AFFINE), tmp_path / "three.nii.gz")
    nib.save(nib.Nifti1Image(four, AFFINE), tmp_path / "four.nii.gz")
    return [
        Request(path=tmp_path / "three.nii.gz"),
        Request(path=tmp_path / "four.nii.gz", index=1),
        Request(path=series(tmp_path / "ct")),
    ]


def test_what_comes_back_is_what_the_file_holds(tmp_path, requests):
    cache = ScanCache(folder=tmp_path / "cache")
    for _ in range(2):  # written, then found
        for request in requests:
            got = cache.read(request)
            want = read_scan(request.path, index=request.index)
            assert got.array.dtype == want.array.dtype
            assert_close(got.array, want.array)
            assert_close(got.affine, want.affine)
            assert (got.units, got.kind, got.meta, got.source) == (
                want.units, want.kind, want.meta, want.source)  # fmt: skip


@pytest.mark.parametrize("layout", [None, "SAR", "RSA"])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (4.0, 0.7, 1.3)])
def test_the_size_is_known_before(tmp_path, requests, spacing, layout):
    cache = ScanCache(folder=tmp_path / "cache", spacing=spacing, layout=layout)
    needed = cache.check_room(requests)
    cache.fill(requests)
    voxels = sum(cache.read(request).array.nbytes for request in requests)
    # the headers of a CT do not tell that its values fit two bytes
    assert voxels <= needed <= 2 * voxels
    assert ScanCache(folder=tmp_path, spacing=spacing, layout=layout).bytes_needed(
        requests[:2]
    ) == sum(cache.read(request).array.nbytes for request in requests[:2])


def test_orientation_and_spacing_are_applied_before_keeping(tmp_path, requests):
    cache = ScanCache(folder=tmp_path / "cache", spacing=(1.0, 2.0, 1.5), layout="SAR")
    got = cache.read(requests[0])
    want = resampled(orient(read_scan(requests[0].path), "SAR"), (1.0, 2.0, 1.5))
    assert got.array.dtype == torch.int16
    assert_close(got.array, want.array.round().short())
    assert_close(got.affine, want.affine)


def test_the_second_time_the_file_is_not_opened(tmp_path, requests, monkeypatch):
    cache = ScanCache(folder=tmp_path / "cache")
    cache.fill(requests)
    monkeypatch.setattr(module, "read_scan", lambda *a, **k: pytest.fail("read again"))
    for request in requests:
        cache.read(request)


@pytest.mark.parametrize("name", ["*.npy", "*.json"])
@pytest.mark.parametrize("damage", [lambda d: d[:-60], lambda d: b"", lambda d: d[:30] + d[90:]])
def test_a_damaged_cache_is_read_anew(tmp_path, requests, monkeypatch, name, damage):
    told = []
    monkeypatch.setattr(module._log, "warning", lambda text, *args: told.append(text % args))
    cache = ScanCache(folder=tmp_path / "cache")
    want = read_scan(requests[0].path)
    cache.fill(requests[:1])
    (path,) = (tmp_path / "cache").glob(name)
    path.write_bytes(damage(path.read_bytes()))
    got = cache.read(requests[0])
    assert "is read again" in told[0]
    assert_close(got.array, want.array)
    assert_close(got.affine, want.affine)


def test_a_changed_file_is_read_anew(tmp_path, requests):
    cache = ScanCache(folder=tmp_path / "cache")
    cache.fill(requests)
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), AFFINE), requests[0].path)
    assert not cache.read(requests[0]).array.any()
    save(requests[2].path, [image(6)], start=6)
    assert cache.read(requests[2]).size[0] == 7


def test_a_file_of_the_same_size_that_changed_is_read_anew(tmp_path):
    cache, path = ScanCache(folder=tmp_path / "cache"), tmp_path / "a.npy"
    for value in (1, 2):
        np.save(path, np.full((2, 3, 4), value, np.uint8))
        os.utime(path, (value, value))
        assert cache.read(Request(path=path)).array.unique().tolist() == [value]


def test_another_spacing_or_orientation_is_kept_apart(tmp_path, requests):
    plain = ScanCache(folder=tmp_path / "cache")
    fine = ScanCache(folder=tmp_path / "cache", spacing=(1.0, 1.0, 1.0))
    turned = ScanCache(folder=tmp_path / "cache", layout="SAR")
    for cache in (plain, fine, turned, plain):
        got = cache.read(requests[0])
        assert (got.spacing == pytest.approx((1.0, 1.0, 1.0))) == (cache is fine)
        assert (got.orientation == "SAR") == (cache is turned)


def test_changes_of_the_voxels_stay_in_memory(tmp_path, requests):
    cache = ScanCache(folder=tmp_path / "cache")
    cache.read(requests[0]).array.zero_()
    assert cache.read(requests[0]).array.any()


def test_bad_scans_are_named_and_the_others_kept(tmp_path, requests):
    requests[0].path.write_bytes(b"no scan")
    absent = Request(path=tmp_path / "absent.nii")
    cache = ScanCache(folder=tmp_path / "cache")
    seen = []
    cache.fill([*requests, absent], progress=lambda done, total: seen.append((done, total)))
    assert set(cache.quarantined) == {requests[0].path, absent.path}
    assert "is no scan" in cache.quarantined[requests[0].path]
    assert seen[-1] == (4, 4)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    assert cache.bytes_needed([*requests, absent]) > 0


def test_a_disk_too_small_is_told_before_anything_is_written(tmp_path, requests, monkeypatch):
    monkeypatch.setattr(module, "fits", lambda folder, needed: False)
    cache = ScanCache(folder=tmp_path / "cache")
    with pytest.raises(ScanError, match=r"more than 50% of the free space"):
        cache.check_room(requests)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, requests):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ScanError, match="taken cannot keep scans"):
        ScanCache(folder=tmp_path / "taken").read(requests[0])


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path))
    assert scan_folder() == tmp_path / "pseudo3d" / "scans"
