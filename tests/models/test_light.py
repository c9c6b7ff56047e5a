"""The light family: any clip, every field does something, and it is as light as it says."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from models.lively import lively, told_apart
from pseudo3d.models import create_model, list_models
from pseudo3d.models.light import Light, LightConfig
from pseudo3d.models.profile import profile
from pseudo3d.runtime.lower import Lowered

SMALL = LightConfig(
    depths=(1, 2), widths=(8, 8), strides=(2, 2), time_strides=(1, 2), stem_width=4,
    in_channels=2, num_classes=3, dropout=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    return lively(Light(replace(SMALL, **options)))


def test_any_clip_passes():
    net = small()
    for size in [(1, 1, 1), (1, 9, 7), (3, 1, 11), (2, 12, 1), (7, 33, 20)]:
        logits = net(torch.randn(2, 2, *size))
        assert logits.shape == (2, 3)
        assert logits.isfinite().all(), size


def test_gradient_reaches_every_parameter_and_every_frame():
    net, clip = small(), torch.randn(2, 2, 9, 40, 40, requires_grad=True)
    net(clip).square().sum().backward()
    assert [n for n, p in net.named_parameters() if not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).all())


def test_batch_entries_do_not_mix():
    net, clip = small(), torch.randn(3, 2, 5, 33, 40)
    assert_close(net(clip), torch.cat([net(entry) for entry in clip.split(1)]))


def test_the_order_of_frames_matters():
    net, clip = small(), torch.randn(2, 2, 16, 32, 32)
    assert (net(clip) - net(clip.flip(2))).abs().max() > 1e-3


def test_a_fresh_net_treats_the_pieces_of_its_stem_alone():
    """Temporal kernels are still: features are the mean over those of every second piece."""
    net, clip = Light(SMALL).eval(), torch.randn(2, 2, 12, 32, 32)
    pieces = [net.features(piece) for piece in clip.split(2, dim=2)]
    assert_close(net.features(clip), torch.stack(pieces[::2]).mean(0))


@pytest.mark.parametrize("name", list_models("p3d_light*"))
def test_every_layer_is_dense_and_its_channels_fill_vectors(name):
    with torch.device("meta"):
        net = create_model(name)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv3d)]
    assert {m.groups for m in convs} == {1}
    assert all(m.out_channels % 16 == 0 for m in convs)
    assert {m.kernel_size for m in convs[1:]} == {(1, 3, 3), (3, 1, 1), (1, 1, 1)}


@pytest.mark.parametrize("name", list_models("p3d_light*"))
def test_inference_is_convolutions_alone(name):
    """Nothing between them reads or writes the clip: no pooling, no sum, no ReLU of its own."""
    steps = [type(line.run).__name__ for line in Lowered(create_model(name), "fp32")._lines]
    others = [step for step in steps if step != "Convolution"]
    assert len(others) == 1, "the last frame repeated for the stem"


def test_light_networks_cost_less_than_those_they_stand_in_for():
    def macs(name):
        with torch.device("meta"):
            return profile(create_model(name), 16, 64).macs

    assert macs("p3d_light_s") < 0.75 * macs("p3d_nano")
    assert macs("p3d_light") < 0.6 * macs("p3d_tiny")
    assert macs("p3d_light_s") < macs("p3d_light") < macs("p3d_light_l")


CHANGES = {
    "causal": True,
    "depths": (1, 1),
    "widths": (8, 6),
    "stem_width": 6,
    "stem_kernel": (2, 3, 3),
    "stem_stride": (2, 1, 1),
    "strides": (2, 1),
    "time_strides": (1, 1),
    "in_channels": 3,
    "num_classes": 4,
    "dropout": 0.9,
    "ranks": (("stem.conv", "space", 5),),
}


@pytest.mark.parametrize("field", [f.name for f in fields(LightConfig)])
def test_every_config_field_changes_the_module_or_the_output(field):
    assert told_apart(small, field, CHANGES[field], (8, 64, 64), training=field == "dropout")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": (8,)}, "widths is .* 2 stages"),
        ({"strides": (1,)}, "strides is .* 2 stages"),
        ({"time_strides": (1,)}, "time_strides is .* 2 stages"),
        ({"depths": (0, 1)}, "depths"),
        ({"strides": (0, 1)}, "stride is"),
        ({"stem_kernel": (2, 5, 5), "stem_stride": (1, 2, 2)}, "even in time"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_combinations_are_refused_when_the_net_is_built(options, words):
    with pytest.raises(ValueError, match=words):
        Light(replace(SMALL, **options))
