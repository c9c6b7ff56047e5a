"""What must hold for every form of convolution and the residual blocks made of it."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from models.lively import lively
from pseudo3d.nn.forms import (
    Factored,
    FormSpec,
    Residual,
    ResidualBottleneck,
    SpaceThenTime,
    Subsample,
    Unit,
    middle_width,
)

BASIC = ("full", "2+1", "space")
KINDS = [*product(["basic"], BASIC), *product(["bottleneck"], [*BASIC, "inflated"])]
KINDS.append(("light", "light"))
every_kind = pytest.mark.parametrize(("kind", "form"), KINDS)
FEW = settings(deadline=None, max_examples=20)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(kind, form, stride=(1, 1, 1), cin=6, width=4, **options):
    if kind == "light":
        return lively(SpaceThenTime(cin, width, stride))
    block = {"basic": Residual, "bottleneck": ResidualBottleneck}[kind]
    return lively(block(cin, width, FormSpec(form=form, stride=stride, **options)))


def channels(kind):
    return 16 if kind == "bottleneck" else 4


@FEW
@given(
    pick=st.sampled_from(KINDS),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    shortcut=st.sampled_from(["A", "B"]),
)
def test_every_axis_is_divided_by_its_stride_and_rounded_up(pick, stride, size, shortcut):
    kind, form = pick
    block = make(kind, form, stride, cin=3, shortcut=shortcut)
    wanted = tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    assert block(torch.zeros(2, 3, *size)).shape == (2, channels(kind), *wanted)


@every_kind
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2)])
def test_gradient_reaches_every_parameter_and_the_input(kind, form, stride):
    block = make(kind, form, stride, cin=5, width=8)
    clip = torch.randn(2, 5, 4, 6, 6, requires_grad=True)
    block(clip).square().sum().backward()
    assert [n for n, p in block.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).any(2).all())


def box(t, h, w):
    mask = torch.zeros(9, 9, 9, dtype=torch.bool)
    mask[4 - t // 2 : 5 + t // 2, 4 - h // 2 : 5 + h // 2, 4 - w // 2 : 5 + w // 2] = True
    return mask


# Frames, rows, columns that one output voxel sees through two convolutions, or one.
REACH = {
    ("basic", "full"): (5, 5, 5),
    ("basic", "2+1"): (5, 5, 5),
    ("basic", "space"): (1, 5, 5),
    ("bottleneck", "full"): (3, 3, 3),
    ("bottleneck", "2+1"): (3, 3, 3),
    ("bottleneck", "space"): (1, 3, 3),
    ("bottleneck", "inflated"): (3, 3, 3),
    ("light", "light"): (3, 3, 3),
}


@every_kind
def test_one_output_voxel_sees_the_box_of_its_kernels(kind, form):
    block = make(kind, form)
    with torch.no_grad():  # no canceling, no dead ReLU
        for name, value in block.state_dict().items():
            value.zero_() if name.endswith("running_mean") else value.abs_()
    clip = torch.rand(1, 6, 9, 9, 9, requires_grad=True)
    block(clip)[0, :, 4, 4, 4].sum().backward()
    assert torch.equal(clip.grad[0].ne(0).any(0), box(*REACH[kind, form]))


@every_kind
def test_batch_entries_do_not_mix(kind, form):
    block, clip = make(kind, form, (2, 2, 2)), torch.randn(3, 6, 4, 5, 6)
    assert_close(block(clip), torch.cat([block(entry) for entry in clip.split(1)]))


@every_kind
def test_clip_is_left_alone(kind, form):
    block, clip = make(kind, form, cin=channels(kind)), torch.randn(1, channels(kind), 3, 4, 4)
    copy = clip.clone()
    block(clip)
    assert torch.equal(clip, copy)


# --- the sums, written out a second time


def bn(x, n):
    return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)


def test_a_factored_convolution_is_space_norm_relu_time_norm():
    unit, clip = lively(Factored(3, 5, 4, (2, 2, 2))), torch.randn(2, 3, 5, 7, 6)
    y = F.conv3d(clip, unit.space.weight, None, (1, 2, 2), (0, 1, 1))
    y = torch.relu(bn(y, unit.space_norm))
    y = bn(F.conv3d(y, unit.time.weight, None, (2, 1, 1), (1, 0, 0)), unit.norm)
    assert_close(unit(clip), y)


def test_a_bottleneck_strides_its_middle():
    block, clip = make("bottleneck", "full", (2, 2, 2)), torch.randn(2, 6, 5, 6, 7)
    y = torch.relu(bn(F.conv3d(clip, block.reduce.conv.weight), block.reduce.norm))
    y = F.conv3d(y, block.middle.conv.weight, None, 2, 1)
    y = torch.relu(bn(y, block.middle.norm))
    y = bn(F.conv3d(y, block.expand.conv.weight), block.expand.norm)
    x = bn(F.conv3d(clip, block.shortcut[0].weight, None, 2), block.shortcut[1])
    assert_close(block(clip), torch.relu(y + x))


def test_an_inflated_bottleneck_strides_each_axis_where_a_kernel_looks_along_it():
    block = make("bottleneck", "inflated", (2, 2, 2))
    assert block.reduce.conv.kernel_size == (3, 1, 1)
    assert block.reduce.conv.stride == (2, 1, 1)
    assert block.middle.conv.kernel_size == (1, 3, 3)
    assert block.middle.conv.stride == (1, 2, 2)


def test_the_light_block_is_space_then_time_and_a_shortcut_over_both():
    block, clip = make("light", "light", (2, 2, 2)), torch.randn(2, 6, 5, 6, 7)
    y = F.conv3d(clip, block.space.conv.weight, None, (1, 2, 2), (0, 1, 1))
    y = torch.relu(bn(y, block.space.norm))
    y = bn(F.conv3d(y, block.time.conv.weight, None, (2, 1, 1), (1, 0, 0)), block.time.norm)
    x = bn(F.conv3d(clip, block.shortcut[0].weight, None, 2), block.shortcut[1])
    assert_close(block(clip), torch.relu(y + x))


def test_a_still_light_block_treats_every_frame_alone():
    block, clip = make("light", "light"), torch.randn(2, 6, 5, 4, 4)
    block.still()
    frames = torch.cat([block(frame) for frame in clip.split(1, dim=2)], dim=2)
    assert_close(block(clip), frames)


# --- widths, shortcuts, dilation


@given(st.integers(1, 512), st.integers(3, 512))
def test_the_middle_width_gives_as_many_weights_as_the_full_kernel(cin, cout):
    middle = middle_width(cin, cout)
    per_channel = 9 * cin + 3 * cout
    assert 0 <= 27 * cin * cout - middle * per_channel < per_channel


def test_middle_widths_are_shared_or_each_its_own():
    shared, own = (Residual(64, 128, FormSpec(form="2+1", middle=m)) for m in ("shared", "own"))
    assert shared.first.space.out_channels == own.first.space.out_channels == 230
    assert shared.second.space.out_channels == 230
    assert own.second.space.out_channels == 288
    shared, own = (
        ResidualBottleneck(256, 64, FormSpec(form="2+1", middle=m)) for m in ("shared", "own")
    )
    assert shared.middle.space.out_channels == middle_width(256, 64)
    assert own.middle.space.out_channels == middle_width(64, 64) == 144


@every_kind
def test_the_shortcut_is_the_clip_itself_where_shapes_agree(kind, form):
    assert isinstance(make(kind, form, cin=channels(kind)).shortcut, nn.Identity)


def test_shortcut_a_has_no_weights_and_appends_zero_channels():
    block = make("basic", "full", (2, 2, 2), cin=3, shortcut="A")
    assert not [n for n in block.state_dict() if n.startswith("shortcut")]
    clip = torch.randn(1, 3, 5, 4, 6)
    y = block.shortcut(clip)
    assert torch.equal(y[:, :3], clip[:, :, ::2, ::2, ::2])
    assert not y[:, 3:].any()


def test_shortcut_a_passes_gradient():
    block = make("basic", "full", (2, 2, 2), cin=3, shortcut="A")
    nn.init.zeros_(block.second.norm.weight)
    clip = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    block(clip).sum().backward()
    assert clip.grad.any()


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 3)])
def test_shortcut_a_is_a_convolution(stride):
    short, clip = Subsample(3, 5, stride), torch.randn(2, 3, 5, 6, 7)
    assert_close(short.as_convolution()(clip), short(clip))


def test_a_shortcut_may_have_a_bias():
    assert make("basic", "full", (2, 2, 2)).shortcut[0].bias is None
    block = make("basic", "full", (2, 2, 2), shortcut_bias=True)
    assert block.shortcut[0].bias.shape == (4,)


@pytest.mark.parametrize("form", BASIC)
def test_a_dilated_kernel_keeps_the_shape_and_reaches_further(form):
    block = make("basic", form, cin=4, dilation=2)
    assert block(torch.zeros(1, 4, 3, 5, 5)).shape == (1, 4, 3, 5, 5)
    reach = [m for m in block.modules() if isinstance(m, nn.Conv3d)]
    for conv in reach:
        assert conv.dilation == tuple(2 if k > 1 else 1 for k in conv.kernel_size)


def test_a_unit_is_a_convolution_and_its_norm():
    unit, clip = lively(Unit(3, 4, (1, 3, 3), (1, 2, 2))), torch.randn(2, 3, 4, 5, 6)
    assert_close(
        unit(clip), bn(F.conv3d(clip, unit.conv.weight, None, (1, 2, 2), (0, 1, 1)), unit.norm)
    )


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: FormSpec(form="half"), "form is 'half'"),
        (lambda: FormSpec(middle="wide"), "middle is 'wide'"),
        (lambda: FormSpec(shortcut="C"), "shortcut is 'C'"),
        (lambda: FormSpec(dilation=0), "dilation is 0"),
        (lambda: Residual(4, 4, FormSpec(form="inflated")), "no meaning for basic"),
        (lambda: Residual(4, 4, FormSpec(stride=(0, 1, 1))), "stride is"),
        (lambda: Residual(8, 4, FormSpec(shortcut="A")), "cannot drop channels"),
    ],
)
def test_impossible_blocks_are_refused(make_it, words):
    with pytest.raises(ValueError, match=words):
        make_it()
