"""P3D networks: letters, any clip, fields that do something, refusals, bfloat16 gradients."""

from copy import deepcopy
from dataclasses import fields, replace
from itertools import product
from zlib import crc32

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from pseudo3d.models import create_model
from pseudo3d.models.p3d import P3D, P3DConfig
from pseudo3d.models.resnet2d import ResNet2d, ResNet2dConfig
from pseudo3d.nn.blocks import PseudoPair
from pseudo3d.nn.conv import Conv3d

SEMANTICS = ("release", "port", "modern")
TINY = P3DConfig(
    depths=(1, 1, 1, 1), widths=(4, 4, 8, 8), stem_width=4, in_channels=2, num_classes=3, dropout=0
)
SMALL = [(1, 1, 1), (1, 9, 7), (3, 1, 11), (2, 12, 1), (7, 33, 20)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shake(net):
    """Give every weight and statistic a random value that depends only on its name."""
    for name, value in net.state_dict().items():
        draw = torch.Generator().manual_seed(crc32(name.encode()))
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, generator=draw)
        elif name.endswith(("running_var", "norm.weight", "1.weight")):
            nn.init.uniform_(value, 0.5, 1.5, generator=draw)
        elif value.is_floating_point():
            nn.init.normal_(value, std=0.2, generator=draw)
    return net.eval()


def tiny(**options):
    return shake(P3D(replace(TINY, **options)))


def letters(net):
    """The mixes of each stage as one string; "-" is a block without time."""
    pairs = [[m for m in stage.modules() if isinstance(m, PseudoPair)] for stage in net.stages]
    return ["".join(pair.mix or "-" for pair in stage) for stage in pairs]


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options).eval()


# --- the order of A, B and C


def test_one_counter_of_letters_runs_over_the_whole_net():
    stages = letters(on_meta("p3d152", semantics="release"))
    assert stages[0] == "ABC"
    assert stages[1] == "ABCABCAB"
    assert stages[2] == "CAB" * 12
    assert stages[3] == "---"
    assert [sum(s.count(x) for s in stages) for x in "ABC"] == [16, 16, 15]


def test_the_modern_net_counts_on_into_the_last_stage():
    assert letters(on_meta("p3d50")) == ["ABC", "ABCA", "BCABCA", "BCA"]
    assert letters(on_meta("p3d18")) == ["AB", "CA", "BC", "AB"]


def test_the_letters_are_the_callers_choice():
    assert letters(tiny(mixes=("C",), time_stages=(True, False, True, True))) == list("C-CC")
    assert letters(tiny(mixes=("B", "A"))) == list("BABA")


# --- any input


@pytest.mark.parametrize("name", ["p3d_nano", "p3d_tiny"])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_small_networks_compute_on_any_clip(name, semantics):
    net = create_model(name, num_classes=4, semantics=semantics).eval()
    for size in [*SMALL, (5, 97, 130)]:
        with torch.inference_mode():
            logits = net(torch.randn(2, 3, *size))
        assert logits.shape == (2, 4)
        assert logits.isfinite().all(), size


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_any_clip_length_trains(semantics):
    net = P3D(replace(TINY, semantics=semantics)).train()
    for t in (1, 2, 3, 6):
        net(torch.randn(3, 2, t, 32, 32)).square().sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())


# --- the five properties, for the whole net


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
class TestWholeNetwork:
    def net(self, block, semantics, **options):
        return tiny(block=block, semantics=semantics, **options)

    def test_gradient_reaches_every_parameter_and_every_frame(self, block, semantics):
        net = self.net(block, semantics, widths=(8, 8, 8, 8), stem_width=8)
        clip = torch.randn(2, 2, 16, 64, 64, requires_grad=True)
        net(clip).square().sum().backward()
        assert [n for n, p in net.named_parameters() if not p.grad.any()] == []
        assert bool(clip.grad.ne(0).any(4).any(3).all())

    def test_batch_entries_do_not_mix(self, block, semantics):
        net, clip = self.net(block, semantics), torch.randn(3, 2, 5, 33, 40)
        assert_close(net(clip), torch.cat([net(entry) for entry in clip.split(1)]))

    def test_the_order_of_frames_matters(self, block, semantics):
        net, clip = self.net(block, semantics), torch.randn(2, 2, 16, 32, 32)
        assert (net(clip) - net(clip.flip(2))).abs().max() > 1e-3

    def test_a_fresh_net_is_the_2d_net_on_every_frame(self, block, semantics):
        """Frames in, no pooling of time: logits are the mean of the frames' own."""
        flat = shake(
            ResNet2d(
                ResNet2dConfig(
                    depths=TINY.depths,
                    block=block,
                    widths=TINY.widths,
                    stem_width=4,
                    in_channels=2,
                    num_classes=3,
                )
            )
        )
        own = {} if block == "basic" else {"stride_on": "3x3"}
        cfg = replace(TINY, block=block, semantics=semantics, time_pools=(1, 1, 1, 1), **own)
        net = P3D(replace(cfg, stem_kernel=(1, 7, 7), stem_stride=(1, 2, 2), stem_pool="pad"))
        gap = net.eval().load_state_dict(flat.state_dict(), strict=False)
        assert gap.unexpected_keys == []
        assert all(".time" in key for key in gap.missing_keys)
        clip = torch.randn(2, 2, 5, 48, 40)
        frames = torch.stack([flat(frame) for frame in clip.split(1, dim=2)])
        assert_close(net(clip), frames.mean(0), rtol=1e-5, atol=1e-5)

    def test_logits_are_the_head_on_the_features(self, block, semantics):
        net, clip = self.net(block, semantics), torch.randn(2, 2, 6, 32, 32)
        features = net.feature_map(clip).flatten(2).mean(2)
        assert_close(net.features(clip), features)
        assert_close(net(clip), F.linear(features, net.head.weight, net.head.bias))


# --- every field does something, and what cannot be is refused

CHANGES = {
    "causal": True,
    "depths": (1, 2, 1, 1),
    "block": "basic",
    "widths": (4, 4, 8, 6),
    "mixes": ("A", "C", "B"),
    "semantics": "port",
    "stem_width": 6,
    "stem_kernel": (3, 7, 7),
    "stem_stride": (2, 2, 2),
    "stem_pool": "none",
    "time_pools": (2, 1, 2, 2),
    "time_stages": (True, True, True, True),
    "strides": (1, 2, 2, 1),
    "stride_on": "3x3",
    "kernel": (5, 3, 3),
    "dilation": (1, 2, 2),
    "padding_mode": "replicate",
    "in_channels": 3,
    "num_classes": 4,
    "dropout": 0.9,
    "ranks": (("stages.0.0.pair.space", "space", 2),),
}


@pytest.mark.parametrize("field", [f.name for f in fields(P3DConfig)])
def test_every_config_field_changes_the_module_or_the_output(field):
    base = {"semantics": "release", **({"mixes": ("full",)} if field == "ranks" else {})}
    nets = [tiny(**base), tiny(**{**base, field: CHANGES[field]})]
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in nets]
    if shapes[0] != shapes[1]:
        return
    clip = torch.randn(2, 2, 16, 64, 64)
    outputs = []
    for net in nets:
        torch.manual_seed(1)  # the same draw of dropout
        outputs.append(net.train(field == "dropout")(clip))
    assert (outputs[0] - outputs[1]).norm() > 1e-3 * outputs[0].norm()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"semantics": "caffe"}, "semantics is 'caffe'"),
        ({"block": "wide"}, "block is 'wide'"),
        ({"widths": (4, 4, 4)}, "widths is .* 4 stages"),
        ({"strides": (1, 2)}, "strides is .* 4 stages"),
        ({"time_pools": (1, 1, 1)}, "time_pools is .* 4 stages"),
        ({"time_stages": (True,)}, "time_stages is .* 4 stages"),
        ({"depths": (1, 1, 1), "widths": (4,) * 3, "strides": (1,) * 3}, "must be given"),
        ({"depths": (0, 1, 1, 1)}, "depths"),
        ({"depths": (-1, 1, 1, 1)}, "depths"),
        ({"widths": (0, 4, 4, 4)}, "widths"),
        ({"stem_width": 0}, "stem_width"),
        ({"mixes": ()}, "mixes is empty"),
        ({"mixes": ("A", "D")}, "mix(es)? is .*'D'"),
        ({"mixes": ("A", None)}, "mixes"),
        ({"block": "basic", "stride_on": "1x1"}, "no meaning for basic"),
        ({"stride_on": "5x5"}, "stride_on"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"in_channels": 0}, "in_channels 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"kernel": (3, 4, 3)}, "even side"),
        ({"kernel": (1, 3, 3)}, "no extent in time"),
        ({"kernel": (3, 3)}, r"kernel (is )?\(3, 3\)"),
        ({"dilation": (0, 1, 1)}, "dilation is"),
        ({"padding_mode": "reflect"}, "padding_mode"),
        ({"strides": (0, 1, 1, 1)}, "stride"),
        ({"stem_kernel": (2, 7, 7)}, "even in time"),
        ({"stem_kernel": (3, 6, 7)}, "even side in space"),
        ({"stem_pool": "max"}, "stem pool is 'max'"),
        ({"time_pools": (0, 1, 1, 1)}, "temporal pooling factor is 0|time_pools"),
        ({"time_pools": (1, 0, 1, 1)}, "temporal pooling factor is 0|time_pools"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_impossible_combinations_are_refused_when_the_net_is_built(options, words):
    with pytest.raises(ValueError, match=words):
        P3D(replace(TINY, **options))


def test_a_net_of_three_stages_is_possible_when_time_is_spelled_out():
    three = {"time_pools": (1, 2, 1), "time_stages": (True, False, True)}
    net = tiny(depths=(1, 1, 1), widths=(4, 4, 4), strides=(1, 2, 2), **three)
    assert letters(net) == list("A-B")
    assert net(torch.randn(2, 2, 4, 32, 32)).shape == (2, 3)


# --- training in bfloat16 with two frames at a stage


class PlainConv(nn.Module):
    """The same convolution written out as torch's 2-D one; knows the three forms of a P3D net."""

    def __init__(self, conv):
        super().__init__()
        self.conv, self.weight = conv, conv.weight

    def forward(self, x):
        n, (st, sh, _), pad = x.shape[0], self.conv.stride, self.conv.padding
        if self.conv.kernel_size[1] == 1 and self.conv.kernel_size[0] > 1:  # time
            x = x[..., ::sh, ::sh]
            y = F.conv2d(x.flatten(3), self.weight[..., 0], None, 1, (pad[0], 0))
            return y.unflatten(3, x.shape[3:])
        pieces = x.unflatten(2, (-1, st)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
        pieces = pieces.contiguous(memory_format=torch.channels_last)
        y = F.conv2d(pieces, self.weight.flatten(1, 2), None, sh, pad[1:])
        return y.unflatten(0, (n, -1)).transpose(1, 2)


def step_gradients(net, clip, label):
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(net(clip), label)
    loss.backward()
    return {name.replace("conv.weight", "weight"): p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize(
    ("semantics", "block"), list(product(("release", "modern"), ("basic", "bottleneck")))
)
def test_a_bfloat16_step_with_two_frames_at_a_stage_is_that_of_the_2d_form(semantics, block):
    """16 frames leave 2 at stage 3 of the release; 8 leave 2 everywhere in the modern net."""
    cfg = replace(TINY, semantics=semantics, block=block, widths=(32,) * 4, stem_width=32)
    net = shake(P3D(cfg))  # batch norm frozen, as the paper trains
    plain = deepcopy(net)
    for path, layer in list(plain.named_modules()):
        if isinstance(layer, Conv3d):
            parent, _, name = path.rpartition(".")
            setattr(plain.get_submodule(parent), name, PlainConv(layer))
    clip = torch.randn(4, 2, 16 if semantics == "release" else 8, 48, 48)
    ours, theirs = (step_gradients(n, clip, torch.tensor([0, 1, 2, 1])) for n in (net, plain))
    errors = {key: float((ours[key] - g).norm() / g.norm()) for key, g in theirs.items()}
    assert ours.keys() == theirs.keys()
    assert max(errors.values()) < 1e-2, errors
