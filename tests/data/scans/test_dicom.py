"""DICOM series are read in their place, or refused with the reason and the file."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)
from torch.testing import assert_close

from data.scans.dicoms import changed, image, pixels, save, series
from pseudo3d.data.scans.dicom import list_series
from pseudo3d.data.scans.intensity import plan_intensity
from pseudo3d.data.scans.read import peek_scan, read_scan
from pseudo3d.data.scans.scan import ScanError


def expected(count=6):
    return torch.from_numpy(np.stack([pixels(n) for n in range(count)])) - 1024


def test_a_series_is_read_in_place_whatever_its_file_names(tmp_path):
    save(tmp_path, [image(n) for n in (3, 0, 5, 1, 4, 2)])
    (tmp_path / "notes.txt").write_text("not DICOM")
    scan = read_scan(tmp_path)
    assert scan.kind == "dicom"
    assert scan.array.dtype == torch.int16
    assert_close(scan.array[0], expected())
    assert scan.spacing == (2.5, 0.75, 0.5)
    assert scan.orientation == "SPL"
    assert scan.units == "HU"
    assert scan.world(2, 3, 4) == (10 - 4 * 0.5, 20 - 3 * 0.75, 5.0)
    assert scan.meta["description"] == "thorax"
    assert not scan.notes
    assert "Nobody" not in str(scan.meta)
    assert "42" not in scan.meta.values()


def test_uneven_slices_are_interpolated_in_place_when_allowed(tmp_path):
    save(tmp_path, [image(n) for n in (0, 1, 3, 4, 5)])
    scan = read_scan(tmp_path, allow_nonuniform=True)
    assert scan.spacing == (2.5, 0.75, 0.5)
    assert_close(scan.array[0], expected().float())  # values grow evenly, so nothing is lost
    assert "interpolated onto an even grid of 6 slices" in scan.notes[0]
    shifted = changed(5, lambda n: image(n, ImagePositionPatient=[-10.0, -20.0, 13.5]))
    scan = read_scan(save(tmp_path / "b", shifted), allow_nonuniform=True)
    assert scan.world(5, 0, 0)[2] == pytest.approx(13.5)
    # the plane at 10.8 mm lies 0.8 of 3.5 mm behind the slice at 10 mm
    assert scan.spacing[0] == pytest.approx(2.7)
    assert float(scan.array[0, 4, 0, 0]) == pytest.approx(400 - 1024 + 100 * 0.8 / 3.5, abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_any_orientation_lies_where_simpleitk_says(tmp_path, seed):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    column, row, normal = turn.T * rng.choice([-1, 1], 3)
    cosines = [float(f"{v:.12g}") for v in (*column, *row)]
    for number in range(4):
        place = [float(f"{v:.12g}") for v in 100 * row + 2.5 * number * normal]
        turned = {"ImagePositionPatient": place, "ImageOrientationPatient": cosines}
        save(tmp_path, [image(number, **turned)], start=rng.integers(1000))
    scan = read_scan(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    itk = reader.Execute()
    assert_close(scan.array[0].numpy(), sitk.GetArrayFromImage(itk), check_dtype=False)
    for index in ((0, 0, 0), (3, 0, 0), (0, 5, 0), (0, 0, 4), (3, 5, 4)):
        x, y, z = itk.TransformIndexToPhysicalPoint(index[::-1])
        assert scan.world(*index) == pytest.approx((-x, -y, z), abs=1e-6)


def test_old_files_without_preamble_and_meta_header_are_read(tmp_path):
    for number in range(6):
        data = image(number)
        del data.file_meta
        data.save_as(tmp_path / f"{number}", implicit_vr=True, little_endian=True)
        assert (tmp_path / f"{number}").read_bytes()[:2] == b"\x08\x00"
    assert_close(read_scan(tmp_path).array[0], expected())


def test_rounded_positions_are_even(tmp_path):
    """Gaps of 0.12 and 0.13 mm where the scanner meant 0.125: no slice is missing."""
    rounded = [
        image(n, ImagePositionPatient=[-10.0, -20.0, round(n * 0.125, 2)]) for n in range(40)
    ]
    scan = read_scan(save(tmp_path, rounded))
    assert scan.size[0] == 40
    assert scan.spacing[0] == pytest.approx(0.125, abs=2e-4)
    assert not scan.notes


def test_a_tilted_gantry_is_in_the_affine_and_said(tmp_path):
    tilted = [image(n, ImagePositionPatient=[-10.0, -20.0 + n, 2.5 * n]) for n in range(6)]
    scan = read_scan(save(tmp_path, tilted))
    assert scan.world(5, 0, 0) == pytest.approx((10.0, 15.0, 12.5))
    assert "gantry tilt" in scan.notes[0]
    assert scan.spacing[0] == pytest.approx((2.5**2 + 1) ** 0.5)
    assert scan.voxel_ml == pytest.approx(2.5 * 0.75 * 0.5 / 1000)  # as without the tilt


def test_volumes_of_a_4d_series_are_read_by_index(tmp_path):
    both = [image(n, EchoTime=e, RescaleIntercept=i) for e, i in ((30.0, 7), (5.0, 0))
            for n in range(6)]  # fmt: skip
    save(tmp_path, both)
    assert_close(read_scan(tmp_path, index=0).array[0], expected() + 1024)  # the short echo
    assert_close(read_scan(tmp_path, index=1).array[0], expected() + 1031)
    with pytest.raises(ScanError, match="no volume 2: it holds 2"):
        read_scan(tmp_path, index=2)


def test_volumes_may_be_blocks_of_instance_numbers(tmp_path):
    both = [image(n, InstanceNumber=1 + n + 6 * v, RescaleIntercept=v) for v in (1, 0)
            for n in range(6)]  # fmt: skip
    save(tmp_path, both)
    assert_close(read_scan(tmp_path, index=1).array[0], expected() + 1025)


def test_one_of_several_series_is_chosen_by_number_description_or_uid(tmp_path):
    series(tmp_path / "a")
    save(tmp_path / "b", [image(n, uid="1.2.3.777777", SeriesDescription="Head", SeriesNumber=9,
                                RescaleIntercept=0) for n in range(3)])  # fmt: skip
    for name in ("9", "head", "1.2.3.777777", "777777"):
        assert read_scan(tmp_path, series=name).size == (3, 6, 5)
    with pytest.raises(ScanError, match="has no series 'neck'"):
        read_scan(tmp_path, series="neck")
    rows = list_series(tmp_path)
    assert [(r.number, r.images, r.problem) for r in rows] == [("3", 6, None), ("9", 3, None)]
    assert rows[0].spacing == (2.5, 0.75, 0.5)
    assert rows[0].orientation == "SPL"


def test_two_series_of_one_number_are_told_apart_by_uid(tmp_path):
    series(tmp_path / "a")
    series(tmp_path / "b", uid="1.2.3.888888")
    with pytest.raises(ScanError, match="holds 2 series '3'; choose by UID"):
        read_scan(tmp_path, series="3")
    assert read_scan(tmp_path, series="888888").meta["series_uid"] == "1.2.3.888888"


def test_the_list_says_why_a_series_is_refused(tmp_path):
    save(tmp_path, [image(n) for n in (0, 1, 3, 4)])
    (row,) = list_series(tmp_path)
    assert "missing slice" in row.problem
    assert row.spacing is None


def test_a_single_file_of_a_series_is_not_taken_for_a_volume(tmp_path):
    series(tmp_path)
    with pytest.raises(ScanError, match="one slice of a series; give its folder"):
        read_scan(tmp_path / "IM0000.dcm")


def test_a_single_slice_is_a_volume_of_depth_one_with_a_note(tmp_path):
    scan = read_scan(series(tmp_path, count=1))
    assert scan.size == (1, 6, 5)
    assert scan.spacing[0] == 2.0
    assert "a single slice" in scan.notes[0]


def test_slope_and_type_of_each_image_count(tmp_path):
    scan = read_scan(series(tmp_path / "pet", Modality="PT", RescaleSlope=0.5, RescaleIntercept=0))
    assert scan.array.dtype == torch.float32
    assert_close(scan.array[0], (expected() + 1024) * 0.5)
    own = [image(n, RescaleSlope=n + 1, RescaleIntercept=0) for n in range(6)]
    scan = read_scan(save(tmp_path / "own", own))
    want = (expected() + 1024) * torch.arange(1, 7).reshape(6, 1, 1)
    assert_close(scan.array[0], want.short())
    large = [image(n, RescaleSlope=1000 if n == 5 else 1, RescaleIntercept=0) for n in range(6)]
    scan = read_scan(save(tmp_path / "large", large))
    assert scan.array.dtype == torch.float32
    assert float(scan.array[0, 5, 1, 1]) == 511_000
    assert float(scan.array[0, 4, 1, 1]) == 411


def test_color_becomes_channels(tmp_path):
    rgb = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
             "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
             "PixelData": rgb.tobytes(), "RescaleIntercept": 0}  # fmt: skip
    scan = read_scan(series(tmp_path, count=2, **color))
    assert scan.array.dtype == torch.uint8
    assert_close(scan.array[:, 1], torch.from_numpy(rgb).permute(2, 0, 1))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_transfer_syntaxes_give_the_same_voxels(tmp_path):
    packed = [image(n) for n in range(6)]
    for data in packed:
        data.compress(RLELossless, generate_instance_uid=False)
    assert_close(read_scan(save(tmp_path / "rle", packed)).array[0], expected())
    (tmp_path / "big").mkdir()
    for n in range(6):
        data = image(n)
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data.PixelData = pixels(n).astype(">i2").tobytes()
        data.save_as(tmp_path / "big" / f"{n}", enforce_file_format=True)
    assert_close(read_scan(tmp_path / "big").array[0], expected())


def test_simpleitk_decodes_what_pydicom_cannot_and_rescales_once(tmp_path):
    stored = {"shape": (64, 64), "RescaleIntercept": 0}  # smaller ones cannot be packed
    series(tmp_path / "plain", **stored)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")  # lossless
    for file in sorted((tmp_path / "plain").iterdir()):
        writer.SetFileName(str(file))
        writer.Execute(sitk.ReadImage(str(file)))
        data = dcmread(file)
        assert data.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        data.RescaleIntercept = -1024
        data.save_as(file)
    want = np.stack([pixels(n, 64, 64) for n in range(6)]) - 1024
    assert_close(read_scan(tmp_path / "plain").array[0], torch.from_numpy(want))


def enhanced(path, *, volumes=1, slices=4, shuffle=False):
    """A multi-frame file whose geometry is in functional groups, some shared and some per frame."""
    data = image(0, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    data.PixelSpacing, data.RescaleSlope = [9, 9], 9  # some write them twice; the groups hold
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    data.Modality = "MR"
    shared, measures, turn, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2.0
    turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, 1, "US"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turn])
    shared.PixelValueTransformationSequence = Sequence([values])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    order = [(v, n) for n in range(slices) for v in range(volumes)]
    if shuffle:
        order = [order[i] for i in np.random.default_rng(0).permutation(len(order))]
    frames = []
    for volume, number in order:
        frame, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [-10.0, -20.0, 2.5 * number]
        content.TemporalPositionIndex = volume + 1
        frame.PlanePositionSequence = Sequence([place])
        frame.FrameContentSequence = Sequence([content])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.NumberOfFrames = len(order)
    data.PixelData = b"".join((pixels(n) + 1000 * v).tobytes() for v, n in order)
    data.SOPInstanceUID = generate_uid()
    data.save_as(path, enforce_file_format=True)
    return path


def test_enhanced_frames_are_placed_by_their_own_groups(tmp_path):
    scan = read_scan(enhanced(tmp_path / "enhanced", shuffle=True))
    assert_close(scan.array[0], (2 * (expected(4) + 1024) + 1).short())
    assert scan.spacing == (2.5, 0.75, 0.5)
    assert scan.world(3, 0, 0) == (10.0, 20.0, 7.5)
    path = enhanced(tmp_path / "4d.dcm", volumes=3)
    with pytest.raises(ScanError, match="3 images at each of 4 positions"):
        read_scan(path)
    assert peek_scan(path, index=0).volumes == 3
    assert_close(read_scan(path, index=2).array[0], (2 * (expected(4) + 3024) + 1).short())


def test_a_multi_frame_file_without_geometry_is_refused(tmp_path):
    """Folder and file give the same answer: neither sends to the other."""
    for place in (None, [0.0, 0.0, 0.0]):
        data = image(
            0, NumberOfFrames=2, PixelData=2 * pixels(0).tobytes(), ImagePositionPatient=place
        )
        save(tmp_path, [data])
        for path in (tmp_path, tmp_path / "IM0000.dcm"):
            with pytest.raises(ScanError, match="2 frames in one file without a place for each"):
                read_scan(path)


def test_enhanced_files_of_one_frame_each_are_a_series(tmp_path):
    """pydicom gives one frame without an axis of frames."""
    for number in range(3):
        path = enhanced(tmp_path / f"{number}", slices=1)
        data = dcmread(path)
        place = data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        place.ImagePositionPatient = [-10.0, -20.0, 2.5 * number]
        data.PixelData = pixels(number).tobytes()
        data.save_as(path)
    scan = read_scan(tmp_path)
    assert_close(scan.array[0], (2 * (expected(3) + 1024) + 1).short())
    assert read_scan(tmp_path / "1").size == (1, 6, 5)


def test_zero_is_a_window_center_and_a_number_of_a_series(tmp_path):
    scan = read_scan(series(tmp_path, WindowCenter=0, WindowWidth=400, SeriesNumber=0))
    assert (scan.meta["window_center"], scan.meta["window_width"]) == ("0.0", "400.0")
    assert plan_intensity(scan, "auto").fixed == (-200.0, 200.0)
    assert scan.meta["series_number"] == "0"
    assert read_scan(tmp_path, series="0").size == scan.size
    several = series(tmp_path / "b", WindowCenter=[0, 40], WindowWidth=[400, 80])
    assert read_scan(several).meta["window_center"] == "0.0"


def test_values_that_go_through_a_table_are_refused(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [2, 0, 16], "HU"
    table.LUTData = bytes(4)
    series(tmp_path, ModalityLUTSequence=Sequence([table]), RescaleSlope=None,
           RescaleIntercept=None)  # fmt: skip
    with pytest.raises(ScanError, match=r"IM0000\.dcm: .*ModalityLUTSequence.* RescaleSlope"):
        read_scan(tmp_path)


def test_values_of_inverted_images_stay_as_stored_and_it_is_said(tmp_path):
    scan = read_scan(series(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    assert_close(scan.array[0], expected())
    assert "MONOCHROME1" in scan.notes[0]
