"""The yardsticks are the networks they claim to be: sizes, costs, and our numbers."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from pseudo3d.bench.yardsticks import PlainResNet3d, plain, plain_p3d50
from pseudo3d.models import create_model
from pseudo3d.nn.conv import Conv3d

TINY = {"widths": (8, 8, 16, 16), "stem_width": 8, "num_classes": 5}


def gflop(net):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 16, 160, 160, device="meta"))
    return counter.get_total_flops() / 1e9


@pytest.mark.parametrize(
    ("make", "parameters", "cost"),
    [
        (plain_p3d50, 25_745_232, 16.88),
        (lambda: PlainResNet3d(factored=False), 33_371_472, 166.1),
        (lambda: PlainResNet3d(factored=True), 31_505_325, 165.4),
    ],
    ids=["p3d50", "r3d18", "r(2+1)d18"],
)
def test_sizes_and_costs_are_the_published_ones(make, parameters, cost):
    with torch.device("meta"):
        net = make().eval()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert gflop(net) == pytest.approx(cost, rel=5e-4)


@torch.no_grad()
def lively(net):
    """Weights and statistics that leave nothing at zero or one."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
        elif isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return net


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("p3d50", {"semantics": "release"}),
        ("p3d50", {"semantics": "port"}),
        ("p3d50", {"semantics": "modern"}),
        ("p3d18", {"semantics": "release"}),
        ("p3d18", {"padding_mode": "replicate", "kernel": (5, 3, 3)}),
        ("p3d_tiny", {"dilation": (2, 1, 1)}),
        ("resnet18", {}),
        ("resnet50", {"stride_on": "1x1", "stem_pool": "ceil"}),
    ],
)
@pytest.mark.parametrize("size", [(8, 32, 32), (5, 23, 31)])
def test_plain_network_gives_our_numbers(name, options, size):
    torch.manual_seed(0)
    net = lively(create_model(name, **TINY, **options)).eval()
    clip = torch.randn(2, 3, *size)
    with torch.inference_mode():
        assert_close(plain(net)(clip), net(clip), rtol=1e-5, atol=1e-5)


def test_plain_network_is_made_of_torchs_own_layers():
    ours = [
        type(m).__module__
        for m in plain(create_model("p3d_tiny", **TINY)).modules()
        if type(m).__module__.startswith("pseudo3d") and "bench" not in type(m).__module__
    ]
    assert ours == []


def test_plain_network_keeps_the_mode():
    assert plain(create_model("p3d_nano", num_classes=2)).training
    assert not plain(create_model("p3d_nano", num_classes=2).eval()).training


@pytest.mark.parametrize("name", ["r3d_tiny", "r2plus1d_tiny", "c3d_tiny", "tsm_tiny", "p3d_light"])
@pytest.mark.parametrize("size", [(8, 32, 32), (5, 23, 31)])
def test_other_families_in_torchs_layers_give_our_numbers(name, size):
    torch.manual_seed(0)
    net = lively(create_model(name, num_classes=5)).eval()
    before = net.state_dict()
    twin, clip = plain(net), torch.randn(2, 3, *size)
    with torch.inference_mode():
        assert_close(twin(clip), net(clip), rtol=1e-5, atol=1e-5)
    assert twin.state_dict().keys() == before.keys()
    kinds = {type(m) for m in twin.modules() if isinstance(m, nn.Conv3d)}
    assert kinds == {nn.Conv3d}
    assert any(type(m) is Conv3d for m in net.modules()), "the network itself is left as it is"
