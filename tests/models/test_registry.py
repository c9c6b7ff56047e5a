"""The one table of names: what it lists, builds and refuses, and what its networks take."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model, default_config, list_models, registry

SIZES = [(32, 224, 224), (8, 112, 112), (1, 64, 64), (5, 97, 130)]
SMALL = [(1, 1, 1), (1, 9, 7), (3, 1, 11), (2, 12, 1), (7, 33, 20)]


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Config of the network that these tests enter."""

    num_classes: int = 2


class Toy(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg


@pytest.fixture
def toys(monkeypatch):
    """A registry of its own, so that the library's stays as it is."""
    monkeypatch.setattr(registry, "_MODELS", {})
    registry.register(Toy, {"toy18": ToyConfig(), "toy101": ToyConfig(num_classes=5)})


def test_the_networks_of_the_library_are_listed():
    deep = ["18", "34", "50", "101", "152"]
    light = ["p3d_light_s", "p3d_light", "p3d_light_l"]
    volumes = {*list_models("p3d_volume*"), *list_models("p3d_unet*")}
    found = [n for n in list_models("p3d*") if n not in light and n not in volumes]
    assert found == ["p3d_nano", "p3d_tiny", *(f"p3d{d}" for d in deep)]
    assert {f"resnet{d}" for d in deep} <= set(list_models("resnet*"))
    video = {"c3d", "r3d18", "r3d34", "r3d50", "mc3_18", "r2plus1d18", "r2plus1d34", "i3d50"}
    frames = {f"{family}{d}" for family in ("tsn", "tsm") for d in deep[:4]}
    assert {*light, *video, *frames} <= set(list_models())
    assert list_models("nothing*") == []


@pytest.mark.usefixtures("toys")
def test_names_come_smaller_depths_first_and_by_pattern():
    assert list_models() == ["toy18", "toy101"]
    assert list_models("*101") == ["toy101"]


@pytest.mark.usefixtures("toys")
def test_overrides_reach_the_config_and_the_default_stays():
    assert create_model("toy101").cfg.num_classes == 5
    assert create_model("toy101", num_classes=7).cfg.num_classes == 7
    assert default_config("toy101") == ToyConfig(num_classes=5)


@pytest.mark.usefixtures("toys")
def test_a_name_is_entered_once_and_a_refused_family_leaves_no_trace():
    with pytest.raises(ValueError, match=r"already registered: \['toy18'\]"):
        registry.register(Toy, {"toy34": ToyConfig(), "toy18": ToyConfig(num_classes=9)})
    assert list_models() == ["toy18", "toy101"]
    assert default_config("toy18") == ToyConfig()


@pytest.mark.parametrize("ask", [create_model, default_config])
def test_an_unknown_name_brings_the_nearest(ask):
    with pytest.raises(Pseudo3dError, match=r"unknown model: 'p3d36'\. Did you mean .*p3d34"):
        ask("p3d36")


@pytest.mark.usefixtures("toys")
def test_a_name_like_no_other_brings_all_there_are():
    with pytest.raises(Pseudo3dError, match=r"unknown model: 'xyz'\. Known: toy101, toy18\."):
        create_model("xyz")


def test_an_unknown_option_is_a_type_error_with_the_nearest():
    with pytest.raises(TypeError, match=r"unknown option of p3d18: 'num_class'\. .*num_classes"):
        create_model("p3d18", num_class=5)


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="widths is"):
        create_model("p3d18", widths=(4,))


def test_a_built_network_knows_its_name_and_gives_a_row_per_clip():
    net = create_model("p3d_nano", num_classes=5).eval()
    assert net.name == "p3d_nano"
    assert net.card is None
    assert net(torch.zeros(2, 3, 8, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("name", list_models())
def test_a_clip_of_any_size_gives_one_row_per_clip(name):
    """On shapes alone; the small networks really compute in test_p3d."""
    semantics = [{"semantics": s} for s in ("release", "port", "modern")]
    options = semantics if hasattr(default_config(name), "semantics") else [{}]
    for option in options:
        with torch.device("meta"):
            net = create_model(name, num_classes=7, **option).eval()
        for size in SIZES if name.endswith(("34", "50", "101", "152")) else [*SIZES, *SMALL]:
            features = net.features(torch.empty(2, net.cfg.in_channels, *size, device="meta"))
            assert features.shape == (2, net.head.in_features), (option, size)
            assert net.head(features).shape == (2, 7)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 16, 2, 32, 32), r"16 channels where .* 2\..* looks like \(N, T, C, H, W\).*transpose"),
        ((1, 16, 32, 32, 2), r"looks like \(N, T, H, W, C\): use clip.permute"),
        ((2, 16, 32, 32), r"4 axes where a network takes 5.*clip\[None\]"),
        ((32, 32), r"2 axes where a network takes 5, \(N, C, T, H, W\)\.$"),
        (
            (1, 4, 16, 32, 32),
            r"4 channels where the network takes 2\. Axes are \(N, C, T, H, W\)\.$",
        ),
        ((1, 2, 0, 32, 32), "at least 1"),
        ((1, 2, 4, 0, 32), "at least 1"),
    ],
)
def test_what_is_no_clip_is_refused_with_the_likely_slip(shape, words):
    with pytest.raises(Pseudo3dError, match=words) as caught:
        create_model("p3d_nano", in_channels=2)(torch.zeros(shape))
    assert str(shape) in str(caught.value)
