"""3-D ResNets: any clip, every field does something, forms where the papers have them."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from models.lively import lively, told_apart
from pseudo3d.models import create_model, list_models
from pseudo3d.models.memory import forecast
from pseudo3d.models.resnet3d import ResNet3d, ResNet3dConfig
from pseudo3d.nn.conv import Conv3d
from pseudo3d.nn.forms import Factored, Residual, ResidualBottleneck

SMALL = ResNet3dConfig(
    depths=(1, 1, 1, 1), widths=(4, 4, 8, 8), stem_width=4, in_channels=2, num_classes=3
)
FORMS = {
    "full": {},
    "2+1": {"forms": (("2+1",),) * 4, "stem_middle": 3},
    "mixed": {"forms": (("full",), ("space",), ("2+1",), ("full", "space"))},
    "inflated": {"forms": (("inflated",),) * 4, "block": "bottleneck", "time_pools": (1, 2, 1, 1)},
    "bottleneck": {"block": "bottleneck"},
    "medical": {
        "stem_kernel": (7, 7, 7),
        "stem_stride": (2, 2, 2),
        "stem_pool": "pad3d",
        "strides": (1, 2, 1, 1),
        "time_strides": (1, 2, 1, 1),
        "dilations": (1, 1, 2, 4),
        "shortcut": "A",
    },
}
every_form = pytest.mark.parametrize("kind", FORMS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    return lively(ResNet3d(replace(SMALL, **options)))


@every_form
def test_any_clip_passes(kind):
    net = small(**FORMS[kind])
    for size in [(1, 1, 1), (1, 9, 7), (3, 1, 11), (2, 12, 1), (7, 33, 20)]:
        logits = net(torch.randn(2, 2, *size))
        assert logits.shape == (2, 3)
        assert logits.isfinite().all(), size


@every_form
def test_gradient_reaches_every_parameter_and_every_frame(kind):
    net = small(**FORMS[kind], **({} if kind == "medical" else {"widths": (8, 8, 8, 8)}))
    clip = torch.randn(2, 2, 9, 40, 40, requires_grad=True)
    net(clip).square().sum().backward()
    assert [n for n, p in net.named_parameters() if not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).all())


@every_form
def test_batch_entries_do_not_mix(kind):
    net, clip = small(**FORMS[kind]), torch.randn(3, 2, 5, 33, 40)
    assert_close(net(clip), torch.cat([net(entry) for entry in clip.split(1)]))


@every_form
def test_the_order_of_frames_matters(kind):
    net, clip = small(**FORMS[kind]), torch.randn(2, 2, 16, 32, 32)
    assert (net(clip) - net(clip.flip(2))).abs().max() > 1e-3


@every_form
def test_blocks_computed_twice_give_the_same_gradients(kind):
    net, clip = ResNet3d(replace(SMALL, **FORMS[kind])), torch.randn(2, 2, 9, 24, 24)
    grads = []
    for net.checkpointing in (False, True):
        net.zero_grad()
        net(clip).square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    for one, other in zip(*grads, strict=True):
        assert_close(one, other)


def test_memory_can_be_forecast():
    assert forecast(small(), 2, 8, 32).total > forecast(small(), 1, 8, 32).total


# --- where the papers have what


def forms(net):
    """The form of each block's middle, stage by stage."""
    told = []
    for stage in net.stages:
        blocks = [m for m in stage if isinstance(m, Residual | ResidualBottleneck)]
        parts = [b.first if isinstance(b, Residual) else b.middle for b in blocks]
        told.append(
            "".join("f" if isinstance(p, Factored) else str(p.conv.kernel_size[0]) for p in parts)
        )
    return told


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options).eval()


def test_mixed_convolutions_keep_time_in_the_first_stage_only():
    assert forms(on_meta("mc3_18")) == ["33", "11", "11", "11"]
    assert forms(on_meta("r3d34")) == ["333", "3333", "333333", "333"]
    assert forms(on_meta("r2plus1d18")) == ["ff"] * 4


def test_every_other_bottleneck_of_i3d_is_inflated():
    """One kernel for every two residual blocks, but all of the first stage."""
    net = on_meta("i3d50")
    told = [
        "".join(str(b.reduce.conv.kernel_size[0]) for b in stage if hasattr(b, "reduce"))
        for stage in net.stages
    ]
    assert told == ["333", "3131", "313131", "131"]


def test_time_is_halved_where_the_papers_halve_it():
    """Of 16 x 112 x 112: 2 frames by strides in R3D, all 16 in MC3, 8 after the pool in I3D."""
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    sizes = {
        name: tuple(on_meta(name).feature_map(clip).shape[1:])
        for name in ("r3d18", "r2plus1d34", "mc3_18", "i3d50")
    }
    assert sizes == {
        "r3d18": (512, 2, 7, 7),
        "r2plus1d34": (512, 2, 7, 7),
        "mc3_18": (512, 16, 7, 7),
        "i3d50": (2048, 8, 4, 4),
    }


def test_the_authors_network_has_caffes_epsilon_everywhere():
    norms = [m.eps for m in on_meta("r2plus1d34").modules() if isinstance(m, nn.BatchNorm3d)]
    assert set(norms) == {1e-3}


@pytest.mark.parametrize("name", ["r3d_tiny", "mc3_tiny", "r2plus1d_tiny", "i3d_tiny"])
def test_small_ones_compute_on_any_clip(name):
    net = create_model(name, num_classes=4, in_channels=2).eval()
    for size in [(1, 1, 1), (5, 33, 20), (20, 72, 72)]:
        assert net(torch.randn(1, 2, *size)).shape == (1, 4)


def test_small_ones_shrink_a_clip_as_p3d_tiny_does():
    clip = torch.empty(1, 3, 16, 64, 64, device="meta")
    wanted = on_meta("p3d_tiny").feature_map(clip).shape
    assert on_meta("r3d_tiny").feature_map(clip).shape == wanted
    assert on_meta("r2plus1d_tiny").feature_map(clip).shape == wanted
    assert on_meta("i3d_tiny").feature_map(clip).shape[2:] == wanted[2:]


# --- factorized convolutions are part of the config


def test_ranks_put_pairs_in_the_place_of_convolutions():
    net = small(ranks=(("stages.1.0.first.conv", "space", 5),))
    pair = net.stages[1][0].first.conv
    kernels = [m.kernel_size for m in pair.modules() if isinstance(m, Conv3d)]
    assert kernels == [(1, 3, 3), (3, 1, 1)]
    assert pair(torch.zeros(1, 4, 5, 8, 8)).shape == (1, 4, 3, 4, 4)


def test_a_rank_for_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"stages\.9"):
        small(ranks=(("stages.9.0.first.conv", "space", 5),))


# --- every field does something, and what cannot be is refused

CHANGES = {
    "causal": True,
    "depths": (1, 2, 1, 1),
    "block": "bottleneck",
    "widths": (4, 4, 8, 6),
    "forms": (("full",), ("space",), ("full",), ("full",)),
    "strides": (1, 2, 2, 1),
    "time_strides": (1, 2, 2, 1),
    "dilations": (1, 1, 2, 1),
    "time_pools": (2, 1, 1, 1),
    "stem_width": 6,
    "stem_kernel": (5, 7, 7),
    "stem_stride": (2, 2, 2),
    "stem_pool": "pad3d",
    "stem_middle": 3,
    "shortcut": "A",
    "shortcut_bias": True,
    "norm_eps": 0.1,
    "in_channels": 3,
    "num_classes": 4,
    "dropout": 0.9,
    "ranks": (("stages.1.0.first.conv", "space", 5),),
}


@pytest.mark.parametrize("field", [f.name for f in fields(ResNet3dConfig)])
def test_every_config_field_changes_the_module_or_the_output(field):
    if field == "middle":  # has no meaning without (2+1)-D blocks
        factored = {"forms": (("2+1",),) * 4, "widths": (4, 8, 8, 8)}
        assert told_apart(lambda **o: small(**factored, **o), field, "own", (8, 32, 32))
        return
    assert told_apart(small, field, CHANGES[field], (8, 64, 64), training=field == "dropout")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": (4, 4)}, "widths is .* 4 stages"),
        ({"forms": (("full",),)}, "forms is .* 4 stages"),
        ({"forms": (("full",), (), ("full",), ("full",))}, "at least one form"),
        ({"forms": (("half",),) * 4}, "form is 'half'"),
        ({"forms": (("inflated",),) * 4}, "no meaning for basic"),
        ({"strides": (1, 2)}, "strides is .* 4 stages"),
        ({"time_strides": (1, 2)}, "time_strides is .* 4 stages"),
        ({"time_strides": (0, 1, 1, 1)}, "stride is"),
        ({"dilations": (1, 2)}, "dilations is .* 4 stages"),
        ({"dilations": (0, 1, 1, 1)}, "dilation is 0"),
        ({"time_pools": (1,)}, "time_pools is .* 4 stages"),
        ({"time_pools": (0, 1, 1, 1)}, "time_pools"),
        ({"depths": (0, 1, 1, 1)}, "depths"),
        ({"block": "wide"}, "block is 'wide'"),
        ({"stem_kernel": (2, 7, 7)}, "even in time"),
        ({"stem_pool": "max"}, "stem pool is 'max'"),
        ({"stem_middle": 0}, "stem_middle is 0"),
        ({"middle": "own"}, "forms has none"),
        ({"shortcut": "A", "shortcut_bias": True}, "no convolution to give a bias"),
        ({"shortcut": "C"}, "shortcut is 'C'"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_combinations_are_refused_when_the_net_is_built(options, words):
    with pytest.raises(ValueError, match=words):
        ResNet3d(replace(SMALL, **options))


def test_all_of_them_can_be_listed():
    wanted = {"r3d18", "r3d34", "r3d50", "mc3_18", "r2plus1d18", "r2plus1d34", "i3d50"}
    assert wanted <= set(list_models())
