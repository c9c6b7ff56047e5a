"""Overlap of masks: MONAI's Dice, and what empty masks are worth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.overlap import overlap, overlaps


def test_dice_is_that_of_monai(monai_metrics):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 6, 7, 8))
    found = overlaps(a, b, [1, 2])
    one_hot = [torch.from_numpy(np.stack([m == k for k in range(3)]))[None].float() for m in (a, b)]
    expected = monai_metrics.compute_dice(*one_hot, include_background=False)[0]
    assert [found[k].dice for k in (1, 2)] == pytest.approx(expected.tolist())
    iou = monai_metrics.compute_iou(*one_hot, include_background=False)[0]
    assert [found[k].jaccard for k in (1, 2)] == pytest.approx(iou.tolist())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_dice_and_jaccard_say_the_same_and_both_are_symmetric(seed):
    a, b = np.random.default_rng(seed).random((2, 3, 4, 5)) < 0.4
    found, other = overlap(a, b), overlap(b, a)
    if found.found or found.true:
        assert found.dice == pytest.approx(2 * found.jaccard / (1 + found.jaccard))
    assert (found.both, found.dice) == (other.both, pytest.approx(other.dice, nan_ok=True))
    assert found.sensitivity == pytest.approx(other.precision, nan_ok=True)


def test_nothing_there_and_nothing_said_is_no_score():
    none, some = np.zeros((2, 2, 2), dtype=bool), np.ones((2, 2, 2), dtype=bool)
    assert math.isnan(overlap(none, none).dice)
    assert overlap(some, none).dice == overlap(none, some).dice == 0
    assert math.isnan(overlap(some, none).sensitivity)


def test_volumes_are_in_milliliters():
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[:5] = True
    found = overlap(mask, ~mask, (2.0, 1.0, 0.5))
    assert (found.found_ml, found.true_ml) == (0.5, 0.5)


def test_the_volume_of_a_voxel_may_be_given_where_axes_are_sheared():
    mask = np.ones((10, 10, 10), dtype=bool)
    found = overlap(mask, mask, (2.0, 1.0, 0.5), voxel_ml=0.0009)
    assert (found.found_ml, found.true_ml) == pytest.approx((0.9, 0.9))
    assert overlap(mask, mask, (2.0, 1.0, 0.5)).found_ml == pytest.approx(1.0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "spacing"), [((2, 2, 3), (1, 1, 1)), ((2, 2, 2), (1, 1)), ((2, 2, 2), (1, 0, 1))]
)
def test_masks_on_other_grids_and_odd_spacings_are_refused(shape, spacing):
    with pytest.raises(Pseudo3dError, match="wanted"):
        overlap(np.zeros((2, 2, 2)), np.zeros(shape), spacing)
