"""Headers that ITK would crash on, or never come back from, do not reach it."""

import numpy as np
import pytest
import SimpleITK as sitk

from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import ScanError

HEAD = (
    "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_UCHAR\n"
    "ElementDataFile = LOCAL\n"
)


def written(path, head):
    path.write_bytes(head.encode("latin-1") + bytes(range(24)))
    return path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("NDims = 3", "NDims = -1", "NDims is '-1'; wanted 2, 3 or 4"),
        ("NDims = 3\n", "NDims = 3\nNDims = 2\n", "NDims is there twice"),
        ("NDims = 3\n", "NDims = 3\n=e\xbb\0\0\0paSting = 1\n", "wanted Name = value"),
        ("NDims = 3\n", "", "DimSize comes before NDims"),
        ("4 3 2", "4 3", "DimSize is '4 3'; wanted 3 numbers"),
        ("4 3 2", "4 3 2mentType =", "wanted 3 numbers"),
        ("MET_UCHAR", "MET_UCHAR\0", "wanted Name = value"),
        ("MET_UCHAR", "char", "ElementType is 'char'"),
        ("ElementType = MET_UCHAR\n", "", "its header lacks ElementType"),
        ("ElementDataFile = LOCAL\n", "", "wanted Name = value"),
        ("LOCAL", "x" * 2000, "wanted Name = value"),
    ],
)
def test_a_damaged_header_is_told_before_itk_sees_it(tmp_path, old, new, told):
    assert old in HEAD
    with pytest.raises(ScanError, match=told):
        read_scan(written(tmp_path / "a.mha", HEAD.replace(old, new, 1)))


def test_headers_that_itk_writes_and_reads_are_taken(tmp_path):
    scan = read_scan(written(tmp_path / "a.mha", HEAD.replace("\n", "\r\n")))
    assert scan.array.flatten().tolist() == list(range(24))
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetMetaData("Comment", "of the left: h\u00fcfte = hip")
    for name in ("b.mha", "b.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert read_scan(tmp_path / name).array.flatten().tolist() == list(range(24))
