"""Drawn clips show what a network of known taste wants to see."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import read_video
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.visualize import Drawing, imagine, normalize, smooth, write_clip
from pseudo3d.models import create_model
from pseudo3d.weights import Card

SHORT = Drawing(steps=12, octaves=(0.75, 1.0))
VALUES = {
    "rgb": {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)},
    "bgr": {"mean": (104.0, 117.0, 123.0), "std": (1.0, 2.0, 3.0), "scale": 1.0},
    "gray": {"mean": (0.45,), "std": (0.3,)},
}


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(VALUES)), st.booleans(), st.booleans(), st.integers(1, 5))
def test_the_form_with_a_gradient_agrees_with_the_fast_one(color, difference, one, frames):
    pre = Preprocessing(resize=8, size=(8, 6), color=color, difference=difference, **VALUES[color])
    channels = 1 if one and color == "gray" else 3
    rng = torch.Generator().manual_seed(frames)
    clips = torch.randint(0, 256, (2, channels, frames, 8, 6), generator=rng)
    x = clips.float().requires_grad_()
    ours = normalize(pre, x)
    assert torch.allclose(ours, pre.normalize(clips.to(torch.uint8)), atol=1e-4)
    ours.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax((0, 2, 3, 4)).min() > 0


def later_minus_earlier(x):
    half = x.shape[2] // 2
    return x[:, :, half:].mean((1, 2, 3, 4)) - x[:, :, :half].mean((1, 2, 3, 4))


@pytest.mark.parametrize("pre", [{}, {"color": "gray"}, {"color": "bgr"}])
def test_a_clip_for_brighter_later_gets_brighter(judged, pre):
    net = judged(
        later_minus_earlier, mean=(120.0,) * (1 if pre.get("color") == "gray" else 3), **pre
    )
    up, down = (imagine(net, label, SHORT) for label in ("up", "down"))
    for clip, sign in ((up, 1), (down, -1)):
        assert clip.frames.shape == (3, 8, 16, 16)
        light = clip.frames.float().mean((0, 2, 3))
        assert sign * (light[4:].mean() - light[:4].mean()) > 40
        assert clip.probability > 0.95


def test_a_network_that_sees_differences_only_gets_them(judged):
    def flicker(x):
        return x[:, 3:].abs().mean((1, 2, 3, 4)) - 20

    net = judged(flicker, difference=True, mean=(120.0,) * 3)
    restless, still = (imagine(net, label, SHORT).frames.float() for label in ("up", "down"))
    change = restless.diff(dim=1).abs().mean(), still.diff(dim=1).abs().mean()
    assert change[0] > 3 * change[1]


@pytest.fixture(scope="module")
def nano():
    """A tiny P3D with random weights."""
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=3, in_channels=1)
    pre = Preprocessing(frames=6, resize=24, size=(24, 20), color="gray", mean=(0.4,), std=(0.25,))
    net.card = Card(name="p3d_nano", config={}, classes=("a", "b", "c"), preprocessing=pre)
    return net.eval()


def test_a_class_gets_its_own_clip_and_the_network_stays_as_it_was(nano):
    before = [p.clone() for p in nano.state_dict().values()]
    told = []
    clips = {
        name: imagine(nano, name, SHORT, lambda *tick: told.append(tick)) for name in ("a", "b")
    }
    normalize = nano.card.preprocessing.normalize
    with torch.no_grad():
        probs = {
            name: nano(normalize(clip.frames[None, :1])).softmax(1)[0]
            for name, clip in clips.items()
        }
    for name, other in (("a", "b"), ("b", "a")):
        own = "abc".index(name)
        assert float(probs[name][own]) == pytest.approx(clips[name].probability, abs=1e-4)
        assert probs[name][own] > probs[other][own]
    assert told[23] == (24, 24)
    assert all(torch.equal(a, b) for a, b in zip(before, nano.state_dict().values(), strict=True))
    assert all(p.grad is None for p in nano.parameters())


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 13},
        {"octaves": (0.9, 1.0)},
        {"rate": 8.0},
        {"jitter": 0},
        {"blur": (1.0, 0.5)},
        {"time_blur": 0.0},
        {"variation": 0.5},
        {"noise": 5.0},
        {"contrast": 240.0},
        {"fade": 0.1},
        {"seed": 1},
    ],
)
def test_every_option_changes_the_clip(nano, change):
    same = imagine(nano, "a", SHORT).frames
    assert torch.equal(same, imagine(nano, "a", SHORT).frames)
    assert not torch.equal(same, imagine(nano, "a", replace(SHORT, **change)).frames)


def test_what_cannot_be_drawn_is_refused(nano, judged):
    with pytest.raises(Pseudo3dError, match="'d'"):
        imagine(nano, "d")
    flow = {"color": "flow", "mean": (0.0,) * 2, "std": (1.0,) * 2}
    with pytest.raises(Pseudo3dError, match="flow"):
        imagine(judged(torch.sum, **flow), "up")
    for wrong in ({"steps": 0}, {"octaves": ()}, {"octaves": (2.0,)}, {"jitter": -1}):
        with pytest.raises(ValueError, match="wanted"):
            Drawing(**wrong)


def test_smoothing_keeps_the_sum_and_spreads_along_one_axis():
    x = torch.zeros(1, 9, 9)
    x[0, 4, 4] = 1
    y = smooth(x, 1.0, axis=-1)
    assert y.sum() == pytest.approx(1.0, abs=1e-5)
    assert y[0, 4].count_nonzero() == 7
    assert y.count_nonzero() == 7
    assert smooth(x, 0.0, axis=-1) is x


def test_the_video_is_large_enough_to_be_seen(tmp_path):
    clip = torch.randint(0, 256, (3, 5, 16, 20), dtype=torch.uint8)
    write_clip(clip, tmp_path / "clip.mp4", fps=8)
    video = read_video(tmp_path / "clip.mp4")
    assert video.frames.shape == (3, 5, 256, 320)
    assert video.info.fps == 8
