"""Networks and images that `convert` cannot use, and in which words it says so."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from pseudo3d.errors import Pseudo3dError
from pseudo3d.recycle.convert import convert
from recycle.nets2d import draw, resnet_basic


class Small(nn.Module):
    """Two convolutions and a mean."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.c1, self.c2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.c2(self.c1(x).relu()).mean((2, 3))


class WithDepth(Small):
    def forward(self, x, depth):
        return super().forward(x) + depth.mean()


class WithNamedDepth(Small):
    def forward(self, x, *, depth, scale=1.0):
        return super().forward(x) + scale * depth.mean()


class Root(Small):
    """Takes no numbers below zero."""

    def forward(self, x):
        return super().forward(x.sqrt())


class Infinite(Small):
    """Says of one class in four, or of each, that it is out of the question."""

    def __init__(self, classes):
        super().__init__()
        self.register_buffer("never", torch.arange(4) < classes)

    def forward(self, x):
        return super().forward(x).masked_fill(self.never, -math.inf)


class Pairs(Small):
    """Takes images two by two."""

    def forward(self, x):
        return super().forward(x.reshape(x.shape[0] // 2, 2, *x.shape[1:]).flatten(0, 1))


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("example", [None, images(2, 3, 16, 16)])
@pytest.mark.parametrize("entry", ["c1.weight", "c2.bias"])
def test_a_network_that_gives_nan_is_refused_and_the_weight_named(entry, example):
    net2d = Small()
    net2d.get_parameter(entry).data[0] = math.nan
    with pytest.raises(Pseudo3dError, match=f"gives NaN .* in {entry}, so .* likely diverged"):
        convert(net2d, example=example)


def test_nan_of_finite_weights_may_be_the_images_fault():
    with pytest.raises(
        Pseudo3dError, match=r"gives NaN for images .* weights are finite.*example="
    ):
        convert(Root())
    huge = Small()
    huge.c1.weight.data *= 1e38
    huge.c2.weight.data *= 1e38
    with pytest.raises(Pseudo3dError, match="too large by far"):
        convert(huge)


def test_no_equality_is_claimed_where_random_images_give_nan():
    report = convert(Root(), example=images(2, 3, 16, 16)).report
    assert not report.exact
    assert report.proof.error == math.inf
    assert "the 2-D network itself answers NaN to random images" in str(report)


def test_infinite_numbers_are_equal_to_themselves_but_prove_nothing_alone():
    assert convert(Infinite(1)).report.exact
    with pytest.raises(Pseudo3dError, match="gives only infinite numbers"):
        convert(Infinite(4))


def test_zeros_in_half_precision_are_equal():
    net2d = Small().half()  # in which 1e-12 is zero
    for value in net2d.parameters():
        value.data.zero_()
    assert convert(net2d, example=images(2, 3, 16, 16)).report.exact


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 3, 4, 32, 32),
            r"shape \(2, 3, 4, 32, 32\); wanted .*\(N, C, H, W\) with N >= 1; of a",
        ),
        ((3, 32, 32), r"shape \(3, 32, 32\); wanted .*\(N, C, H, W\) with N >= 1; one image is"),
        ((0, 3, 32, 32), r"shape \(0, 3, 32, 32\); wanted .*\(N, C, H, W\) with N >= 1$"),
        ((2, 1, 32, 32), r"shape \(2, 1, 32, 32\): .*to have 3 channels.* Wanted \(N, C, H, W\)"),
        ((1, 1, 32, 32), r"shape \(1, 1, 32, 32\) \(run as 2\): .*to have 3 channels"),
    ],
)
def test_unsuitable_images_are_refused_with_their_shape(shape, message):
    with pytest.raises(Pseudo3dError, match=message):
        convert(Small(), example=images(*shape))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("example", "message"),
    [
        ((images(2, 3, 8, 8), images(2, 1, 8, 8)), "is a tuple; wanted a tensor.*wrapped in a mod"),
        (images(2, 3, 8, 8).numpy(), "is a ndarray; wanted a tensor of images"),
        (images(2, 3, 8, 8).to("meta"), "on device meta and holds no numbers"),
        (images(2, 3, 8, 8) * math.nan, "holds NaN or infinite numbers"),
    ],
)
def test_an_example_that_is_no_tensor_of_numbers_is_refused(example, message):
    with pytest.raises(Pseudo3dError, match=message):
        convert(Small(), example=example)


@pytest.mark.parametrize("example", [None, images(2, 3, 16, 16)])
@pytest.mark.parametrize("make", [WithDepth, WithNamedDepth])
def test_a_network_of_several_inputs_is_to_be_wrapped(make, example):
    with pytest.raises(Pseudo3dError, match=r"several inputs \(x, depth\); wrap it") as caught:
        convert(make(), example=example)
    assert "example=" not in str(caught.value)


def test_a_network_that_takes_no_single_image_is_refused():
    with pytest.raises(Pseudo3dError, match=r"but not one, of shape \(1, 3, 64, 64\): shape"):
        convert(Pairs())


@pytest.mark.parametrize("part", ["", "c2"])
def test_weights_without_numbers_are_to_be_loaded_first(part):
    net2d = Small()
    net2d.get_submodule(part).to("meta")
    with pytest.raises(Pseudo3dError, match=r"no numbers: c\d.weight is on device meta. Load them"):
        convert(net2d)


def test_lazy_buffers_are_refused_as_lazy_parameters_are():
    net2d = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyBatchNorm2d(affine=False))
    with pytest.raises(Pseudo3dError, match="has lazy parameters; run it once"):
        convert(net2d)


@pytest.mark.parametrize("mix", ["A", "B", "C"])
def test_a_training_network_with_spectral_norm_starts_exact(mix):
    """Reading such a weight in training changes it."""
    net2d = Small()
    spectral_norm(net2d.c1)
    spectral_norm(net2d.c2)
    net2d.train()
    net2d.c1.eval()
    before = copy.deepcopy(net2d.state_dict())
    net = convert(net2d, mix)
    assert net.report.exact
    assert net.training
    assert (net2d.training, net2d.c1.training, net2d.c2.training) == (True, False, True)
    assert (net.net.training, net.net.c1.training, net.net.c2.training) == (True, False, True)
    for state in (net2d.state_dict(), net.net.state_dict()):
        assert all(torch.equal(state[key], value) for key, value in before.items())


@pytest.mark.parametrize("method", ["p3d", "center"])
def test_replaced_layers_have_the_mode_of_the_layer(method):
    net2d = draw(resnet_basic).train()
    net2d.layers[0].conv1.eval()
    net = convert(net2d, method=method)
    modes = {name: m.training for name, m in net.net.named_modules()}
    assert all(modes[name] == m.training for name, m in net2d.named_modules())
