"""Bytes become the network's input exactly as the preprocessing says."""

import json
from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError

RGB = Preprocessing(resize=8, size=(6, 4), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
CAFFE = Preprocessing(
    resize=8, size=(6, 4), color="bgr", scale=1.0, mean=(104.0, 117.0, 123.0), std=(1.0,) * 3
)
GRAY = Preprocessing(resize=8, size=(6, 4), color="gray", mean=(0.0,), std=(1.0,))


def clips(channels=3, frames=3):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, channels, frames, 5, 4), generator=draw, dtype=torch.uint8)


def test_each_channel_is_scaled_and_standardized():
    x = clips()
    y = RGB.normalize(x)
    assert y.dtype == torch.float32
    assert_close(y[:, 1], (x[:, 1].float() / 255 - 0.4) / 0.25)


def test_caffe_style_swaps_red_and_blue_and_subtracts_bytes():
    x = clips()
    y = CAFFE.normalize(x)
    assert_close(y[:, 0], x[:, 2].float() - 104)
    assert_close(y[:, 2], x[:, 0].float() - 123)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_any_real_type_gives_the_same_numbers(dtype):
    assert_close(RGB.normalize(clips().to(dtype)), RGB.normalize(clips()))


def test_the_clip_given_is_left_alone():
    x = clips().float()
    before = x.clone()
    for pre in (RGB, CAFFE, replace(RGB, difference=True)):
        pre.normalize(x)
    assert torch.equal(x, before)


def test_difference_channels_hold_what_moves():
    pre = replace(RGB, difference=True, difference_std=0.5)
    x = clips()
    y = pre.normalize(x)
    assert y.shape[1] == pre.channels == 6
    assert_close(y[:, :3], RGB.normalize(x))
    assert not y[:, 3:, 0].any()
    assert_close(y[:, 4, 2], (x[:, 1, 2].float() - x[:, 1, 1].float()) / 255 / 0.5)


def test_difference_of_one_frame_is_zero():
    assert not replace(GRAY, difference=True).normalize(clips(1, 1))[:, 1:].any()


def test_gray_frames_feed_a_color_network_and_color_frames_a_gray_one():
    gray = clips(1)
    assert_close(RGB.normalize(gray), RGB.normalize(gray.expand(-1, 3, -1, -1, -1)))
    assert_close(GRAY.normalize(gray.expand(-1, 3, -1, -1, -1)), gray.float() / 255)
    red = torch.zeros(1, 3, 1, 1, 1)
    red[:, 0] = 255
    assert_close(GRAY.normalize(red).flatten(), torch.tensor([0.299]))


def test_flow_keeps_its_two_channels_as_read():
    flow = replace(CAFFE, color="flow", mean=(128.0, 128.0), std=(1.0, 1.0))
    x = clips(2)
    assert flow.channels == 2
    assert_close(flow.normalize(x), x.float() - 128)


def test_crop_cuts_the_middle():
    x = torch.arange(48, dtype=torch.uint8).reshape(1, 1, 1, 8, 6)
    assert torch.equal(RGB.crop(x), x[..., 1:7, 1:5])


@pytest.mark.parametrize(
    "pre", [RGB, CAFFE, replace(GRAY, sampling="dense", fps=12.5, difference=True)]
)
def test_survives_json(pre):
    assert Preprocessing.from_dict(json.loads(json.dumps(pre.to_dict()))) == pre


def test_every_value_of_normalize_changes_the_result():
    """No field among them leads nowhere."""
    base = replace(RGB, difference=True)
    changed = {
        "color": "bgr",
        "difference": False,
        "scale": 100.0,
        "mean": (0.1, 0.2, 0.3),
        "std": (1.0, 1.0, 1.0),
        "difference_std": 1.0,
    }
    other = {"frames", "sampling", "step", "fps", "resize", "size"}  # read by samplers and crop
    assert changed.keys() | other == {f.name for f in fields(Preprocessing)}
    wanted = base.normalize(clips())
    for name, value in changed.items():
        got = replace(base, **{name: value}).normalize(clips())
        assert got.shape != wanted.shape or not torch.equal(got, wanted), name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampling": "random"}, "sampling is 'random'"),
        ({"color": "yuv"}, "color is 'yuv'"),
        ({"frames": 0}, "frames is 0"),
        ({"step": 2}, "sampling='dense'"),
        ({"fps": 10.0}, "sampling='dense'"),
        ({"sampling": "dense", "fps": 10.0, "step": 2}, "leave one out"),
        ({"sampling": "dense", "fps": -1.0}, "fps is -1.0"),
        ({"sampling": "dense", "step": 0}, "step is 0"),
        ({"size": (9, 9)}, "set resize to 9"),
        ({"size": (6,)}, "height, width"),
        ({"resize": 0}, "resize is 0"),
        ({"mean": (0.5,)}, "wants 3 finite"),
        ({"mean": (0.5, 0.5, float("nan"))}, "wants 3 finite"),
        ({"std": (1.0, 0.0, 1.0)}, "std is"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"difference_std": 0.0}, "difference_std is 0.0"),
    ],
)
def test_impossible_values_are_refused_by_name(change, told):
    with pytest.raises(Pseudo3dError, match=told):
        replace(RGB, **change)


def test_unknown_and_missing_fields_are_named():
    plain = RGB.to_dict()
    with pytest.raises(Pseudo3dError, match=r"'meen'\. Did you mean mean"):
        Preprocessing.from_dict({**plain, "meen": 1})
    del plain["std"], plain["resize"]
    with pytest.raises(Pseudo3dError, match="lacks resize, std"):
        Preprocessing.from_dict(plain)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (1, 4, 3, 5, 5)])
def test_what_is_no_clip_is_refused(shape):
    with pytest.raises(Pseudo3dError, match=r"\(N, C, T, H, W\)"):
        RGB.normalize(torch.zeros(shape))
