"""Every kind of file gives the same voxels in world space as SimpleITK, or the reason why not."""

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch.testing import assert_close

from pseudo3d.data.scans.read import is_scan, kind_of, peek_scan, read_scan
from pseudo3d.data.scans.scan import ScanError

FORMATS = {
    "FLAIR.nii.gz": None, "FLAIR.nrrd": None, "ct_perfusion.nii.gz": None, "enh.dcm": None,
    "mha.mha": None, "nibabel_anatomical.nii": None, "nibabel_example4d.nii.gz": 1,
    "nnunet_example_ct_sm.nii.gz": None, "nnunet_example_ct_sm_seg.nii.gz": None,
    "torchio_dicom": None,
}  # fmt: skip
AFFINE = np.array([[0, 0.1, 3, -7], [-1.5, 0, 0.2, 20], [0.1, 2, 0, 5], [0, 0, 0, 1.0]])


def itk_read(path):
    if not path.is_dir():
        return sitk.ReadImage(str(path))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    return reader.Execute()


def corners(size):
    return list(itertools.product(*((0, n - 1) for n in size)))


@pytest.mark.parametrize("name", FORMATS)
def test_voxels_in_world_space_are_those_of_simpleitk(shared_data, name):
    path, index = shared_data / "volumes/formats" / name, FORMATS[name]
    scan, image = read_scan(path, index=index), itk_read(path)
    values = sitk.GetArrayFromImage(image)
    tail = ()
    if index is not None:
        values, tail = values[index], (index,)
    values = values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0)
    assert_close(scan.array.double(), torch.from_numpy(values.astype(np.float64)), rtol=0, atol=0)
    for d, h, w in corners(scan.size):
        x, y, z, *_ = image.TransformIndexToPhysicalPoint((w, h, d, *tail))
        # ITK turns headers into unit directions and back: 9e-5 mm at most, measured
        assert scan.world(d, h, w) == pytest.approx((-x, -y, z), abs=2e-4)
    want = np.array(image.GetSpacing()[:3])[::-1]
    assert scan.spacing == pytest.approx(want, rel=1e-4)
    peek = peek_scan(path, index=index)
    assert peek.shape == tuple(scan.array.shape)
    assert_close(peek.affine, scan.affine)
    assert peek.nbytes >= scan.array.nbytes


def test_every_file_of_the_formats_folder_is_covered(shared_data):
    there = {p.name for p in (shared_data / "volumes/formats").iterdir()}
    assert there == set(FORMATS)


def test_the_axes_are_those_of_the_file_backward(tmp_path):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    assert_close(scan.array[0], torch.from_numpy(values.transpose(2, 1, 0).copy()))
    assert scan.orientation == "RSP"
    want = AFFINE @ (1, 2, 3, 1)
    assert scan.world(3, 2, 1) == pytest.approx(want[:3])


def nifti(path, values, maker=nib.Nifti1Image, affine=AFFINE, **header):
    image = maker(values, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 0.001), ("meter", 1000)])
def test_units_of_length_are_honored_as_simpleitk_does(tmp_path, unit, factor):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.spacing == pytest.approx((4 * factor, 3 * factor, 2 * factor))
    assert scan.spacing == pytest.approx(sitk.ReadImage(str(tmp_path / "a.nii")).GetSpacing()[::-1])
    assert bool(scan.notes) == (unit != "mm")


def test_type_is_kept_where_it_is_exact(tmp_path):
    ramp = np.arange(24).reshape(2, 3, 4)
    for kind, want in (("uint8", torch.uint8), ("int16", torch.int16), ("uint16", torch.int16),
                       ("int32", torch.int16), ("float32", torch.float32),
                       ("float64", torch.float32), ("int8", torch.int16)):  # fmt: skip
        scan = read_scan(nifti(tmp_path / f"{kind}.nii", ramp.astype(kind)))
        assert scan.array.dtype == want
        assert scan.array.flatten().double().sum() == ramp.sum()
    scan = read_scan(nifti(tmp_path / "large.nii", (ramp + 65_000).astype(np.uint16)))
    assert scan.array.dtype == torch.float32
    assert scan.array.min() == 65_000


@pytest.mark.parametrize(
    ("slope", "inter", "want"), [(1, -1024, torch.int16), (0.5, 0, torch.float32)]
)
def test_scaling_is_applied(tmp_path, slope, inter, want):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_slope_inter(slope, inter)
    image.to_filename(tmp_path / "a.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    raw[-48:] = values.tobytes("F")  # as stored, whatever nibabel made of them
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    scan = read_scan(tmp_path / "b.nii.gz")
    assert scan.array.dtype == want
    assert_close(scan.array[0].numpy(), (values * slope + inter).T, check_dtype=False)


def test_byte_order_version_suffix_and_packing_do_not_matter(tmp_path):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    plain = read_scan(nifti(tmp_path / "a.nii", values))
    big = nib.Nifti1Image(values, AFFINE, nib.Nifti1Header(endianness=">"))
    big.set_data_dtype(np.int16)
    nib.save(big, tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    nifti(tmp_path / "two.nii", values, nib.Nifti2Image)
    nifti(tmp_path / "pair.img", values, nib.Nifti1Pair)
    (tmp_path / "named wrongly.txt").write_bytes((tmp_path / "a.nii").read_bytes())
    packed = gzip.compress((tmp_path / "a.nii").read_bytes())
    (tmp_path / "packed.nii").write_bytes(packed)
    for name in ("big.nii", "two.nii", "pair.img", "pair.hdr", "named wrongly.txt", "packed.nii"):
        scan = read_scan(tmp_path / name)
        assert_close(scan.array, plain.array)
        assert_close(scan.affine, plain.affine, rtol=0, atol=1e-6)


def test_four_axes_want_an_index(tmp_path):
    values = np.arange(48, dtype=np.int16).reshape(2, 3, 4, 2)
    path = nifti(tmp_path / "a.nii.gz", values)
    with pytest.raises(ScanError, match=r"a.nii.gz holds 2 volumes .* --index 0 to 1"):
        read_scan(path)
    with pytest.raises(ScanError, match="no volume 2"):
        read_scan(path, index=2)
    assert_close(read_scan(path, index=1).array[0].numpy(), values[..., 1].T)
    single = nifti(tmp_path / "b.nii.gz", values[..., :1])
    assert_close(read_scan(single).array[0].numpy(), values[..., 0].T)
    five = nifti(tmp_path / "c.nii.gz", values.reshape(2, 3, 2, 2, 2))
    with pytest.raises(ScanError, match="5 axes"):
        read_scan(five)


def test_vectors_and_colors_are_channels(tmp_path):
    values = np.arange(72, dtype=np.float32).reshape(2, 3, 4, 1, 3)
    path = nifti(tmp_path / "v.nii.gz", values, intent_code=1007)
    assert_close(read_scan(path).array.numpy(), values[:, :, :, 0].transpose(3, 2, 1, 0))
    color = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    color["G"] = np.arange(24).reshape(2, 3, 4)
    scan = read_scan(nifti(tmp_path / "rgb.nii", color))
    assert scan.array.shape == (3, 4, 3, 2)
    assert_close(scan.array[1].numpy(), color["G"].T)


def test_what_the_header_does_not_say_is_said(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), None)
    image.header.set_sform(np.diag([2.0, 2, 2, 1]), 0)
    image.header.set_qform(None, 0)
    image.header["pixdim"][1:4] = 2
    nib.save(image, tmp_path / "none.nii")
    scan = read_scan(tmp_path / "none.nii")
    assert scan.meta["geometry"] == "none"
    assert "left-right are assumptions" in scan.notes[0]
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), AFFINE)
    moved = np.diag([2.0, 2, 2, 1])
    image.header.set_qform(moved, 1)
    image.header.set_sform(AFFINE, 1)
    nib.save(image, tmp_path / "two.nii")
    scan = read_scan(tmp_path / "two.nii")
    assert "sform and qform differ" in scan.notes[0]
    assert_close(scan.affine[:, [2, 1, 0, 3]], AFFINE, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("keep", [30, 200, 340, 400, -10])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".npz"])
def test_cut_off_files_are_named(tmp_path, suffix, keep):
    values = np.random.default_rng(0).integers(0, 30_000, (6, 7, 8)).astype(np.int16)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez_compressed(path, volume=values)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path), suffix not in (".nii", ".mha"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ScanError, match="a" + suffix):
        read_scan(path)


def test_what_is_no_scan_is_told_by_its_first_bytes(tmp_path):
    (tmp_path / "film.nii").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(400))
    with pytest.raises(ScanError, match=r"film.nii is no scan: it begins with .*ftyp"):
        read_scan(tmp_path / "film.nii")
    with pytest.raises(ScanError, match=r"folder without DICOM files \(it holds film.nii\)"):
        read_scan(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent.nii does not exist; wanted NIfTI"):
        read_scan(tmp_path / "absent.nii")
    (tmp_path / "table.csv").write_text("path,label\na.nii,b\n")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("film.nii", "table.csv", "empty", "."):
        assert not is_scan(tmp_path / name)


def test_complex_values_and_surfaces_are_refused(tmp_path):
    path = nifti(tmp_path / "c.nii", np.zeros((2, 3, 4), np.complex64))
    with pytest.raises(ScanError, match="complex"):
        read_scan(path)
    path = nifti(tmp_path / "s.nii", np.zeros((2, 3, 4), np.uint8), nib.Nifti2Image,
                 intent_code=3006)  # fmt: skip
    with pytest.raises(ScanError, match="CIFTI"):
        read_scan(path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_affine_that_spans_no_space_is_refused(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4))
    flat = np.diag([1.0, 1, 0, 1])
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = flat[row]
    image.header["sform_code"] = 1
    image.to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[280:328] = flat[:3].astype("<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    with pytest.raises(ScanError, match=r"a.nii: the affine .* does not span space"):
        read_scan(tmp_path / "a.nii")


def test_nrrd_and_mha_with_oblique_axes_channels_and_time(tmp_path):
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    image = sitk.GetImageFromArray(values)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    image.SetDirection(turn.reshape(-1).tolist())
    image.SetSpacing((0.5, 0.7, 4.0))
    image.SetOrigin((1.0, -2.0, 3.0))
    many = sitk.Compose(image, image + 1)
    for suffix in (".nrrd", ".mha", ".mhd", ".nii.gz"):
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        scan = read_scan(tmp_path / f"a{suffix}")
        assert_close(scan.array[0].numpy(), values)
        x, y, z = image.TransformIndexToPhysicalPoint((3, 2, 1))
        assert scan.world(1, 2, 3) == pytest.approx((-x, -y, z), abs=1e-5)
        sitk.WriteImage(many, str(tmp_path / f"c{suffix}"))
        assert_close(read_scan(tmp_path / f"c{suffix}").array[1].numpy(), values + 1)
    series = sitk.JoinSeries([image, image + 5])
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(series, str(tmp_path / f"t{suffix}"))
        assert kind_of(tmp_path / f"t{suffix}") == suffix[1:]
        with pytest.raises(ScanError, match="holds 2 volumes"):
            read_scan(tmp_path / f"t{suffix}")
        assert_close(read_scan(tmp_path / f"t{suffix}", index=1).array[0].numpy(), values + 5)


def test_an_absent_library_is_named_with_its_extra(tmp_path, monkeypatch):
    path = nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.uint8))
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(ImportError, match=r"nibabel is not installed.*pseudo3d\[scans\]"):
        read_scan(path)
