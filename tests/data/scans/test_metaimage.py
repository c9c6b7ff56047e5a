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
        ("LOCAL", "", "ElementDataFile is ''"),
        ("LOCAL", "Fal%e", "ElementDataFile is 'Fal%e'"),
        ("LOCAL", "s%s%n.raw 1 2 1", "or a pattern such as s%03d.raw 1 20 1"),
        ("LOCAL", "s%d.raw 1 2 0", "or a pattern"),
        ("LOCAL", "s%d.raw 3 2 1", "or a pattern"),
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
    for i in (1, 2):
        (tmp_path / f"s{i:03}.raw").write_bytes(bytes(range(12 * i - 12, 12 * i)))
    series = read_scan(written(tmp_path / "s.mhd", HEAD.replace("LOCAL", "s%03d.raw 1 2 1")))
    assert series.array.flatten().tolist() == list(range(24))
    image.SetMetaData("Comment", "of the left: h\u00fcfte = hip")
    for name in ("b.mha", "b.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert read_scan(tmp_path / name).array.flatten().tolist() == list(range(24))
