"""Sizes, costs, shapes of the published networks as plain numbers.

Measured on the authors' Caffe network, its PyTorch port and the first author's later code, for one
clip of 3 x 16 x 160 x 160 and 400 classes unless said; multiply-adds of convolutions and head.
"""

import pytest
import torch
from torch import nn

from pseudo3d.models import create_model
from pseudo3d.models.profile import profile
from pseudo3d.nn.blocks import PseudoPair
from pseudo3d.nn.conv import Conv3d

EARLY_STRIDE_1 = {"stem_kernel": (1, 7, 7), "stem_stride": (1, 2, 2)}


def build(name, **options):
    with torch.device("meta"):
        return create_model(name, **options).eval()


@pytest.mark.parametrize("semantics", ["release", "port"])
@pytest.mark.parametrize(
    ("name", "parameters", "without_fc", "gmacs"),
    [
        ("p3d50", 25_745_232, 24_925_632, 8.442),
        ("p3d101", 48_088_400, 47_268_800, 12.898),
        ("p3d152", 66_492_240, 65_672_640, 18.403),
    ],
)
def test_networks_of_2017(name, semantics, parameters, without_fc, gmacs):
    net = build(name, semantics=semantics)
    found = profile(net)
    assert found.parameters == parameters
    assert parameters - sum(p.numel() for p in net.head.parameters()) == without_fc
    assert round(found.macs / 1e9, 3) == gmacs


@pytest.mark.parametrize(
    ("name", "options", "parameters", "gmacs", "gmacs_224"),
    [
        ("p3d50", {}, 28_128_272, 10.323, 20.232),
        ("p3d101", {}, 50_462_736, 19.236, 37.701),
        ("p3d152", {}, 68_858_896, 28.149, 55.170),
        ("p3d50", EARLY_STRIDE_1, 28_100_048, 38.398, None),
        ("p3d152", EARLY_STRIDE_1, 68_830_672, 109.702, None),
    ],
)
def test_networks_of_2021(name, options, parameters, gmacs, gmacs_224):
    net = build(name, **options)
    found = profile(net)
    assert (found.parameters, round(found.macs / 1e9, 3)) == (parameters, gmacs)
    if gmacs_224:
        assert round(profile(net, size=224).macs / 1e9, 3) == gmacs_224


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("p3d50", {"semantics": "port"}),
        ("p3d50", {"semantics": "release"}),
        ("p3d50", {}),
        ("p3d101", {"semantics": "port"}),
        ("p3d152", {"semantics": "port"}),
    ],
)
def test_pure_networks_cost_what_the_mixed_one_costs(name, options):
    mixed = profile(build(name, **options))
    for letter in "ABC":
        pure = profile(build(name, mixes=(letter,), **options))
        assert (pure.parameters, pure.macs) == (mixed.parameters, mixed.macs)


def shares(net):
    """Multiply-adds of each convolution from its output's shape: module name -> number."""
    found = {}

    def note(name):
        def hook(module, _, y):
            found[name] = y[0, 0].numel() * module.weight.numel()

        return hook

    for name, module in net.named_modules():
        if isinstance(module, Conv3d):
            module.register_forward_hook(note(name))
    net(torch.empty(1, 3, 16, 160, 160, device="meta"))
    return found


def test_where_the_work_of_p3d152_goes():
    found = shares(build("p3d152", semantics="release"))

    def giga(*parts):
        return round(sum(v for k, v in found.items() if all(p in k for p in parts)) / 1e9, 2)

    assert giga("stem") == 0.96
    assert giga("space") == 7.73
    assert [giga(f"stages.{i}.", "space") for i in range(4)] == [1.42, 1.89, 4.25, 0.18]
    assert giga("time") == 2.52
    assert [giga(f"stages.{i}.", "time") for i in range(4)] == [0.47, 0.63, 1.42, 0.0]
    assert round(giga("reduce") + giga("expand") + giga("shortcut"), 2) == 7.2
    assert sum(found.values()) + 2048 * 400 == 18_403_328_000


@pytest.mark.parametrize(
    ("name", "time_weights", "buffers", "time_layers"),
    [
        ("p3d50", 1_413_120, 57_666, 13),
        ("p3d101", None, 118_662, 30),
        ("p3d152", 7_507_968, 172_490, 47),
    ],
)
def test_weights_in_time_and_buffers(name, time_weights, buffers, time_layers):
    net = build(name, semantics="port")
    times = [m.time.weight.numel() for m in net.modules() if isinstance(m, PseudoPair) and m.mix]
    assert len(times) == time_layers
    assert time_weights in (None, sum(times))
    assert sum(b.numel() for b in net.buffers()) == buffers


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("resnet50", {"num_classes": 101}, 23.715),
        ("p3d50", {"num_classes": 101, "semantics": "release"}, 25.133),
        ("resnet152", {"num_classes": 487}, 59.14),
        ("p3d152", {"num_classes": 487, "semantics": "release"}, 66.67),
    ],
)
def test_sizes_with_the_classifiers_of_the_paper(name, options, millions):
    """UCF101 and Sports-1M; in float32 the paper says 92, 98, 235, 261 MB."""
    assert profile(build(name, **options)).parameters / 1e6 == pytest.approx(millions, abs=6e-3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_2d_twins_have_the_sizes_of_the_imagenet_networks(name, parameters):
    assert sum(p.numel() for p in build(name).parameters()) == parameters


def test_shapes_of_p3d152_layer_by_layer():
    """Channels x T x H x W; the pool that follows a stage is part of the stage."""
    net, shapes = build("p3d152", semantics="release"), {}

    def note(name):
        return lambda module, inputs, y: shapes.__setitem__(name, tuple(y.shape[1:]))

    layers = {"conv1": net.stem.conv, "pool1": net.stem, "res5": net.stages[3]}
    for i in range(3):
        layers[f"res{i + 2}"], layers[f"pool{i + 2}"] = net.stages[i][-2], net.stages[i]
    layers |= {f"res{i + 2}a": stage[0] for i, stage in enumerate(net.stages)}
    for name, layer in layers.items():
        layer.register_forward_hook(note(name))
    features = net.features(torch.empty(1, 3, 16, 160, 160, device="meta"))

    assert shapes == {
        "conv1": (64, 16, 80, 80),
        "pool1": (64, 8, 40, 40),
        "res2a": (256, 8, 40, 40),
        "res2": (256, 8, 40, 40),
        "pool2": (256, 4, 40, 40),
        "res3a": (512, 4, 20, 20),
        "res3": (512, 4, 20, 20),
        "pool3": (512, 2, 20, 20),
        "res4a": (1024, 2, 10, 10),
        "res4": (1024, 2, 10, 10),
        "pool4": (1024, 1, 10, 10),
        "res5a": (2048, 1, 5, 5),
        "res5": (2048, 1, 5, 5),
    }
    assert features.shape == (1, 2048)


def test_layout_of_p3d152_is_that_of_the_release():
    net = build("p3d152", semantics="release")
    assert [len([m for m in stage if hasattr(m, "pair")]) for stage in net.stages] == [3, 8, 36, 3]
    for i, stage in enumerate(net.stages):
        stride = (1, 1, 1) if i == 0 else (1, 2, 2)
        assert stage[0].reduce.stride == stage[0].shortcut[0].stride == stride
        assert stage[0].pair.space.stride == (1, 1, 1)
        rest = [block for block in stage[1:] if hasattr(block, "pair")]
        assert all(isinstance(block.shortcut, nn.Identity) for block in rest)
    assert all(m.bias is None for m in net.modules() if isinstance(m, Conv3d))
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_small_networks_keep_their_promise():
    for name, most in (("p3d_nano", 300_000), ("p3d_tiny", 1_500_000)):
        assert profile(build(name, num_classes=20)).parameters < most
