"""The U-Net: sizes, axes that halve by spacing, what its twins cannot see."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.models import create_model, unet, volume  # noqa: F401  (the networks enter the registry)
from pseudo3d.models.unet import UNetConfig, plan_strides, plan_unet
from pseudo3d.nn.factor import Factorized

TINY = {"widths": (4, 8), "depths": (1, 1), "strides": ((2, 2, 2),)}


def net(name="p3d_unet", **options):
    torch.manual_seed(0)
    return create_model(name, **{**TINY, **options}).eval()


def lively(model):
    """The same network with temporal kernels that do something."""
    for module in model.modules():
        if hasattr(module, "time"):
            torch.nn.init.normal_(module.time.weight, std=0.3)
    return model


@settings(max_examples=12, deadline=None)
@given(size=st.tuples(*[st.integers(1, 9)] * 3), labels=st.integers(2, 4))
def test_every_voxel_gets_logits_whatever_the_size(size, labels):
    assert net(num_classes=labels)(torch.zeros(2, 1, *size)).shape == (2, labels, *size)


def test_gradients_reach_every_parameter_and_the_input():
    model = lively(net()).train()
    x = torch.randn(2, 1, 5, 6, 7, requires_grad=True)
    model(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_scans_of_a_batch_do_not_mix():
    model = lively(net())
    x = torch.randn(3, 1, 4, 8, 8)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "reaches"), [("p3d_unet", True), ("p3d_unet_full", True)])
def test_it_sees_neighboring_slices(name, reaches):
    model = lively(net(name))
    x = torch.randn(1, 1, 6, 8, 8)
    other = x.clone()
    other[:, :, 4] += 1
    assert ((model(x) - model(other))[:, :, 2].abs().max() > 1e-4) == reaches


def test_the_twin_of_slices_sees_one_slice_at_a_time():
    model = lively(net("p3d_unet_slices", strides=((1, 2, 2),)))
    x = torch.randn(1, 1, 5, 8, 8)
    whole = model(x)
    alone = torch.cat([model(x[:, :, i : i + 1]) for i in range(5)], 2)
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("widths", (4, 12)), ("depths", (1, 2)), ("strides", ((1, 2, 2),)), ("mixes", ("full",))],
)
def test_every_choice_changes_the_network(field, value):
    x = torch.randn(1, 1, 4, 8, 8)
    changed = lively(net(**{field: value}))(x)
    assert not torch.equal(lively(net())(x), changed)


def test_ranks_put_pairs_in_the_place_of_convolutions():
    model = net("p3d_unet_full", ranks=(("joins.0.block.pair.space", "time", 3),))
    assert isinstance(model.joins[0].block.pair.space, Factorized)
    with pytest.raises(ValueError, match=r"names 'joins\.9', which is nothing"):
        net(ranks=(("joins.9", "time", 3),))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strides": ()}, "as many depths"),
        ({"strides": ((1, 1, 1),)}, "not all 1"),
        ({"mixes": ()}, "mixes is"),
        ({"across": False}, "use 1 along depth"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        UNetConfig(**{**TINY, **wrong})


def test_thick_slices_are_not_joined_before_the_planes_are_as_coarse():
    assert plan_strides((6.5, 0.4, 0.4), (16, 64, 64))[:4] == ((1, 2, 2),) * 4
    assert plan_strides((1, 1, 1), (40, 56, 40)) == ((2, 2, 2),) * 3


@given(spacing=st.tuples(*[st.floats(0.3, 8)] * 3), size=st.tuples(*[st.integers(1, 80)] * 3))
def test_planned_strides_bring_voxels_nearer_to_cubes_and_never_empty_an_axis(spacing, size):
    if max(size) < 8:
        with pytest.raises(ValueError, match="nothing to halve"):
            plan_strides(spacing, size)
        return
    left = list(size)
    for stride in plan_strides(spacing, size):
        assert all(n >= 8 for n, by in zip(left, stride, strict=True) if by == 2)
        left = [-(-n // by) for n, by in zip(left, stride, strict=True)]
    assert min(left) >= min(4, *size)


def test_a_planned_network_is_built_from_the_plan():
    plan = plan_unet((3.0, 1.0, 1.0), (16, 32, 32), base=4, most=8)
    assert create_model("p3d_unet", **plan)(torch.zeros(1, 1, 16, 32, 32)).shape[2:] == (16, 32, 32)
