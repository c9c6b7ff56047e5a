"""Broken DICOM series are refused, each with its own reason and the file to look at."""

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2K

from data.scans.dicoms import SAGITTAL, changed, image, pixels, save, series
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import ScanError


def with_uid(number, uid):
    data = image(number)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
    return data


def compressed_garbage(number):
    data = image(number)
    data.file_meta.TransferSyntaxUID = HTJ2K
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51 not an image "])
    data["PixelData"].VR = "OB"
    return data


BROKEN = {
    "copied file": (
        lambda: [with_uid(n, f"1.2.3.{min(n, 4)}") for n in range(6)],
        r"IM0005.dcm: duplicate slice: the same image \(SOP instance\) as .*IM0004.dcm",
    ),
    "two at one position": (
        lambda: changed(4, lambda n: image(3, InstanceNumber=5)),
        r"IM000[34].dcm: duplicate slice: IM000[34].dcm lies at the position of IM000[34].dcm",
    ),
    "missing slice": (
        lambda: [image(n) for n in (0, 1, 2, 4, 5)],
        r"IM0003.dcm: missing slice: 1 between IM0002.dcm and IM0003.dcm \(1 in all\), 5 mm where "
        r"others are 2.5 mm",
    ),
    "missing slice of a micro-CT": (
        lambda: [image(n, step=0.05) for n in range(40) if n != 20],
        r"IM0020.dcm: missing slice: 1 between IM0019.dcm and IM0020.dcm",
    ),
    "one of three missing": (
        lambda: [image(n) for n in (0, 1, 3)],
        r"IM0002.dcm: missing slice: 1 between IM0001.dcm and IM0002.dcm",
    ),
    "non-uniform gaps": (
        lambda: changed(5, lambda n: image(n, ImagePositionPatient=[-10.0, -20.0, 13.5])),
        r"IM0005.dcm: non-uniform gaps: 3.5 mm between IM0004.dcm and IM0005.dcm, most are 2.5 mm",
    ),
    "mixed orientation": (
        lambda: changed(2, lambda n: image(n, ImageOrientationPatient=list(SAGITTAL))),
        r"IM0002.dcm: mixed orientation: IM0002.dcm has \(0, 1, 0, 0, 0, -1\), most of the 6",
    ),
    "slightly turned": (
        lambda: changed(2, lambda n: image(n, ImageOrientationPatient=[1, 0.0004, 0, 0, 1, 0])),
        r"IM0002.dcm: mixed orientation",
    ),
    "mixed spacing": (
        lambda: changed(1, lambda n: image(n, PixelSpacing=[0.8, 0.5])),
        r"IM0001.dcm: mixed pixel spacing: IM0001.dcm has \(0.8, 0.5\), most of the 6",
    ),
    "mixed size": (
        lambda: changed(1, lambda n: image(n, shape=(6, 7))),
        r"IM0001.dcm: mixed rows x columns: IM0001.dcm has \(6, 7\)",
    ),
    "localizer": (
        lambda: changed(0, lambda n: image(n, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        r"IM0000.dcm: a localizer inside the series \(1 of 6",
    ),
    "4-D": (
        lambda: [image(n, EchoTime=e) for e in (5.0, 30.0) for n in range(6)],
        r"a 4-D series where one volume is meant: 2 images at each of 6 positions \(IM0000.dcm, "
        r"IM0006.dcm, ...\), told apart by EchoTime; choose one with --index 0 to 1",
    ),
    "two series": (
        lambda: changed(5, lambda n: image(n, uid="1.2.3.5", SeriesDescription="other")),
        r"holds 2 series; choose one with --series .*\n  3\tthorax\tCT\t5 images\t2.5 x 0.75 x 0.5 "
        r"mm\t1.2.3.4\tIM0000.dcm\n  3\tother\tCT\t1 images\t.*IM0005.dcm",
    ),
    "truncated": (
        lambda: changed(3, lambda n: image(n, PixelData=pixels(n).tobytes()[:-8])),
        r"IM0003.dcm: pixel data are cut off or damaged .* copy the series again",
    ),
    "no position": (
        lambda: changed(3, lambda n: image(n, ImagePositionPatient=None)),
        r"IM0003.dcm: no ImagePositionPatient",
    ),
    "no spacing": (
        lambda: changed(3, lambda n: image(n, PixelSpacing=None)),
        r"IM0003.dcm: no PixelSpacing",
    ),
    "compressed without a decoder": (
        lambda: changed(3, compressed_garbage),
        r"IM0003.dcm: compressed pixel data cannot be decoded \(High-Throughput JPEG 2000.*"
        r"pip install pylibjpeg",
    ),
    "mosaic": (
        lambda: changed(3, lambda n: image(n, ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"])),
        r"IM0003.dcm: a Siemens MOSAIC",
    ),
    "beside the stack": (
        lambda: changed(3, lambda n: image(n, ImagePositionPatient=[-7.0, -20.0, 7.5])),
        r"IM0003.dcm: IM0003.dcm lies 3 mm beside the line",
    ),
    "skewed directions": (
        lambda: [image(n, ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0]) for n in range(6)],
        r"IM0000.dcm: ImageOrientationPatient .* no pair of perpendicular",
    ),
    "volumes that nothing tells apart": (
        lambda: [image(n, InstanceNumber=1) for n in (0, 0, 1, 1, 2, 2)],
        r"IM0001.dcm: 2 images at each position .* nothing tells them apart",
    ),
    "one of two volumes incomplete": (
        lambda: [image(n, EchoTime=e) for e in (5.0, 30.0) for n in range(6)][:-1],
        r"IM0005.dcm: missing slice: 1 images at the position of IM0005.dcm, 2 at the others",
    ),
    "segmentation": (lambda: [image(0, Modality="SEG")], r"IM0000.dcm: modality SEG, .* no scan"),
    "not finite": (
        lambda: changed(0, lambda n: image(n, PixelSpacing=[0, 0.5])),
        r"IM0000.dcm: mixed pixel spacing",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_series_are_refused_with_reason_and_file(tmp_path, name):
    make, reason = BROKEN[name]
    save(tmp_path, make())
    with pytest.raises(ScanError, match=f"(?s){reason}") as caught:
        read_scan(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("kept", [400, 500, 700, 800])
def test_a_file_cut_off_in_its_header_is_named(tmp_path, kept):
    series(tmp_path)
    raw = (tmp_path / "IM0002.dcm").read_bytes()
    (tmp_path / "IM0002.dcm").write_bytes(raw[:kept])
    with pytest.raises(ScanError, match=r"IM0002.dcm"):
        read_scan(tmp_path)
