"""Size and place of the picture, and that augmentation changes nothing but what it says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pseudo3d.data.transforms import Augment, augment, center_crop, resize, short_side
from pseudo3d.engine.training.recipes import RECIPES, Recipe
from pseudo3d.errors import Pseudo3dError

CANVAS, SIZE = (49, 61), (40, 48)
EVERYTHING = Augment(rotate=20, zoom=(0.8, 1.3), stretch=0.2, shear=0.1, shift=0.1, brightness=0.3)
sides = st.integers(1, 40)
quick = settings(deadline=None, max_examples=40)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=2, c=3, t=3, size=CANVAS):
    return torch.rand(n, c, t, *size, generator=generator(9)) * 255


def spots(count, down, right, size=(81, 97)):
    """Clips of one frame with a soft bright spot `down` and `right` of the middle, in pixels."""
    y = torch.arange(size[0]).view(-1, 1) - (size[0] - 1) / 2 - down
    x = torch.arange(size[1]).view(1, -1) - (size[1] - 1) / 2 - right
    spot = torch.exp(-(x.square() + y.square()) / (2 * 1.5**2))
    return spot.expand(count, 1, 1, *size).clone()


def found(clips):
    """Center of mass of each clip, (down, right) of the middle."""
    image = clips[:, 0, 0].double()
    mass = image.sum((1, 2))
    h, w = image.shape[1:]
    y = (image.sum(2) * (torch.arange(h) - (h - 1) / 2)).sum(1) / mass
    x = (image.sum(1) * (torch.arange(w) - (w - 1) / 2)).sum(1) / mass
    return y, x


@quick
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 20))
def test_resize_keeps_bytes_and_sets_the_short_side(height, width, side):
    video = torch.randint(0, 256, (3, 2, height, width), dtype=torch.uint8)
    out = resize(video, side)
    assert out.dtype == torch.uint8
    assert out.shape[:2] == (3, 2)
    assert min(out.shape[2:]) == side
    assert out.shape[2:] == short_side(height, width, side)
    long = max(height, width) * side / min(height, width)
    assert abs(max(out.shape[2:]) - long) <= 0.5 + 1e-9


def test_resize_averages_what_it_shrinks():
    stripes = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    stripes[..., ::4] = 200  # samples in the middle of four columns would miss them
    inside = resize(stripes, 4)[..., 1:-1].int()
    assert (inside - 50).abs().max() <= 20


def test_resize_takes_both_sides_and_leaves_a_fitting_video_alone():
    video = torch.randint(0, 256, (3, 2, 12, 20), dtype=torch.uint8)
    assert resize(video, (7, 9)).shape == (3, 2, 7, 9)
    assert resize(video, 12) is video


@quick
@given(sides, sides, sides, sides)
def test_center_crop_keeps_the_middle(height, width, tall, wide):
    clips = torch.arange(1, height * width + 1).view(1, 1, 1, height, width)
    out = center_crop(clips, (tall, wide))
    assert out.shape == (1, 1, 1, tall, wide)
    kept = out[out > 0]
    assert len(kept) == min(height, tall) * min(width, wide)
    for axis, have, want in ((-2, height, tall), (-1, width, wide)):
        start = (have - want) // 2 if have >= want else 0
        pad = (want - have) // 2 if have < want else 0
        first = kept.min() - 1
        place = first // width if axis == -2 else first % width
        assert int(place) == start
        line = out[0, 0, 0].any(dim=1 if axis == -2 else 0)
        assert int(line.int().argmax()) == pad


@quick
@given(st.integers(9, 20), st.integers(9, 20), st.integers(5, 16), st.integers(5, 16))
def test_augment_without_changes_is_the_center_crop(height, width, tall, wide):
    clips = noise(size=(height, width))
    out, mirrored = augment(clips, (tall, wide), Augment(), generator())
    assert_close(out, center_crop(clips, (tall, wide)), rtol=0, atol=2e-3)
    assert not mirrored.any()


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_zoom_moves_a_spot_away_from_the_middle(zoom):
    out, _ = augment(spots(3, 6, -8), (61, 65), Augment(zoom=(zoom, zoom)), generator())
    y, x = found(out)
    assert_close(y, torch.full((3,), 6 * zoom, dtype=torch.float64), atol=0.05, rtol=0)
    assert_close(x, torch.full((3,), -8 * zoom, dtype=torch.float64), atol=0.05, rtol=0)


def test_zoom_is_drawn_between_its_ends():
    out, _ = augment(spots(300, 0, 10), (61, 65), Augment(zoom=(0.5, 2.0)), generator())
    factor = found(out)[1] / 10
    assert 0.49 < factor.min() < 0.56
    assert 1.8 < factor.max() < 2.02
    assert 0.35 < float((factor < 1).double().mean()) < 0.65  # as often smaller as larger


def test_shift_is_a_fraction_of_each_side():
    out, _ = augment(spots(300, 0, 0), (41, 61), Augment(shift=0.2), generator())
    for moved, most in zip(found(out), (8.2, 12.2), strict=True):
        assert 0.9 * most < moved.max() <= most + 0.05
        assert -most - 0.05 <= moved.min() < -0.9 * most
        assert moved.double().mean().abs() < 0.15 * most


def test_rotation_keeps_the_distance_and_turns_within_its_bound():
    out, _ = augment(spots(300, 0, 15), (61, 65), Augment(rotate=30), generator())
    y, x = found(out)
    assert_close(torch.hypot(y, x), torch.full((300,), 15.0, dtype=torch.float64), atol=0.1, rtol=0)
    angle = torch.rad2deg(torch.atan2(y, x))
    assert 27 < angle.max() < 30.5
    assert -30.5 < angle.min() < -27


def test_stretch_changes_the_aspect_and_keeps_the_area():
    out, _ = augment(spots(300, 10, 10), (61, 65), Augment(stretch=0.5), generator())
    y, x = found(out)
    assert_close(y * x, torch.full((300,), 100.0, dtype=torch.float64), atol=2.0, rtol=0)
    aspect = x / y
    assert 1.4 < aspect.max() < 1.52
    assert 1 / 1.52 < aspect.min() < 1 / 1.4


def test_shear_moves_rows_sideways_by_their_height():
    out, _ = augment(spots(300, 12, 0), (61, 65), Augment(shear=0.5), generator())
    y, x = found(out)
    assert_close(y, torch.full((300,), 12.0, dtype=torch.float64), atol=0.05, rtol=0)
    assert 5.4 < x.max() < 6.05
    assert -6.05 < x.min() < -5.4


def test_flip_mirrors_half_of_the_clips_exactly():
    clips = noise(n=64, c=1, t=1)
    out, mirrored = augment(clips, SIZE, Augment(flip=True), generator())
    plain = center_crop(clips, SIZE)
    wanted = torch.where(mirrored.view(-1, 1, 1, 1, 1), plain.flip(-1), plain)
    assert_close(out, wanted, rtol=0, atol=5e-3)
    assert 16 <= int(mirrored.sum()) <= 48


def test_a_mirrored_clip_is_the_mirror_of_its_otherwise_changed_self():
    clips = noise(n=8)
    how = {f: getattr(EVERYTHING, f) for f in ("rotate", "zoom", "shear", "shift", "stretch")}
    plain, _ = augment(clips, SIZE, Augment(**how), generator(4))
    out, mirrored = augment(clips, SIZE, Augment(**how, flip=True), generator(4))
    wanted = torch.where(mirrored.view(-1, 1, 1, 1, 1), plain.flip(-1), plain)
    assert 0 < int(mirrored.sum()) < 8
    assert_close(out, wanted, rtol=0, atol=5e-3)


def test_all_frames_and_channels_of_a_clip_change_alike():
    still = noise(n=4, c=1, t=1).expand(4, 3, 5, *CANVAS)
    out, _ = augment(still, SIZE, EVERYTHING, generator())
    assert_close(out, out[:, :1, :1].expand_as(out), rtol=0, atol=1e-3)
    clips = out[:, 0, 0]
    assert all((clips[0] - other).abs().mean() > 1 for other in clips[1:])


def test_brightness_scales_each_clip_by_one_factor():
    clips = noise(n=50, c=1, t=2)
    out, _ = augment(clips, SIZE, Augment(brightness=0.4), generator())
    plain = center_crop(clips, SIZE)
    factor = out.sum((1, 2, 3, 4)) / plain.sum((1, 2, 3, 4))
    assert_close(out, plain * factor.view(-1, 1, 1, 1, 1), rtol=1e-3, atol=0.05)
    assert 0.6 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.4


def test_contrast_moves_values_from_the_clips_mean():
    clips = noise(n=50, c=1, t=2)
    out, _ = augment(clips, SIZE, Augment(contrast=0.4), generator())
    plain = center_crop(clips, SIZE)
    mean = plain.mean((1, 2, 3, 4), keepdim=True)
    factor = (out.std((1, 2, 3, 4)) / plain.std((1, 2, 3, 4))).view(-1, 1, 1, 1, 1)
    assert_close(out, mean + (plain - mean) * factor, rtol=1e-3, atol=0.05)
    assert 0.6 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.4001


def test_saturation_moves_colors_from_gray_and_leaves_gray_clips_alone():
    clips = noise(n=50, t=2)
    out, _ = augment(clips, SIZE, Augment(saturation=0.4), generator())
    plain = center_crop(clips, SIZE)
    gray = plain.mean(1, keepdim=True)
    factor = (out - gray).flatten(1).norm(dim=1) / (plain - gray).flatten(1).norm(dim=1)
    assert_close(out, gray + (plain - gray) * factor.view(-1, 1, 1, 1, 1), rtol=1e-3, atol=0.05)
    assert 0.6 <= factor.min() < 0.7
    assert 1.3 < factor.max() <= 1.4001
    single, _ = augment(clips[:, :1], SIZE, Augment(saturation=0.4), generator())
    assert_close(single, plain[:, :1], rtol=0, atol=5e-3)


def test_augment_follows_the_generator_and_leaves_the_clip_alone():
    clips = noise()
    before = clips.clone()
    first, _ = augment(clips, SIZE, EVERYTHING, generator(1))
    again, _ = augment(clips, SIZE, EVERYTHING, generator(1))
    other, _ = augment(clips, SIZE, EVERYTHING, generator(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(clips, before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"zoom": (1.2, 0.8)},
        {"zoom": (0.0, 1.0)},
        {"rotate": -1},
        {"shift": -0.1},
        {"stretch": -0.1},
        {"shear": -0.1},
        {"brightness": -0.1},
        {"brightness": 1.0},
        {"contrast": 1.0},
        {"contrast": -0.1},
        {"saturation": 1.0},
        {"saturation": -0.1},
    ],
)
def test_augment_refuses_impossible_values(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=name) as caught:
        Augment(**wrong)
    assert str(value) in str(caught.value)


def test_swap_exchanges_labels():
    how = Augment(flip=True, swap={"left": "right"})
    assert how.swap_labels(("clap", "left", "right")).tolist() == [0, 2, 1]
    both = Augment(flip=True, swap={"left": "right", "right": "left"})
    assert both.swap_labels(("clap", "left", "right")).tolist() == [0, 2, 1]
    assert Augment().swap_labels(("a", "b")).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("swap", "told"),
    [
        ({"left": "rigth"}, "'rigth'"),
        ({"up": "left"}, "'up'"),
        ({"a": "left", "left": "b"}, "left"),
    ],
)
def test_swap_refuses_unknown_labels_and_what_is_no_exchange(swap, told):
    with pytest.raises(Pseudo3dError, match=told):
        Augment(flip=True, swap=swap).swap_labels(("a", "b", "left"))


def test_nothing_is_mirrored_unless_asked_for():
    assert not Augment().flip
    assert not Recipe().augment.flip
    assert not RECIPES["cpu"].augment.flip
    _, mirrored = augment(noise(n=200, c=1, t=1), SIZE, RECIPES["cpu"].augment, generator())
    assert not mirrored.any()


def test_contrast_and_saturation_move_values_from_their_mean():
    clips = torch.rand(6, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, _ = augment(clips, (8, 8), Augment(), torch.Generator())
    rng = torch.Generator().manual_seed(1)
    contrasted, _ = augment(clips, (8, 8), Augment(contrast=0.5), rng)
    means = plain.mean(dim=(1, 2, 3, 4), keepdim=True)
    factors = (contrasted - means) / (plain - means)
    spread = factors.flatten(1)
    assert torch.allclose(spread, spread[:, :1].expand_as(spread), atol=1e-2)
    assert spread[:, 0].min() < 0.9
    assert spread[:, 0].max() > 1.1

    rng = torch.Generator().manual_seed(1)
    colored, _ = augment(clips, (8, 8), Augment(saturation=0.5), rng)
    assert torch.allclose(colored.mean(1), plain.mean(1), atol=1e-5)
    assert not torch.allclose(colored, plain, atol=1e-2)


def test_swapping_labels_without_mirroring_is_refused():
    with pytest.raises(ValueError, match="flip=True"):
        Augment(swap={"left": "right"})
