"""A factorized network of the library is a network of the library: named, saved, loaded, fast."""

from dataclasses import asdict, dataclass

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.models import create_model, list_models
from pseudo3d.models.network import Network
from pseudo3d.nn.factor import Factorized
from pseudo3d.recycle.factorize import costs, factorize
from pseudo3d.recycle.factorize.find import find
from pseudo3d.runtime.flat import flatten, to_frames
from pseudo3d.runtime.lower import optimize
from pseudo3d.weights import load, load_backbone, save

CLIP = (1, 2, 8, 32, 32)


SMALL = {
    "r3d_tiny": {"widths": (16, 16, 32, 32)},
    "mc3_tiny": {"widths": (16, 16, 32, 32)},
    "c3d_tiny": {"widths": (16, 16, 16, 32, 32), "fc": (16, 16)},
    "p3d_light_s": {},
    "p3d_unet_full": {"widths": (8, 8), "depths": (1, 1), "strides": ((2, 2, 2),)},
}


def network(name="r3d_tiny"):
    torch.manual_seed(0)
    net = create_model(name, num_classes=3, in_channels=2, **SMALL[name])
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return net.eval()


def relative(got, want):
    return float((got - want).detach().norm() / want.detach().norm())


@pytest.mark.parametrize("name", SMALL)
def test_a_family_is_the_same_at_full_rank_and_built_again_from_its_config(name):
    net, clip = network(name), torch.randn(CLIP)
    pairs = factorize(net, rank=10**6, example=clip, cost="macs")
    assert relative(pairs(clip), net(clip)) < 1e-5
    small = factorize(net, rank=16, example=clip, cost="macs")
    assert len(small.cfg.ranks) == len(small.report.layers) > 2 * (name != "p3d_light_s")
    assert net.cfg.ranks == ()
    again = create_model(name, **asdict(small.cfg)).eval()
    again.load_state_dict(small.state_dict())
    assert_close(again(clip), small(clip))


@pytest.mark.parametrize("name", SMALL)
def test_every_family_with_such_convolutions_is_saved_and_loaded(name, tmp_path):
    small = factorize(network(name), rank=8, example=torch.randn(CLIP), cost="macs")
    save(small, tmp_path / "small.safetensors")
    back, clip = load(tmp_path / "small.safetensors"), torch.randn(CLIP)
    assert_close(back(clip), small(clip))
    assert relative(optimize(back)(clip), small(clip)) < 1e-5


def test_every_config_has_a_place_for_pairs():
    """Or nothing to make pairs of."""
    for name in list_models():
        with torch.device("meta"):
            net = create_model(name)
        if "ranks" not in asdict(net.cfg):
            with pytest.raises(Pseudo3dError, match="nothing to factorize"):
                find(net)


def test_a_factorized_network_is_saved_loaded_and_not_taken_for_another(tmp_path):
    pre = Preprocessing(
        frames=8, resize=32, size=(32, 32), color="gray", difference=True, mean=(0.5,), std=(0.2,)
    )
    save(network(), tmp_path / "full.safetensors", classes=("a", "b", "c"), preprocessing=pre)
    full = load(tmp_path / "full.safetensors")
    small = factorize(full, rank=16, cost="macs")
    assert small.report.clip == CLIP
    assert small.card.scores == {}
    save(small, tmp_path / "small.safetensors", classes=small.card.classes, preprocessing=pre)
    back, clip = load(tmp_path / "small.safetensors"), torch.randn(CLIP)
    assert_close(back(clip), small(clip))
    assert back.cfg == small.cfg
    assert back.card.classes == ("a", "b", "c")
    with pytest.raises(WeightsError, match="ranks"):
        load_backbone(network(), tmp_path / "small.safetensors")


def test_fast_and_flat_forms_compute_the_same():
    clip = torch.randn(CLIP)
    small = factorize(network(), rank=16, example=clip, cost="macs")
    want = small(clip)
    assert relative(optimize(small)(clip), want) < 1e-5
    assert relative(flatten(small, 8)(to_frames(clip)), want) < 1e-5


def test_layers_can_be_factorized_one_after_the_other():
    clip, name = torch.randn(CLIP), "stages.1.0.second.conv"
    once = factorize(network(), rank={name: 16}, example=clip, cost="macs")
    late = {"stages.2.0.second.conv": ("time", 32)}
    twice = factorize(once, rank=late, example=clip, cost="macs")
    assert [split[0] for split in twice.cfg.ranks] == [name, "stages.2.0.second.conv"]
    assert twice.report.kept[f"{name}.space"] == "1x3x3 convolution"
    create_model("r3d_tiny", **asdict(twice.cfg)).load_state_dict(twice.state_dict())


def test_clips_make_a_network_of_the_library_nearer_to_the_original():
    net, clips = network(), torch.randn(6, *CLIP[1:])
    blind = factorize(net, rank=16, example=clips[:1], cost="macs")
    seeing = factorize(net, rank=16, data=clips[:4], cost="macs")
    fresh = clips[4:]
    assert relative(seeing(fresh), net(fresh)) < 0.5 * relative(blind(fresh), net(fresh))


def test_a_speed_is_measured_as_the_network_is_used(monkeypatch):
    monkeypatch.setattr(costs, "_SECONDS", 0.01)
    report = factorize(network(), rank=16, example=torch.randn(CLIP)).report
    assert report.fused
    assert report.speed.before > 0
    assert all(layer.seconds[0] > 0 for layer in report.layers)
    assert "optimized" in str(report)


@dataclass(frozen=True)
class Plain:
    """A config without a place for pairs."""

    in_channels: int = 2


class Unlisted(Network):
    """A network that cannot be described with pairs."""

    def __init__(self):
        super().__init__()
        self.cfg, self.name = Plain(), "r3d_tiny"
        self.stem = nn.Conv3d(2, 16, 3, padding=1)
        self.stages = nn.ModuleList()
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(16, 3)


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path):
    small = factorize(Unlisted(), rank=16, example=torch.randn(CLIP), cost="macs")
    assert isinstance(small.stem, Factorized)
    with pytest.raises(WeightsError, match="cannot be saved"):
        save(small, tmp_path / "net.safetensors")
