"""Stored values become the network's: known windows for CT, the foreground's own scale for MRI."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from data.scans.dicoms import image, save
from pseudo3d.data.scans.intensity import CT, foreground, percentiles, plan_intensity, windowed
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import ScanError, scan_of


def made(values, kind="nifti", **rest):
    array = torch.as_tensor(values)
    array = array.reshape((1, 1, 1, -1)) if array.ndim == 1 else array
    return scan_of(array, np.eye(4), source=Path("made"), kind=kind, **rest)


@pytest.mark.parametrize("name", CT)
def test_ct_windows_bring_their_edges_to_0_and_1(name):
    center, width = CT[name]
    low, high = center - width / 2, center + width / 2
    values = torch.tensor([low - 500, low, center, high, high + 500]).short()
    got = windowed(made(values, units="HU"), name)
    assert got.dtype == torch.float32
    assert_close(got.flatten(), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_windows_apply_to_rescaled_values(tmp_path):
    """Stored 0 is -1024 HU: black in every window; stored 1064 is 40 HU: the brain's middle."""
    pixels = np.array([[0, 1064]], np.int16).tobytes()
    folder = save(tmp_path, [image(n, shape=(1, 2), PixelData=pixels) for n in range(2)])
    assert windowed(read_scan(folder), "brain")[0, 0, 0].tolist() == [0.0, 0.5]


def test_a_ct_window_is_refused_for_what_is_no_ct():
    with pytest.raises(ScanError, match="'lung' is meant for CT in HU, the scan is MR"):
        windowed(made([1.0, 2.0], meta={"modality": "MR"}), "lung")
    windowed(made([1.0, 2.0]), "lung")  # NIfTI does not say what it is


def test_edges_are_the_same_for_every_scan_whatever_window_it_asks_for():
    own = {"window_center": "-600", "window_width": "1500"}
    for meta in ({}, own, {"modality": "CT", **own}):
        scan = made([-160, 40, 240, 900], units="HU", meta=meta)
        assert windowed(scan, (-160.0, 240.0)).flatten().tolist() == [0.0, 0.5, 1.0, 1.0]
    with pytest.raises(ScanError, match=r"\(-160.0, 240.0\) is meant for CT in HU, the scan is MR"):
        windowed(made([1.0, 2.0], meta={"modality": "MR"}), (-160.0, 240.0))


@pytest.mark.parametrize("edges", [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_edges_that_are_no_range_are_refused(edges):
    with pytest.raises(ScanError, match="wanted two finite numbers, the lower one first"):
        windowed(made([1.0, 2.0]), edges)


def test_an_unknown_window_names_the_known():
    with pytest.raises(ScanError, match=r"unknown window: 'lungs'. Did you mean lung"):
        windowed(made([1.0, 2.0]), "lungs")


@pytest.mark.parametrize(
    ("scan", "kind", "center"),
    [
        (
            made([0, 5], units="HU", meta={"window_center": "30", "window_width": "80"}),
            "window",
            30,
        ),
        (made([0, 5], units="HU"), "window", 0),
        (made([0, 5], units="HU", meta={"window_center": "30", "window_width": "0"}), "window", 0),
        (made([-1024, 900]), "window", 0),
        (made([-1024, 900], meta={"modality": "MR"}), "mri", 0),
        (made([-4096, 4095]), "mri", 0),
        (made([0, 900]), "mri", 0),
        (made([0.0, 1.0]), "unit", 0),
        (made(torch.tensor([0, 255], dtype=torch.uint8), "npz"), "unit", 0),
        (made(torch.tensor([0, 255], dtype=torch.uint8), "nifti"), "mri", 0),
    ],
)
def test_auto_decides_by_units_and_range_and_says_so(scan, kind, center):
    plan = plan_intensity(scan, "auto")
    assert (plan.kind, plan.center) == (kind, center)
    assert plan.said
    assert_close(windowed(scan, "auto"), windowed(scan, "auto"))


def head(noise=20.0, tissue=600.0, seed=0):
    """A ball of tissue in noisy air."""
    rng = torch.Generator().manual_seed(seed)
    grid = torch.linspace(-1, 1, 24)
    ball = grid[:, None, None] ** 2 + grid[:, None] ** 2 + grid**2 < 0.5
    values = (torch.randn(24, 24, 24, generator=rng) * noise).abs()
    values[ball] += tissue + 100 * torch.randn(int(ball.sum()), generator=rng)
    return values[None], ball[None]


def test_mri_has_mean_0_and_deviation_1_within_the_foreground():
    values, ball = head()
    got = windowed(made(values), "mri")
    assert (foreground(values[0]) == ball[0]).float().mean() > 0.999
    assert float(got[ball].mean()) == pytest.approx(0, abs=0.02)
    assert float(got[ball].std()) == pytest.approx(1, abs=0.02)
    assert float(got[~ball].max()) < float(got[ball].median())


@pytest.mark.parametrize("factor", [0.001, 1.0, 1000.0])
def test_mri_does_not_depend_on_the_scanners_scale(factor):
    values, _ = head()
    assert_close(windowed(made(values * factor), "mri"), windowed(made(values), "mri"),
                 rtol=1e-3, atol=1e-3)  # fmt: skip


def test_one_voxel_of_a_million_moves_nothing():
    values, ball = head()
    spoiled = values.clone()
    spoiled[0, 12, 12, 12] = 1.7e6
    before, after = windowed(made(values), "mri"), windowed(made(spoiled), "mri")
    assert float((before - after)[ball].abs().median()) < 0.01
    assert float(after.max()) < 5


def test_air_that_is_zero_stays_out():
    values, ball = head(noise=0.0)
    got = windowed(made(values), "mri")
    assert float(got[ball].mean()) == pytest.approx(0, abs=0.02)


def test_each_channel_has_its_own_scale():
    values, _ = head()
    both = torch.cat([values, 7 * values + 100])
    got = windowed(made(both), "mri")
    assert_close(got[0], got[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["mri", "unit", "lung", "none", "auto"])
def test_what_is_not_a_number_never_reaches_the_network(name):
    values, _ = head()
    values[0, 0, 0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    before = values.clone()
    got = windowed(made(values), name)
    assert got.isfinite().all()
    assert_close(values, before, equal_nan=True)  # the scan itself is left alone


@pytest.mark.parametrize("name", ["mri", "unit", "auto"])
@pytest.mark.parametrize("value", [0.0, 7.0, math.nan])
def test_a_constant_volume_is_finite(name, value):
    assert windowed(made([value] * 8), name).isfinite().all()


def test_unit_keeps_masks_and_scales_bytes():
    assert windowed(made(torch.tensor([0, 1], dtype=torch.uint8)), "unit").tolist() == [[[[0, 1]]]]
    got = windowed(made(torch.tensor([0, 51, 102], dtype=torch.uint8)), "unit")
    assert_close(got.flatten(), torch.tensor([0.0, 0.2, 0.4]))
    got = windowed(made([-5.0, 0.0, 5.0]), "unit")
    assert_close(got.flatten(), torch.tensor([0.0, 0.5, 1.0]))


def test_percentiles_are_those_of_numpy():
    values = torch.randn(31, 33, generator=torch.manual_seed(0))
    want = np.percentile(values.numpy(), [0.5, 40, 99.5])
    assert percentiles(values, (0.5, 40, 99.5)) == pytest.approx(want, rel=1e-5)


def test_percentiles_of_many_voxels_come_from_a_sample(monkeypatch):
    monkeypatch.setattr("pseudo3d.data.scans.intensity.SAMPLE", 2000)
    values = torch.linspace(0, 1, 64**3).reshape(64, 64, 64)
    assert percentiles(values, (10.0, 90.0)) == pytest.approx([0.1, 0.9], abs=0.01)


def test_every_hippocampus_scan_is_on_one_scale(shared_data):
    """One of them peaks at 1.7e6 where the median is 2e3."""
    files = sorted((shared_data / "volumes/hippocampus/images").glob("*.nii.gz"))[::10]
    assert len(files) > 20
    for file in files:
        got = windowed(read_scan(file), "auto")
        assert abs(float(got.median())) < 0.7, file
        assert 1.5 < float(got.max()) < 6, file
