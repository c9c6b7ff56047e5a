"""Random changes of scans: identity without changes, right in millimeters, masks with them."""

import pytest
import torch

from pseudo3d.data.scans.preprocess import middle
from pseudo3d.engine.volumes.augment import VolumeAugment, augment_volumes


def run(x, how, size=None, masks=None, spacing=(1.0, 1.0, 1.0), seed=0):
    rng = torch.Generator().manual_seed(seed)
    return augment_volumes(x, masks, size or tuple(x.shape[2:]), how, rng, spacing)


@pytest.mark.parametrize("size", [(6, 7, 8), (4, 5, 6), (3, 4, 5), (5, 7, 7)])
def test_without_changes_it_is_the_middle(size):
    x = torch.randn(2, 1, 6, 7, 8)
    masks = torch.randint(0, 3, (2, 6, 7, 8))
    out, moved, mirrored = run(x, VolumeAugment(), size, masks)
    torch.testing.assert_close(out[0], middle(x[0], size), rtol=1e-4, atol=1e-4)
    assert torch.equal(moved[0], middle(masks[0][None], size)[0])
    assert not mirrored.any()


def test_the_same_generator_gives_the_same_scans():
    x, how = torch.randn(2, 1, 5, 6, 7), VolumeAugment(rotate=20, tilt=10, noise=0.2, field=0.2)
    assert torch.equal(run(x, how)[0], run(x, how)[0])
    assert not torch.equal(run(x, how)[0], run(x, how, seed=1)[0])


@pytest.mark.parametrize(
    "change",
    [
        {"rotate": 30.0}, {"tilt": 30.0}, {"zoom": (1.2, 1.4)}, {"stretch": 0.5}, {"shear": 0.3},
        {"shift": 0.2}, {"brightness": 0.5}, {"contrast": 0.5}, {"flip": True},
        {"flip_height": True}, {"flip_depth": True}, {"noise": 0.5}, {"field": 0.5},
    ],
)  # fmt: skip
def test_every_option_changes_something(change):
    x = torch.randn(4, 1, 6, 6, 6)
    assert not torch.allclose(run(x, VolumeAugment(**change))[0], run(x, VolumeAugment())[0])


@pytest.mark.parametrize(("name", "axis"), [("flip", 4), ("flip_height", 3), ("flip_depth", 2)])
def test_a_mirror_image_is_exact_and_only_left_and_right_is_reported(name, axis):
    x = torch.randn(16, 1, 4, 5, 6)
    out, _, mirrored = run(x, VolumeAugment(**{name: True}))
    turned = [torch.allclose(a, b, atol=1e-4) for a, b in zip(out, x.flip(axis), strict=True)]
    kept = [torch.allclose(a, b, atol=1e-4) for a, b in zip(out, x, strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 0 < sum(turned) < 16
    assert mirrored.tolist() == (turned if name == "flip" else [False] * 16)


def test_a_mask_goes_where_its_scan_goes():
    masks = torch.zeros(8, 12, 12, 12, dtype=torch.long)
    masks[:, 3:8, 4:9, 5:10] = 2
    how = VolumeAugment(rotate=25, tilt=25, zoom=(0.9, 1.2), shift=0.1, flip=True)
    out, moved, _ = run(masks[:, None].float(), how, masks=masks)
    agree = (out[:, 0] > 1) == (moved == 2)
    assert agree.float().mean() > 0.97
    assert set(moved.unique().tolist()) == {0, 2}


def test_turning_is_right_in_millimeters():
    # a ball in mm on a grid of thick slices stays one, whatever it is turned by
    spacing = (3.0, 1.0, 1.0)
    d, h, w = (
        (torch.arange(n) - (n - 1) / 2) * s for n, s in zip((11, 33, 33), spacing, strict=True)
    )
    gap = d[:, None, None] ** 2 + h[:, None] ** 2 + w**2
    ball = torch.exp(-gap / 72)[None, None].repeat(6, 1, 1, 1, 1)
    right = run(ball, VolumeAugment(tilt=60), spacing=spacing)[0]
    wrong = run(ball, VolumeAugment(tilt=60))[0]
    assert (right - ball).abs().max() < 0.05 < 0.2 < (wrong - ball).abs().max()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"tilt": -1.0}, "tilt"), ({"field": 1.0}, "field"), ({"saturation": 0.2}, "no colors")],
)
def test_impossible_changes_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        VolumeAugment(**wrong)
