"""The one table of names: what it lists, builds and refuses."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model, default_config, list_models, registry


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
    assert list_models("p3d*") == ["p3d_nano", "p3d_tiny", *(f"p3d{d}" for d in deep)]
    assert {f"resnet{d}" for d in deep} <= set(list_models("resnet*"))
    assert set(list_models()) == {*list_models("p3d*"), *list_models("resnet*")}
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
