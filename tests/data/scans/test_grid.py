"""Voxels stay where they are when axes turn, and know where they are when spacing changes."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pseudo3d.data.scans.grid import (
    depth_first,
    orient,
    permuted,
    plan_depth_axis,
    resample,
    resampled,
    restore,
)
from pseudo3d.data.scans.scan import ScanError, orientation_of, scan_of

CODES = [
    "".join(letters)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*order)
]
OBLIQUE = np.array([[0.3, 0.2, -1.9, 7], [-0.2, 2.9, 0.3, -20], [4.9, 0.1, 0.3, 3], [0, 0, 0, 1.0]])


def make(affine=OBLIQUE, size=(2, 3, 4)):
    array = torch.arange(np.prod(size), dtype=torch.int16).reshape(1, *size)
    return scan_of(array, affine, source="made", kind="npy")


def where(scan):
    """Value -> place of each voxel."""
    places = {}
    for index in itertools.product(*map(range, scan.size)):
        places[int(scan.array[0][index])] = scan.world(*index)
    return places


@pytest.mark.parametrize("code", CODES)
def test_orienting_moves_no_voxel_and_comes_back_in_all_48_orientations(code):
    scan = make()
    seen = orient(scan, code)
    assert seen.orientation == code == orientation_of(seen.affine)
    want = where(scan)
    for value, place in where(seen).items():
        assert place == pytest.approx(want[value], abs=1e-9)
    assert_close(restore(seen.array, seen, scan), scan.array)
    assert_close(restore(seen.array[0], seen, scan), scan.array[0])
    again = orient(orient(seen, "SAR"), code)
    assert_close(again.affine, seen.affine)


def test_there_are_48_orientations():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", ["SA", "SAA", "XYZ", "sar"])
def test_a_wrong_orientation_is_refused(code):
    with pytest.raises(ValueError, match=f"orientation is '{code}'; wanted one of"):
        orient(make(), code)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10_000))
def test_letters_are_those_of_nibabel(seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 5, 3)
    cosines = np.sort(abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)), axis=0)
    if (cosines[2] - cosines[1]).min() < 0.3:
        return  # an axis between two world axes has no one name
    assert orientation_of(affine) == "".join(nib.aff2axcodes(affine))


@pytest.mark.parametrize(
    ("spacing", "axis", "said"),
    [
        ((0.43, 0.43, 6.5), 2, "6.5 mm, the largest spacing, across planes of 0.43 x 0.43 mm"),
        ((0.43, 6.5, 0.43), 1, "6.5 mm, the largest"),
        ((1.0, 1.0, 1.0), 0, "every axis"),
        ((1.0, 1.0, 1.004), 0, "every axis"),
        ((2.4, 3.375, 3.375), 0, "2.4 mm across square planes of 3.38 x 3.38 mm"),
        ((3.0, 1.0, 2.0), 0, "3 mm, the largest"),
    ],
)
def test_depth_is_the_axis_of_the_largest_spacing_and_said(spacing, axis, said):
    plan = plan_depth_axis(spacing, "SAR")
    assert plan.axis == axis
    assert said in plan.said
    assert ("head-foot", "front-back", "left-right")[axis] in plan.said
    assert plan.order[0] == axis


def test_depth_first_brings_that_axis_to_the_front_and_comes_back():
    scan = make(np.diag([0.5, 0.5, 6.0, 1.0]))
    seen = depth_first(scan)
    assert seen.spacing == (6.0, 0.5, 0.5)
    assert seen.size == (4, 2, 3)
    assert where(seen) == where(scan)
    assert_close(restore(seen.array, seen, scan), scan.array)


def test_permuting_wants_each_axis_once():
    with pytest.raises(ValueError, match=r"order is \(0, 0, 1\)"):
        permuted(make(), (0, 0, 1))


def test_a_map_of_another_grid_is_not_restored():
    scan = make()
    with pytest.raises(ScanError, match="resample it back"):
        restore(torch.zeros(3, 3, 4), resampled(scan, (4.0, 2.9, 1.9), size=(3, 3, 4)), scan)
    cropped = scan.with_array(scan.array[:, 1:], scan.affine)
    with pytest.raises(ScanError, match="pad or crop"):
        restore(torch.zeros(1, 3, 4), cropped, scan)
    moved = scan.affine.copy()
    moved[0, 3] += 3
    with pytest.raises(ScanError, match="pad or crop"):
        restore(torch.zeros(2, 3, 4), scan.with_array(scan.array, moved), scan)
    with pytest.raises(ScanError, match="the map has size"):
        restore(torch.zeros(2, 3, 5), scan, scan)


sizes = st.tuples(*[st.integers(2, 9)] * 3)
spacings = st.tuples(*[st.floats(0.4, 6.0)] * 3)


@settings(deadline=None, max_examples=60)
@given(sizes, spacings, st.integers(0, 99))
def test_resampling_finer_is_that_of_simpleitk(size, spacing, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size).astype(np.float32)
    affine = OBLIQUE.copy()
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * spacing
    scan = scan_of(torch.from_numpy(values)[None], affine, source="made", kind="npy")
    finer = tuple(s * f for s, f in zip(scan.spacing, rng.uniform(0.3, 1, 3), strict=True))
    got = resampled(scan, finer)
    assert got.spacing == pytest.approx(finer)
    want = sitk_resample(scan, got)
    inside = want != -99  # SimpleITK gives nothing beyond the outermost samples
    assert np.abs(got.array[0].numpy() - want)[inside].max(initial=0) < 1e-4
    assert inside.mean() > 0.05


@settings(deadline=None, max_examples=40)
@given(sizes, spacings, spacings)
def test_the_nearest_voxel_is_taken(size, spacing, to):
    scan = make(np.diag([*spacing, 1.0]), size)
    got = resampled(scan, to, "nearest")
    for index in itertools.product(*map(range, got.size)):
        place = np.array(got.world(*index)) / spacing
        taken = np.unravel_index(int(got.array[0][index]), size)
        assert np.abs(np.clip(place, 0, np.array(size) - 1) - taken).max() <= 0.5 + 1e-6


def sitk_image(scan):
    lps = np.diag([-1, -1, 1, 1]) @ scan.affine
    image = sitk.GetImageFromArray(scan.array[0].numpy())
    image.SetSpacing(scan.spacing[::-1])
    image.SetOrigin(lps[:3, 3])
    turn = lps[:3, :3] / scan.spacing
    image.SetDirection(turn[:, ::-1].reshape(-1).tolist())
    return image


def sitk_resample(scan, like):
    change = sitk.Transform(3, sitk.sitkIdentity)
    done = sitk.Resample(sitk_image(scan), sitk_image(like), change, sitk.sitkLinear, -99.0)
    return sitk.GetArrayFromImage(done)


@settings(deadline=None, max_examples=40)
@given(sizes, spacings, spacings)
def test_a_constant_stays_and_the_middle_stays(size, spacing, to):
    scan = make(np.diag([*spacing, 1.0]), size)
    got = resampled(scan, to)
    assert got.spacing == pytest.approx(to)
    middle = scan.world(*[(n - 1) / 2 for n in scan.size])
    assert got.world(*[(n - 1) / 2 for n in got.size]) == pytest.approx(middle)
    assert_close(
        resample(torch.full((1, *size), 3.0), spacing, to), torch.full(got.array.shape, 3.0)
    )
    for n, m, s, t in zip(size, got.size, spacing, to, strict=True):
        assert m == 1 or abs(m * t - n * s) <= t / 2 + 1e-6


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(6, 12)] * 3), st.tuples(*[st.floats(1.0, 3.0)] * 3))
def test_coarser_keeps_a_ramp_in_its_place(size, factor):
    """Values that are positions: after averaging, the value still is the position."""
    spacing = (2.0, 1.0, 0.5)
    d, h, w = (torch.arange(n) * s for n, s in zip(size, spacing, strict=True))
    ramp = (d[:, None, None] + 10 * h[:, None] + 100 * w)[None]
    scan = scan_of(ramp.float(), np.diag([*spacing, 1.0]), source="made", kind="npy")
    got = resampled(scan, tuple(s * f for s, f in zip(spacing, factor, strict=True)))
    reach = 1 + np.array(factor) / 2
    for index in itertools.product(*map(range, got.size)):
        x, y, z = got.world(*index)
        old = np.array([x, y, z]) / spacing
        if (old >= reach).all() and (old <= np.array(size) - 1 - reach).all():
            assert float(got.array[0][index]) == pytest.approx(x + 10 * y + 100 * z, rel=1e-4)


def test_coarser_averages_and_does_not_skip():
    stripes = torch.tensor([1.0, 0, 0, 0] * 8).reshape(1, 32, 1, 1)
    got = resample(stripes, (1.0, 1, 1), (4.0, 1, 1))  # the places between hold nothing but 0
    assert (got[0, 1:-1] - 0.25).abs().max() < 0.03


def test_labels_keep_type_and_values_and_come_back():
    labels = torch.randint(0, 4, (1, 8, 9, 10), dtype=torch.uint8, generator=torch.manual_seed(0))
    fine = resample(labels, (2.0, 2, 2), (1.0, 1, 1), "nearest")
    assert fine.dtype == torch.uint8
    assert fine.shape == (1, 16, 18, 20)
    assert_close(resample(fine, (1.0, 1, 1), (2.0, 2, 2), "nearest", (8, 9, 10)), labels)


def test_the_same_spacing_changes_nothing():
    x = torch.randn(2, 4, 5, 6)
    assert_close(resample(x, (1.0, 2, 3), (1.0, 2, 3)), x, rtol=0, atol=0)


@pytest.mark.parametrize("to", [(0.0, 1, 1), (1.0, 1, float("nan")), (-1.0, 1, 1)])
def test_a_spacing_out_of_range_is_refused(to):
    with pytest.raises(ValueError, match="to is"):
        resample(torch.zeros(1, 2, 2, 2), (1.0, 1, 1), to)


def test_modes_and_sizes_are_checked(unchecked):
    with pytest.raises(ValueError, match="mode is 'cubic'"):
        resample(torch.zeros(1, 2, 2, 2), (1.0, 1, 1), (1.0, 1, 1), "cubic")
    with pytest.raises(ValueError, match="size is"):
        resample(torch.zeros(1, 2, 2, 2), (1.0, 1, 1), (1.0, 1, 1), "linear", (0, 1, 1))
