"""Files that hold the voxels of a header are known, and a rewritten one is read anew."""

import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from pseudo3d.data.scans.cache import Request, ScanCache
from pseudo3d.data.scans.partners import partners


def written(folder, kind):
    """A scan of ones as header and voxels: (header, voxels)."""
    ones = np.ones((4, 5, 6), np.int16)
    if kind in ("hdr", "img"):
        nib.save(nib.Nifti1Pair(ones, np.eye(4)), folder / "a.hdr")
        return folder / f"a.{kind}", folder / "a.img"
    sitk.WriteImage(sitk.GetImageFromArray(ones), str(folder / f"a.{kind}"))
    return folder / f"a.{kind}", folder / "a.raw"


@pytest.mark.parametrize("kind", ["mhd", "nhdr", "hdr", "img"])
def test_rewritten_voxels_under_the_same_header_are_read_anew(tmp_path, kind):
    header, voxels = written(tmp_path, kind)
    cache, request = ScanCache(tmp_path / "cache"), Request(path=header)
    assert cache.read(request).array.unique().tolist() == [1]
    size = voxels.stat().st_size
    voxels.write_bytes(np.full(size // 2, 7, np.int16).tobytes())
    os.utime(voxels, (5, 5))
    assert 7 in cache.read(request).array.unique().tolist()


def test_a_file_with_its_voxels_in_it_has_no_partners(tmp_path):
    image = sitk.GetImageFromArray(np.ones((2, 3, 4), np.int16))
    for name in ("a.mha", "a.nrrd", "a.nii"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert partners(tmp_path / name) == []


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = LOCAL\n", ""),
        ("a.mhd", "NDims = 3\r\nElementDataFile = s1.raw\r\n", "1"),
        ("a.mhd", "NDims = 3\nElementDataFile = gone.raw\n", ""),
        ("a.mhd", "NDims = 3\nElementDataFile = LIST\ns1.raw\ns3.raw\n", "13"),
        ("a.mhd", "NDims = 3\nElementDataFile = s%d.raw 1 3 1\n", "123"),
        ("a.nhdr", "NRRD0004\ntype: short\ndata file: s2.raw\n", "2"),
        ("a.nhdr", "NRRD0004\ndatafile: LIST\ns1.raw\ns2.raw\n", "12"),
        ("a.nhdr", "NRRD0004\ndata file: ./s%01d.raw 1 3 1\n", "123"),
        ("a.nrrd", "NRRD0004\ntype: short\n\ndata file: s2.raw\n", ""),
    ],
)
def test_every_way_to_name_the_voxels_is_understood(tmp_path, name, text, wanted):
    for number in "123":
        (tmp_path / f"s{number}.raw").write_bytes(b"x")
    (tmp_path / "sx.raw").write_bytes(b"x")
    (tmp_path / name).write_bytes(text.encode())
    assert [p.name for p in partners(tmp_path / name)] == [f"s{n}.raw" for n in wanted]
