"""Preprocessing of scans as data, and the cut around the middle."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing, any_preprocessing, middle, prepared
from pseudo3d.data.scans.scan import ScanError, scan_of
from pseudo3d.errors import Pseudo3dError

PRE = ScanPreprocessing(
    size=(4, 6, 8), view="patch", spacing=(3.0, 1.0, 1.0), layout="SAR", window="mri",
    mean=(1.0,), std=(2.0,),
)  # fmt: skip


def test_it_survives_json_and_says_that_it_is_a_scans():
    plain = json.loads(json.dumps(PRE.to_dict()))
    assert any_preprocessing(plain) == PRE


@pytest.mark.parametrize("window", ["auto", (-160.0, 240.0)])
def test_names_and_edges_of_windows_are_written_down(window):
    pre = ScanPreprocessing(size=(2, 2, 2), window=window)
    assert any_preprocessing(json.loads(json.dumps(pre.to_dict()))) == pre


def test_a_videos_preprocessing_stays_a_videos():
    video = Preprocessing(resize=8, size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    assert any_preprocessing(video.to_dict()) == video


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": (4, 0, 4)}, "size is"),
        ({"view": "hole"}, "view is"),
        ({"spacing": (1.0, 0.0, 1.0)}, "above 0"),
        ({"layout": "SAA"}, "one of L R"),
        ({"window": "lungs"}, "Did you mean lung"),
        ({"window": (240.0, -160.0)}, "the lower one first"),
        ({"channels": 2}, "2 finite"),
        ({"std": (0.0,)}, "above 0"),
    ],
)
def test_values_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(Pseudo3dError, match=said):
        ScanPreprocessing(**{"size": (4, 4, 4), **wrong})


def test_unknown_and_missing_fields_of_a_file_are_named():
    with pytest.raises(Pseudo3dError, match="Did you mean size"):
        ScanPreprocessing.from_dict({"sise": [1, 2, 3]})
    with pytest.raises(Pseudo3dError, match="lacks size"):
        ScanPreprocessing.from_dict({})


def test_values_become_numbers_of_order_one():
    x = torch.tensor([3.0, 5.0]).view(1, 1, 1, 1, 2)
    assert PRE.normalize(x).flatten().tolist() == [1.0, 2.0]


def test_other_channels_are_refused():
    with pytest.raises(Pseudo3dError, match="2 channels where the network takes 1"):
        PRE.normalize(torch.zeros(1, 2, 1, 1, 1))


@given(have=st.tuples(*[st.integers(1, 6)] * 3), want=st.tuples(*[st.integers(1, 6)] * 3))
def test_the_middle_stays_the_middle(have, want):
    x = torch.arange(1.0, 1 + torch.Size(have).numel()).view(1, *have)
    found = middle(x, want, 0.0)
    assert found.shape[1:] == want
    back = middle(found, have, 0.0)
    kept = back != 0
    assert torch.equal(back[kept], x[kept])
    assert int(kept.sum()) == np.prod([min(a, b) for a, b in zip(have, want, strict=True)])


def test_what_lies_beside_a_scan_is_air_and_not_tissue():
    assert middle(torch.tensor([[[[-2.0, 3.0]]]]), (1, 1, 4)).flatten().tolist() == [-2, -2, 3, -2]


def test_a_scan_is_turned_before_anything_else():
    array = torch.arange(24, dtype=torch.int16).view(1, 2, 3, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])  # d leads right, h to the front, w up: RAS
    scan = scan_of(array, affine, source="x.nii", kind="nifti")
    pre = ScanPreprocessing(size=(4, 3, 2), layout="SAR")
    turned, seen = prepared(scan, pre)
    assert turned.orientation == "SAR"
    assert turned.spacing == (3.0, 2.0, 1.0)
    assert torch.equal(seen.array, array.permute(0, 3, 2, 1))


def test_spacing_changes_the_grid():
    scan = scan_of(torch.zeros(1, 4, 4, 4), np.eye(4), source="x.nii", kind="nifti")
    pre = ScanPreprocessing(size=(2, 2, 2), spacing=(2.0, 1.0, 1.0))
    assert prepared(scan, pre)[1].size == (2, 4, 4)


def test_a_scan_of_other_channels_is_named():
    scan = scan_of(torch.zeros(2, 4, 4, 4), np.eye(4), source="two.nii", kind="nifti")
    with pytest.raises(ScanError, match=r"two.nii: 2 channels where the network takes 1"):
        prepared(scan, ScanPreprocessing(size=(2, 2, 2)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_voxels_that_are_not_finite_are_replaced_and_said_or_refused(value):
    values = torch.arange(64.0).view(1, 4, 4, 4)
    values[0, 0, 0, :2] = value
    scan = scan_of(values, np.eye(4), source="hole.nii", kind="nifti")
    with pytest.raises(ScanError, match=r"hole\.nii: 2 voxels are not finite; write numbers"):
        prepared(scan, ScanPreprocessing(size=(2, 2, 2)))
    seen = prepared(scan, ScanPreprocessing(size=(2, 2, 2), window="mri"))[1]
    assert seen.array.isfinite().all()
    assert "2 of 64 voxels (0.031 of all) are not finite" in seen.notes[0]
    assert scan.notes == ()


def test_a_scan_without_a_finite_voxel_is_refused():
    scan = scan_of(torch.full((1, 4, 4, 4), torch.nan), np.eye(4), source="e.nii", kind="nifti")
    with pytest.raises(ScanError, match=r"e\.nii: no voxel is finite"):
        prepared(scan, ScanPreprocessing(size=(2, 2, 2), window="mri"))
