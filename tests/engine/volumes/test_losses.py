"""Losses of masks: zero when right, steeper for what matters."""

import pytest
import torch

from pseudo3d.engine.volumes.losses import mask_loss, overlap_loss


def sure(masks, labels=3, scale=30.0):
    """Logits that say exactly `masks`."""
    return scale * torch.nn.functional.one_hot(masks, labels).movedim(-1, 1).float()


@pytest.mark.parametrize("kind", ["dice_ce", "tversky_focal"])
def test_the_truth_costs_nothing_and_noise_costs_much(kind):
    masks = torch.randint(0, 3, (2, 4, 5, 6), generator=torch.Generator().manual_seed(0))
    assert mask_loss(sure(masks), masks, kind) < 1e-3
    assert mask_loss(torch.zeros(2, 3, 4, 5, 6), masks, kind) > 0.3


def test_dice_is_that_of_counting():
    masks = torch.zeros(1, 2, 4, 4, dtype=torch.long)
    masks[0, 0] = 1
    said = torch.zeros_like(masks)
    said[0, 0, :2] = 1
    wanted = 1 - (8 + 1) / (8 + 0.5 * 8 + 1)
    assert overlap_loss(sure(said, 2), masks).item() == pytest.approx(wanted, abs=1e-4)


def test_a_missed_lesion_costs_more_than_a_false_one():
    lesion = torch.zeros(1, 4, 8, 8, dtype=torch.long)
    lesion[0, 1:3, 2:5, 2:5] = 1
    larger = lesion.clone()
    larger[0, 1:3, 2:5, 5:8] = 1
    missed = overlap_loss(sure(lesion, 2), larger, missed=0.7)
    false = overlap_loss(sure(larger, 2), lesion, missed=0.7)
    assert missed > 1.3 * false


def test_a_patch_without_the_label_is_no_case_of_its_own():
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.long)
    masks[0, 0] = 1
    said = masks.clone()
    said[1, 0, 0, 0] = 1  # one wrong voxel where there is nothing to find
    assert overlap_loss(sure(said, 2), masks) < 0.05
