"""A mask written back lies on its scan, voxel for voxel, whatever the scan's axes were."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch.testing import assert_close

from data.scans.dicoms import series
from pseudo3d.data.scans.grid import depth_first, orient, restore
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import ScanError, scan_of
from pseudo3d.data.scans.write import write_like

CODES = [
    "".join(letters)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*order)
]


@pytest.mark.parametrize("code", CODES)
def test_a_mask_overlays_its_scan_in_all_48_orientations(tmp_path, code):
    """File in any orientation -> turned to one the network likes -> mask -> back to the file's."""
    values = np.random.default_rng(0).integers(0, 999, (3, 4, 5)).astype(np.int16)
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(code), values.shape)
    ras = np.array([[1.9, 0.1, 0.2, 9], [-0.1, 0.7, 0, -4], [-0.2, 0, 5, 3], [0, 0, 0, 1]])
    affine = ras @ np.linalg.inv(turn)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    assert "".join(nib.aff2axcodes(nib.load(tmp_path / "scan.nii.gz").affine)) == code
    scan = read_scan(tmp_path / "scan.nii.gz")
    seen = depth_first(orient(scan, "SAR"))
    mask = restore(seen.array[0] > 500, seen, scan)
    path = write_like(tmp_path / "mask.nii.gz", mask, scan)
    ours, theirs = nib.load(path), nib.load(tmp_path / "scan.nii.gz")
    assert np.array_equal(ours.affine, theirs.affine)
    assert np.array_equal(np.asarray(ours.dataobj), values > 500)
    again = read_scan(path)
    assert again.orientation == scan.orientation
    assert_close(again.array[0].bool(), scan.array[0] > 500)


NIFTI = ("FLAIR.nii.gz", "nibabel_anatomical.nii", "ct_perfusion.nii.gz",
         "nnunet_example_ct_sm.nii.gz", "nibabel_example4d.nii.gz")  # fmt: skip


@pytest.mark.parametrize("name", NIFTI)
def test_geometry_of_a_nifti_is_copied_bit_for_bit(shared_data, tmp_path, name):
    source = shared_data / "volumes/formats" / name
    scan = read_scan(source, index=1 if "4d" in name else None)
    path = write_like(tmp_path / "m.nii.gz", torch.zeros(scan.size, dtype=torch.uint8), scan)
    ours, theirs = nib.load(path), nib.load(source)
    assert np.array_equal(ours.affine, theirs.affine)
    assert ours.shape == theirs.shape[:3]
    assert ours.get_data_dtype() == np.uint8
    for name in ("qform_code", "sform_code", "quatern_b", "srow_x", "qoffset_z"):
        assert np.array_equal(ours.header[name], theirs.header[name])
    for name in ("sform", "qform"):
        assert np.array_equal(*(getattr(i, f"get_{name}")() for i in (ours, theirs)))
    assert b"research use only" in ours.header["descrip"].item()


@pytest.mark.parametrize("name", ["FLAIR.nrrd", "mha.mha", "enh.dcm", "torchio_dicom"])
def test_simpleitk_sees_scan_and_mask_at_one_place(shared_data, tmp_path, name):
    scan = read_scan(shared_data / "volumes/formats" / name)
    heat = scan.array[0].float() / 7
    path = write_like(tmp_path / "m.nii.gz", heat, scan)
    image = sitk.ReadImage(str(path))
    assert_close(torch.from_numpy(sitk.GetArrayFromImage(image)), heat)
    for index in itertools.product(*((0, n - 1) for n in scan.size)):
        x, y, z = image.TransformIndexToPhysicalPoint(index[::-1])
        assert (-x, -y, z) == pytest.approx(scan.world(*index), abs=1e-3)
    assert_close(read_scan(path).affine, scan.affine, rtol=1e-6, atol=1e-4)


def test_units_other_than_mm_go_back_as_they_came(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    write_like(tmp_path / "m.nii", torch.zeros(scan.size), scan)
    assert np.array_equal(nib.load(tmp_path / "m.nii").affine, image.affine)
    assert_close(read_scan(tmp_path / "m.nii").affine, scan.affine)
    (tmp_path / "a.nii").unlink()  # also without the file it came from
    write_like(tmp_path / "n.nii", torch.zeros(scan.size), scan)
    assert_close(read_scan(tmp_path / "n.nii").affine, scan.affine, atol=1e-6, rtol=1e-6)


def test_a_file_that_changed_since_lends_no_header(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([2.0, 3, 4, 1]))
    nib.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)), tmp_path / "a.nii")
    write_like(tmp_path / "m.nii", torch.zeros(scan.size), scan)
    assert_close(read_scan(tmp_path / "m.nii").affine, scan.affine)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (torch.tensor([True, False]), np.uint8),
        (torch.tensor([0, 255]), np.uint8),
        (torch.tensor([-1, 255]), np.int16),
        (torch.tensor([0, 70_000]), np.int32),
        (torch.tensor([0.25, 1.0], dtype=torch.float64), np.float32),
        (torch.tensor([0.25, 1.0], dtype=torch.bfloat16).float(), np.float32),
    ],
)
def test_the_smallest_type_that_holds_the_values(tmp_path, values, want):
    scan = scan_of(torch.zeros(1, 1, 1, 2), np.eye(4), source="made", kind="npy")
    path = write_like(tmp_path / "m.nii", values.reshape(1, 1, 2), scan)
    image = nib.load(path)
    assert image.get_data_dtype() == want
    assert np.asarray(image.dataobj).ravel().tolist() == values.tolist()


def test_a_tilted_gantry_goes_through(tmp_path):
    tilted = series(tmp_path / "ct")
    from pydicom import dcmread

    for n, file in enumerate(sorted(tilted.iterdir())):
        data = dcmread(file)
        data.ImagePositionPatient = [-10.0, -20.0 + n, 2.5 * n]
        data.save_as(file)
    scan = read_scan(tilted)
    path = write_like(tmp_path / "m.nii.gz", scan.array[0], scan)
    assert_close(read_scan(path).affine, scan.affine, rtol=1e-6, atol=1e-5)


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path):
    scan = scan_of(torch.zeros(1, 2, 3, 4), np.eye(4), source="made", kind="npy")
    with pytest.raises(ScanError, match=r"wanted a name in .nii or .nii.gz"):
        write_like(tmp_path / "m.nrrd", torch.zeros(2, 3, 4), scan)
    with pytest.raises(ScanError, match=r"size \(4, 3, 2\), the scan \(2, 3, 4\)"):
        write_like(tmp_path / "m.nii", torch.zeros(4, 3, 2), scan)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ScanError, match="cannot be written"):
        write_like(tmp_path / "taken" / "m.nii", torch.zeros(2, 3, 4), scan)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
