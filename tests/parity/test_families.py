"""Our families give the outputs of independently written networks from the same weights.

The other side has the names of published files. The map between both is written out here once more,
beside the loader's own, so that a slip in the loader cannot hide itself.
"""

import re

import pytest
import torch
from torch.testing import assert_close

from models.lively import lively
from parity.references import CaffeC3D, ImageResNet, VideoResNet, VolumeResNet
from pseudo3d.models import create_model
from pseudo3d.models.c3d import C3D, C3DConfig

WIDTHS = (8, 12, 16, 20)


def renamed(state, rules):
    """Every name after the first rule that fits it; a name no rule fits is a mistake."""
    out = {}
    for key, value in state.items():
        for pattern, ours in rules:
            if found := re.fullmatch(pattern, key):
                out[found.expand(ours)] = value
                break
        else:
            raise AssertionError(f"{key} has no rule")
    return out


def stage(rest, ours):
    """layer1.0.REST -> stages.0.0.OURS; `%` in front of the number marks it for `minus_one`."""
    return (rf"layer(\d)\.(\d+)\.{rest}\.(\w+)", rf"stages.%\1.\2.{ours}.\3")


def minus_one(state):
    return {re.sub(r"%(\d)", lambda m: str(int(m[1]) - 1), k): v for k, v in state.items()}


OUTER = [(r"fc\.(\w+)", r"head.\1")]
SHORT = [stage(r"downsample\.0", "shortcut.0"), stage(r"downsample\.1", "shortcut.1")]
STEM = [(r"stem\.0\.(\w+)", r"stem.conv.\1"), (r"stem\.1\.(\w+)", r"stem.norm.\1")]
PLAIN = [
    stage(r"conv1\.0", "first.conv"),
    stage(r"conv1\.1", "first.norm"),
    stage(r"conv2\.0", "second.conv"),
    stage(r"conv2\.1", "second.norm"),
]
FACTORED_STEM = [
    (rf"stem\.{i}\.(\w+)", rf"stem.{ours}.\1")
    for i, ours in ((0, "space"), (1, "space_norm"), (3, "time"), (4, "norm"))
]
FACTORED = [
    stage(rf"conv{i}\.{rest}", f"{unit}.{ours}")
    for i, unit in ((1, "first"), (2, "second"))
    for rest, ours in (
        (r"0\.0", "space"),
        (r"0\.1", "space_norm"),
        (r"0\.3", "time"),
        ("1", "norm"),
    )
]
DEEP = [
    stage(rf"conv{i}\.{j}", f"{unit}.{part}")
    for i, unit in ((1, "reduce"), (2, "middle"), (3, "expand"))
    for j, part in ((0, "conv"), (1, "norm"))
]
VIDEO = {
    "r3d18": (("full",) * 4, (2, 2, 2, 2), False, STEM + PLAIN),
    "r3d34": (("full",) * 4, (3, 4, 6, 3), False, STEM + PLAIN),
    "mc3_18": (("full", "space", "space", "space"), (2, 2, 2, 2), False, STEM + PLAIN),
    "r2plus1d18": (("2+1",) * 4, (2, 2, 2, 2), False, FACTORED_STEM + FACTORED),
    "r3d50": (("full",) * 4, (3, 4, 6, 3), True, STEM + DEEP),
}


@pytest.mark.parametrize("size", [(8, 32, 32), (5, 41, 30)])
@pytest.mark.parametrize("name", VIDEO)
def test_video_resnets_are_those_of_torchvision(name, size):
    kinds, depths, deep, rules = VIDEO[name]
    theirs = lively(VideoResNet(kinds, depths, WIDTHS, deep, classes=7))
    ours = create_model(name, widths=WIDTHS, stem_width=8, num_classes=7).eval()
    ours.load_state_dict(minus_one(renamed(theirs.state_dict(), rules + SHORT + OUTER)))
    clip = torch.randn(2, 3, *size)
    with torch.inference_mode():
        assert_close(ours(clip), theirs(clip), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["r3d18", "mc3_18", "r2plus1d18"])
def test_at_full_width_names_and_shapes_are_those_of_torchvision(name):
    kinds, depths, deep, rules = VIDEO[name]
    with torch.device("meta"):
        theirs, ours = VideoResNet(kinds, depths, deep=deep), create_model(name)
    state = minus_one(renamed(theirs.state_dict(), rules + SHORT + OUTER))
    have = {k: v.shape for k, v in ours.state_dict().items()}
    assert {k: v.shape for k, v in state.items()} == have


IMAGE = {
    False: [
        stage("conv1", "pair.space"),
        stage("bn1", "pair.space_norm"),
        stage("conv2", "refine"),
        stage("bn2", "refine_norm"),
    ],
    True: [
        stage("conv1", "reduce"),
        stage("bn1", "reduce_norm"),
        stage("conv2", "pair.space"),
        stage("bn2", "pair.space_norm"),
        stage("conv3", "expand"),
        stage("bn3", "expand_norm"),
    ],
}
IMAGE_STEM = [(r"conv1\.(\w+)", r"stem.conv.\1"), (r"bn1\.(\w+)", r"stem.norm.\1")]


@pytest.mark.parametrize("size", [(6, 40, 40), (1, 33, 50)])
@pytest.mark.parametrize(
    ("name", "depths"), [("18", (2, 2, 2, 2)), ("34", (3, 4, 6, 3)), ("50", (3, 4, 6, 3))]
)
@pytest.mark.parametrize("family", ["resnet", "tsn", "tsm"])
def test_frame_networks_are_torchvisions_resnets_with_and_without_a_shift(
    family, name, depths, size
):
    deep, t = name == "50", size[0]
    theirs = lively(
        ImageResNet(depths, WIDTHS, deep, classes=7, frames=t if family == "tsm" else None)
    )
    state = minus_one(renamed(theirs.state_dict(), IMAGE_STEM + IMAGE[deep] + SHORT + OUTER))
    state = {k: v[:, :, None] if v.ndim == 4 else v for k, v in state.items()}
    ours = create_model(f"{family}{name}", widths=WIDTHS, stem_width=8, num_classes=7).eval()
    ours.load_state_dict(state)
    clip = torch.randn(2, 3, *size)
    with torch.inference_mode():
        frames = theirs(clip.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, t)).mean(1)
        assert_close(ours(clip), frames, rtol=1e-5, atol=1e-5)


def test_c3d_is_the_network_of_the_public_files():
    """With their fully connected weights, at the size they are made for."""
    theirs = lively(CaffeC3D((4, 6, 8, 8, 8), fc=24, classes=7))
    ours = C3D(C3DConfig(widths=(4, 6, 8, 8, 8), fc=(24, 24), num_classes=7)).eval()
    homes = {"conv1": "stem.conv", "fc8": "head"}
    homes |= {f"conv{i}{x}": f"stages.{i - 2}.conv{i}{x}" for i in (3, 4, 5) for x in "ab"}
    homes |= {"conv2": "stages.0.conv2a", "fc6": "stages.4.fc6", "fc7": "stages.4.fc7"}
    have, state = ours.state_dict(), {}
    for key, value in theirs.state_dict().items():
        part, _, leaf = key.rpartition(".")
        name = f"{homes[part]}.{leaf}"
        state[name] = value.reshape(have[name].shape)
    ours.load_state_dict(state)
    clip = torch.randn(2, 3, 16, 112, 112)
    with torch.inference_mode():
        assert_close(ours(clip), theirs(clip), rtol=1e-5, atol=1e-5)


VOLUME = {
    False: [
        stage(f"{part}{i}", f"{unit}.{ours}")
        for i, unit in ((1, "first"), (2, "second"))
        for part, ours in (("conv", "conv"), ("bn", "norm"))
    ],
    True: [
        stage(f"{part}{i}", f"{unit}.{ours}")
        for i, unit in ((1, "reduce"), (2, "middle"), (3, "expand"))
        for part, ours in (("conv", "conv"), ("bn", "norm"))
    ],
}


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_with_other_options_it_is_the_resnet_of_hara_and_of_medicalnet(shortcut, dilated, deep):
    steps = (2, 2, 2) if dilated else (1, 2, 2)
    theirs = lively(VolumeResNet((1, 2, 1, 1), WIDTHS, deep, shortcut, dilated, steps, classes=7))
    strides = (1, 2, 1, 1) if dilated else (1, 2, 2, 2)
    ours = create_model(
        "r3d50" if deep else "r3d18",
        depths=(1, 2, 1, 1),
        widths=WIDTHS,
        stem_width=8,
        stem_kernel=(7, 7, 7),
        stem_stride=steps,
        stem_pool="pad3d",
        strides=strides,
        time_strides=strides,
        dilations=(1, 1, 2, 4) if dilated else (1, 1, 1, 1),
        shortcut=shortcut,
        in_channels=1,
        num_classes=7,
    ).eval()
    rules = IMAGE_STEM + VOLUME[deep] + SHORT + OUTER
    ours.load_state_dict(minus_one(renamed(theirs.state_dict(), rules)))
    scan = torch.randn(2, 1, 20, 33, 40)
    with torch.inference_mode():
        assert_close(ours(scan), theirs(scan), rtol=1e-5, atol=1e-5)


def test_an_inflated_network_is_the_image_network_on_a_still_clip():
    """Kernels of the images' network in the middle tap, zeros beside it: I3D's own check."""
    theirs = lively(ImageResNet((3, 4, 6, 3), WIDTHS, deep=True, classes=7))
    state = minus_one(renamed(theirs.state_dict(), IMAGE_STEM + VOLUME[True] + SHORT + OUTER))
    ours = create_model("i3d50", widths=WIDTHS, stem_width=8, num_classes=7).eval()
    for key, value in ours.state_dict().items():
        if value.ndim == 5:
            value.zero_()
            value[:, :, value.shape[2] // 2] = state.pop(key)
        else:
            value.copy_(state.pop(key))
    assert not state
    frame = torch.randn(2, 3, 40, 48)
    clip = frame[:, :, None].expand(-1, -1, 8, -1, -1)
    with torch.inference_mode():
        assert_close(ours(clip), theirs(frame), rtol=1e-5, atol=1e-5)
