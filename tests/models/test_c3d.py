"""C3D: the paper's network on the paper's clip, any other clip too, every field does something."""

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from models.lively import lively, told_apart
from pseudo3d.models import create_model
from pseudo3d.models.c3d import C3D, C3DConfig

SMALL = C3DConfig(widths=(4, 6, 8), depths=(1, 1, 2), time_pools=(1, 2, 2), fc=(12, 10),
                  in_channels=2, num_classes=3, dropout=0.0)  # fmt: skip


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    return lively(C3D(replace(SMALL, **options)))


@pytest.mark.parametrize("norm", [False, True])
def test_any_clip_passes(norm):
    net = small(norm=norm)
    for size in [(1, 1, 1), (1, 9, 7), (3, 1, 11), (2, 12, 1), (7, 33, 20), (9, 50, 70)]:
        logits = net(torch.randn(2, 2, *size))
        assert logits.shape == (2, 3)
        assert logits.isfinite().all(), size


def test_fully_connected_layers_are_connected_fully():
    """On a clip of one position, as flattened in the order channel, row, column."""
    net, clip = small(), torch.randn(2, 2, 4, 32, 32)
    pooled = clip
    for part in (net.stem, *net.stages[:-1]):
        pooled = part(pooled)
    assert pooled.shape == (2, 8, 1, 4, 4)
    top = net.stages[-1]
    y = torch.relu(F.linear(pooled.flatten(1), top.fc6.weight.flatten(1), top.fc6.bias))
    y = torch.relu(F.linear(y, top.fc7.weight.flatten(1), top.fc7.bias))
    assert_close(net.features(clip), y)
    assert_close(net(clip), net.head(y))


def test_a_larger_clip_has_the_mean_features_of_its_positions():
    """The fully connected layers look at every 4 x 4 window of the last maps alone."""
    net, clip = small(), torch.randn(1, 2, 8, 40, 32)
    pooled = clip
    for part in (net.stem, *net.stages[:-1]):
        pooled = part(pooled)
    assert pooled.shape == (1, 8, 2, 5, 4)
    windows = [pooled[:, :, t : t + 1, h : h + 4] for t in range(2) for h in range(2)]
    alone = torch.stack([net.stages[-1](window).flatten(1) for window in windows])
    assert_close(net.features(clip), alone.mean(0))


def test_pooling_counts_every_started_window_as_caffe_does():
    with torch.device("meta"):
        net = create_model("c3d").eval()
    x, sizes = torch.empty(1, 3, 16, 112, 112, device="meta"), []
    for part in (net.stem, *net.stages):
        x = part(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [
        (64, 16, 56, 56),
        (128, 8, 28, 28),
        (256, 4, 14, 14),
        (512, 2, 7, 7),
        (512, 1, 4, 4),
        (4096, 1, 1, 1),
    ]


def test_layers_have_the_papers_names():
    with torch.device("meta"):
        net = create_model("c3d")
    names = [n for n, m in net.named_modules() if isinstance(m, nn.Conv3d | nn.Linear)]
    assert names == [
        "stem.conv",
        "stages.0.conv2a",
        "stages.1.conv3a",
        "stages.1.conv3b",
        "stages.2.conv4a",
        "stages.2.conv4b",
        "stages.3.conv5a",
        "stages.3.conv5b",
        "stages.4.fc6",
        "stages.4.fc7",
        "head",
    ]


@pytest.mark.parametrize("norm", [False, True])
def test_gradient_reaches_every_parameter_and_every_frame(norm):
    net = small(norm=norm, widths=(8, 8, 8), fc=(24, 24)).train()
    clip = torch.randn(4, 2, 9, 40, 40, requires_grad=True)
    net(clip).square().sum().backward()
    assert [n for n, p in net.named_parameters() if not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).all())


def test_batch_entries_do_not_mix():
    net, clip = small(), torch.randn(3, 2, 5, 33, 40)
    assert_close(net(clip), torch.cat([net(entry) for entry in clip.split(1)]))


def test_one_dropout_serves_both_places_and_a_recipe_sets_it():
    net = small(dropout=0.5)
    assert net.stages[-1].dropout is net.dropout
    net.dropout.p, clip = 0.0, torch.randn(1, 2, 4, 32, 32)
    assert_close(net.train()(clip), net.eval()(clip))


@pytest.mark.parametrize("norm", [False, True])
def test_blocks_computed_twice_give_the_same_gradients_with_dropout(norm):
    net, clip = C3D(replace(SMALL, dropout=0.5, norm=norm)), torch.randn(2, 2, 4, 32, 32)
    grads = []
    for net.checkpointing in (False, True):
        torch.manual_seed(1)
        net.zero_grad()
        net(clip).square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    for one, other in zip(*grads, strict=True):
        assert_close(one, other)


def test_a_fresh_network_lets_the_signal_through():
    """He fan-in: activations keep their size over eight layers, so that training can begin."""
    net, x = C3D(replace(SMALL, widths=(32,) * 3, fc=(64, 64))).eval(), torch.randn(2, 2, 8, 32, 32)
    with torch.inference_mode():
        assert 0.1 < float(net.features(x).square().mean()) < 10
    fc6 = net.stages[-1].fc6.weight
    assert float(fc6.detach().std()) == pytest.approx((2 / fc6[0].numel()) ** 0.5, rel=0.05)
    biases = [m.bias for m in net.modules() if getattr(m, "bias", None) is not None]
    assert not any(b.any() for b in biases)


@pytest.mark.parametrize("size", [(16, 64, 64), (20, 72, 72), (1, 5, 5)])
def test_the_small_one_computes(size):
    net = create_model("c3d_tiny", num_classes=4, in_channels=2).eval()
    assert net(torch.randn(1, 2, *size)).shape == (1, 4)


def test_ranks_put_pairs_in_the_place_of_convolutions():
    net = small(ranks=(("stages.1.conv3a", "space", 5),))
    assert not hasattr(net.stages[1].conv3a, "weight")
    assert net(torch.zeros(1, 2, 4, 32, 32)).shape == (1, 3)


CHANGES = {
    "causal": True,
    "widths": (4, 6, 6),
    "depths": (2, 1, 2),
    "time_pools": (2, 2, 2),
    "fc": (12, 9),
    "window": (2, 2),
    "norm": True,
    "in_channels": 3,
    "num_classes": 4,
    "dropout": 0.9,
    "ranks": (("stages.1.conv3a", "space", 5),),
}


@pytest.mark.parametrize("field", [f.name for f in fields(C3DConfig)])
def test_every_config_field_changes_the_module_or_the_output(field):
    assert told_apart(small, field, CHANGES[field], (8, 32, 32), training=field == "dropout")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (1, 1)}, "one value for each pooling"),
        ({"time_pools": (1,)}, "one value for each pooling"),
        ({"widths": (4,), "depths": (1,), "time_pools": (1,)}, "two or more"),
        ({"widths": (4, 0, 4)}, "widths is"),
        ({"depths": (1, 0, 1)}, "depths is"),
        ({"time_pools": (1, 0, 1)}, "time_pools is"),
        ({"fc": (0, 4)}, "fc is"),
        ({"window": (0, 4)}, "window is"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_combinations_are_refused_when_the_net_is_built(options, words):
    with pytest.raises(ValueError, match=words):
        C3D(replace(SMALL, **options))
