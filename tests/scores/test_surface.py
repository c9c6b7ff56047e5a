"""Distances between borders: MONAI's on the same masks, millimeters, empty masks, real labels."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.surface import border, surface_distances


def ball(shape, middle, radius, spacing=(1.0, 1.0, 1.0)):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return np.linalg.norm((grid - middle) * spacing, axis=-1) <= radius


def blobs(seed, shape=(9, 12, 14)):
    rng = np.random.default_rng(seed)
    return [
        np.logical_or.reduce(
            [ball(shape, rng.uniform(0, shape), rng.uniform(1, 4)) for _ in range(3)]
        )
        for _ in range(2)
    ]


def theirs(metrics, a, b, spacing, tolerance):
    masks = [torch.from_numpy(m)[None, None].float() for m in (a, b)]
    common = {"include_background": True, "spacing": spacing}
    with warnings.catch_warnings():  # MONAI calls its own deprecated option
        warnings.simplefilter("ignore", FutureWarning)
        return [
            float(metrics.compute_hausdorff_distance(*masks, percentile=95, **common)),
            float(metrics.compute_hausdorff_distance(*masks, **common)),
            float(metrics.compute_surface_dice(*masks, class_thresholds=[tolerance], **common)),
            float(metrics.compute_average_surface_distance(*masks, symmetric=True, **common)),
        ]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (6.5, 0.43, 0.43), (2.0, 1.0, 0.7)])
@pytest.mark.parametrize("seed", range(6))
def test_borders_agree_with_monai(monai_metrics, seed, spacing):
    a, b = blobs(seed)
    found = surface_distances(a, b, spacing)
    ours = [found.hd95_mm, found.hausdorff(), found.surface_dice(1.0), found.mean_mm]
    assert ours == pytest.approx(theirs(monai_metrics, a, b, spacing, 1.0), rel=1e-5)


def test_real_labels_agree_with_monai(monai_metrics, shared_data):
    nibabel = pytest.importorskip("nibabel")
    folder = shared_data / "volumes/hippocampus/labels"
    image = nibabel.load(folder / "hippocampus_001.nii.gz")
    true = np.asarray(image.dataobj).astype(int)
    said = np.roll(true, 2, axis=1)
    for label in (1, 2):
        a, b = said == label, true == label
        found = surface_distances(a, b, (1.0, 1.0, 1.0))
        ours = [found.hd95_mm, found.hausdorff(), found.surface_dice(1.0), found.mean_mm]
        assert ours == pytest.approx(theirs(monai_metrics, a, b, (1.0, 1.0, 1.0), 1.0), rel=1e-5)
        assert 1 <= found.hd95_mm <= 2


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_distances_grow_with_the_spacing_and_are_symmetric(seed, scale):
    a, b = blobs(seed, (5, 6, 7))
    one = surface_distances(a, b, (2.0, 1.0, 1.0))
    large = surface_distances(a, b, (2 * scale, scale, scale))
    back = surface_distances(b, a, (2.0, 1.0, 1.0))
    if one.empty is None:
        assert large.hd95_mm == pytest.approx(scale * one.hd95_mm)
        assert back.hd95_mm == one.hd95_mm
        assert back.surface_dice(1.0) == one.surface_dice(1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_costs_the_spacing_of_its_axis(axis):
    spacing = (6.5, 0.5, 2.0)
    a = np.zeros((9, 9, 9), dtype=bool)
    a[3:6, 3:6, 3:6] = True
    found = surface_distances(np.roll(a, 1, axis), a, spacing)
    assert found.hausdorff() == pytest.approx(spacing[axis])
    assert found.surface_dice(spacing[axis]) == 1.0  # the tolerance itself is allowed
    assert found.surface_dice(0.99 * spacing[axis]) < 1.0


def test_the_border_is_what_has_a_neighbor_outside_and_the_edge_of_the_volume():
    whole = np.ones((4, 5, 6), dtype=bool)
    assert border(whole).sum() == 4 * 5 * 6 - 2 * 3 * 4
    thin = np.zeros((3, 3, 3), dtype=bool)
    thin[1] = True
    assert (border(thin) == thin).all()


def test_an_empty_mask_is_infinitely_far_and_two_are_nothing():
    none, some = np.zeros((4, 4, 4), dtype=bool), ball((4, 4, 4), 2, 1)
    for pair in ((none, some), (some, none)):
        found = surface_distances(*pair, (1.0, 1.0, 1.0))
        assert found.hd95_mm == found.mean_mm == math.inf
        assert found.surface_dice(1.0) == 0
    both = surface_distances(none, none, (1.0, 1.0, 1.0))
    assert math.isnan(both.hd95_mm)
    assert math.isnan(both.surface_dice(1.0))


def test_a_negative_tolerance_is_refused():
    mask = ball((4, 4, 4), 2, 1)
    with pytest.raises(Pseudo3dError, match="wanted 0 or more"):
        surface_distances(mask, mask, (1.0, 1.0, 1.0)).surface_dice(-1.0)
