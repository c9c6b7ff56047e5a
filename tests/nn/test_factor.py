"""A pair in a convolution's place has its shape, and a network can be built with pairs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pseudo3d.nn.conv import Conv3d
from pseudo3d.nn.factor import Factorized, full_rank, split, whole

ORDERS = ("space", "time")


@settings(deadline=None, max_examples=40)
@given(
    order=st.sampled_from(ORDERS),
    kernel=st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(2, 4)),
    stride=st.tuples(*[st.integers(1, 2)] * 3),
    padding=st.tuples(*[st.integers(0, 2)] * 3),
    dilation=st.tuples(*[st.integers(1, 2)] * 3),
    groups=st.sampled_from([1, 2]),
    mode=st.sampled_from(["zeros", "replicate", "reflect", "circular"]),
)
def test_a_pair_puts_out_what_its_convolution_does_in_shape(
    order, kernel, stride, padding, dilation, groups, mode
):
    conv = nn.Conv3d(4, 6, kernel, stride, padding, dilation, groups, bias=False, padding_mode=mode)
    pair = Factorized(conv, order, 2)
    clip = torch.randn(1, 4, 7, 8, 9)
    assert pair(clip).shape == conv(clip).shape
    assert pair.rank == 2
    assert [half.bias for half in pair.halves] == [None, None]


@pytest.mark.parametrize("order", ORDERS)
def test_gradient_reaches_both_halves_and_the_bias(order):
    pair = Factorized(nn.Conv3d(2, 3, 3), order, 4)
    pair(torch.randn(1, 2, 4, 5, 5)).square().sum().backward()
    assert [name for name, p in pair.named_parameters() if not p.grad.any()] == []
    assert next(name for name, _ in pair.named_children()) == order
    assert pair.halves[1].bias is not None


def test_frozen_weights_their_type_and_the_mode_are_taken_over():
    conv = nn.Conv3d(2, 2, 3).double().requires_grad_(False).eval()
    pair = Factorized(conv, "space", 2)
    assert not pair.training
    assert {p.dtype for p in pair.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in pair.parameters())


@pytest.mark.parametrize("order", ORDERS)
def test_full_rank_is_the_smaller_side_of_the_unfolding(order):
    conv = nn.Conv3d(4, 6, (3, 5, 5), groups=2)
    sides = (6 * 3, 4 * 25) if order == "space" else (6 * 25, 4 * 3)
    assert full_rank(conv, order) == min(sides)


def test_named_convolutions_of_a_network_become_pairs():
    net = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Sequential(Conv3d(4, 4, (3, 3, 3))))
    split(net, (("1.0", "time", 5),))
    assert type(net[0]) is nn.Conv3d
    assert list(net.state_dict())[2:] == ["1.0.time.weight", "1.0.space.weight"]
    assert net[1][0].time.weight.shape == (5, 4, 3, 1, 1)


@pytest.mark.parametrize(
    ("ranks", "says"),
    [
        ((("2", "space", 4),), "'2', which is nothing"),
        ((("1", "space", 4),), "'1', which is a ReLU"),
        ((("0", "space", 4), ("0", "space", 4)), "'0', which is a Factorized"),
        ((("0", "space", 0),), "rank is 0"),
        ((("0", "space", 3),), "2 group"),
        ((("0", "depth", 4),), "order is 'depth'"),
    ],
)
def test_what_cannot_be_split_is_named(ranks, says, unchecked):
    net = nn.Sequential(nn.Conv3d(2, 4, 3, groups=2), nn.ReLU())
    with pytest.raises(ValueError, match=says):
        split(net, ranks)


def test_only_plain_convolutions_in_space_and_time_have_a_pair():
    class Standardized(nn.Conv3d):
        pass

    assert whole(nn.Conv3d(1, 1, (2, 1, 3))) is None
    assert whole(nn.Conv3d(1, 1, (1, 3, 3))) == "1x3x3 convolution"
    assert whole(Conv3d(1, 1, (3, 1, 1))) == "3x1x1 convolution"
    assert whole(Standardized(1, 1, 3)) == "Standardized"
    with pytest.raises(ValueError, match="a Standardized has no pair"):
        Factorized(Standardized(1, 1, 3), "space", 1)
