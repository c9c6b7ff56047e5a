"""Our Conv3d is torch's, only executed differently; and its bfloat16 gradients are right."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from pseudo3d.nn.conv import Conv3d, output_length, same_padding

FEW = settings(deadline=None, max_examples=40)
side = st.sampled_from([1, 2, 3, 5])
triple = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class ConvolutionRanks(TorchDispatchMode):
    """Notes how many axes the weight of every convolution has, gradients included."""

    def __init__(self):
        super().__init__()
        self.ranks = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        at = {"aten::convolution": 1, "aten::convolution_backward": 2}.get(func._schema.name)
        if at:
            self.ranks.add(args[at].ndim)
        return func(*args, **(kwargs or {}))


def compare(conv, clip):
    """Same output and gradients as torch's own layer with the same weights."""
    k = {"bias": conv.bias is not None, "padding_mode": conv.padding_mode}
    rest = (conv.stride, conv.padding, conv.dilation, conv.groups)
    plain = nn.Conv3d(conv.in_channels, conv.out_channels, conv.kernel_size, *rest, **k).double()
    plain.load_state_dict(conv.state_dict())
    results = []
    for layer in (conv, plain):
        x = clip.clone().requires_grad_()
        y = layer(x)
        draw = torch.Generator().manual_seed(1)
        y.backward(torch.randn(y.shape, generator=draw, dtype=y.dtype))
        results.append((y.detach(), x.grad, *(p.grad for p in layer.parameters())))
    assert_close(results[0], results[1])
    return results[0][0]


@FEW
@given(
    form=st.sampled_from(["space", "time", "full", "pieces"]),
    k=st.tuples(side, side, side),
    stride=triple,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    dilation=triple,
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    mode=st.sampled_from(["zeros", "replicate"]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_every_form_equals_the_layer_of_torch(
    form, k, stride, padding, dilation, groups, bias, mode, size
):
    k, stride, padding, dilation = map(list, (k, stride, padding, dilation))
    if form == "space":
        k[0] = 1
    elif form == "time":
        k[1:] = 1, 1
    elif form == "pieces":
        stride[0], dilation[0], padding[0] = k[0], 1, 0
    reach = [d * (a - 1) + 1 for a, d in zip(k, dilation, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(size, padding, reach, strict=True)))
    torch.manual_seed(0)
    conv = Conv3d(
        4,
        6,
        tuple(k),
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        bias=bias,
        padding_mode=mode,
    ).double()

    y = compare(conv, torch.randn(2, 4, *size, dtype=torch.float64))

    lengths = zip(size, k, stride, padding, dilation, strict=True)
    assert y.shape == (2, 6, *(output_length(*axis) for axis in lengths))


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("spatial", [1, 3])
def test_pieces_of_time_equal_the_layer_of_torch(k, spatial):
    """The modern stem's form; a rest of time shorter than a piece is dropped by both."""
    conv = Conv3d(3, 4, (k, spatial, spatial), stride=(k, 2, 2), padding=(0, 1, 1)).double()
    y = compare(conv, torch.randn(2, 3, 3 * k + 1, 7, 6, dtype=torch.float64))
    assert y.shape[2] == 3


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        ((1, 3, 3), (1, 2, 2)),
        ((3, 1, 1), (1, 1, 1)),
        ((1, 1, 1), (2, 1, 1)),
        ((4, 3, 3), (4, 2, 2)),
    ],
)
def test_a_flat_kernel_runs_in_two_dimensions_forward_and_backward(kernel, stride):
    conv = Conv3d(2, 3, kernel, stride=stride)
    with ConvolutionRanks() as seen:
        conv(torch.randn(1, 2, 8, 6, 6, requires_grad=True)).sum().backward()
    assert seen.ranks == {4}


def test_only_a_full_kernel_runs_in_three_dimensions():
    with ConvolutionRanks() as seen:
        Conv3d(2, 3, (3, 3, 3))(torch.randn(1, 2, 8, 6, 6, requires_grad=True)).sum().backward()
    assert seen.ranks == {5}


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (1, 1, 1)])
def test_the_fast_layout_is_kept(kernel):
    conv = Conv3d(4, 6, kernel, padding=same_padding(kernel))
    clip = torch.randn(2, 4, 3, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    assert conv(clip).is_contiguous(memory_format=torch.channels_last_3d)


def test_a_clip_shorter_than_the_kernel_is_refused_in_every_form():
    """As torch refuses it; nothing in, nothing out would be a silent loss."""
    for kernel, stride in (((4, 1, 1), 4), ((3, 1, 1), 1), ((3, 3, 3), 1), ((4, 3, 3), 4)):
        conv = Conv3d(2, 2, kernel, stride=(stride, 1, 1))
        with pytest.raises((ValueError, RuntimeError)):
            conv(torch.zeros(1, 2, 2, 5, 5))


def test_the_state_dict_is_that_of_torch_in_five_dimensions():
    ours = Conv3d(3, 4, (3, 1, 1), bias=True)
    theirs = nn.Conv3d(3, 4, (3, 1, 1))
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert shapes == {"weight": (4, 3, 3, 1, 1), "bias": (4,)}


# --- bfloat16: torch's own convolutions give garbage for some shapes (see pseudo3d.nn.exact)


def gradients(layer, clip, mode):
    """Output and weight gradient, all in bfloat16, under autocast, or in the type that is named."""
    dtype = {"pure": torch.bfloat16, "float64": torch.float64}.get(mode, torch.float32)
    layer = layer.to(dtype)
    layer.zero_grad()
    draw = torch.Generator().manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        y = layer(clip.to(dtype))
    y.backward(torch.randn(y.shape, generator=draw).to(y.dtype))
    return y, layer.weight.grad.float()


@pytest.mark.parametrize("mode", ["pure", "autocast"])
@pytest.mark.parametrize(
    ("kernel", "dilation", "t"),
    [
        ((3, 1, 1), 1, 2),
        ((3, 3, 3), 1, 2),
        ((3, 3, 3), 1, 1),
        ((3, 3, 3), 1, 3),
        ((5, 3, 3), 1, 2),
        ((5, 1, 1), 1, 4),
        ((3, 3, 3), 2, 4),
    ],
)
def test_bfloat16_weight_gradients_are_right_on_few_frames(kernel, dilation, t, mode):
    torch.manual_seed(0)
    dilations = (dilation, 1, 1)
    conv = Conv3d(32, 32, kernel, padding=same_padding(kernel, dilations), dilation=dilations)
    with torch.no_grad():  # values that bfloat16 holds, so that only the arithmetic differs
        conv.weight.copy_(conv.weight.bfloat16())
    clip = torch.randn(8, 32, t, 8, 8).bfloat16().float()
    _, exact = gradients(conv, clip, "float32")
    y, ours = gradients(conv, clip, mode)
    assert y.dtype == torch.bfloat16
    assert (ours - exact).norm() / exact.norm() < 2e-2


@pytest.mark.parametrize("mode", ["float32", "pure", "autocast"])
@settings(FEW, max_examples=60)
@given(
    kernel=st.sampled_from([(1, 3, 3), (1, 5, 5), (1, 7, 7), (3, 3, 3), (3, 1, 1), (1, 1, 1)]),
    stride=st.tuples(*[st.integers(1, 4)] * 3),
    clip=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 5)),
    channels=st.tuples(st.sampled_from([1, 3, 16]), st.sampled_from([8, 24, 80])),
)
@example(kernel=(1, 3, 3), stride=(1, 1, 2), clip=(2, 9, 1), channels=(16, 16))
@example(kernel=(1, 3, 3), stride=(1, 1, 2), clip=(2, 9, 2), channels=(16, 16))
@example(kernel=(1, 3, 3), stride=(1, 3, 3), clip=(4, 4, 1), channels=(16, 80))
@example(kernel=(1, 5, 5), stride=(1, 2, 4), clip=(1, 16, 4), channels=(16, 16))
@example(kernel=(3, 3, 3), stride=(1, 2, 2), clip=(8, 3, 2), channels=(16, 80))
@example(kernel=(3, 3, 3), stride=(2, 2, 2), clip=(4, 9, 1), channels=(16, 16))
@example(kernel=(3, 3, 3), stride=(1, 1, 1), clip=(1, 16, 16), channels=(3, 16))
@example(kernel=(1, 5, 5), stride=(1, 1, 2), clip=(2, 9, 1), channels=(1, 8))
def test_odd_shapes_are_right_in_every_type(mode, kernel, stride, clip, channels):
    torch.manual_seed(0)
    conv = Conv3d(*channels, kernel, stride=stride, padding=same_padding(kernel))
    with torch.no_grad():
        conv.weight.copy_(conv.weight.bfloat16())
    x = torch.randn(1, channels[0], *clip).bfloat16().float()
    wanted, exact = gradients(deepcopy(conv), x, "float64")
    y, ours = gradients(conv, x, mode)
    assert (y - wanted).norm() <= 1e-2 * wanted.norm()
    assert (ours - exact).norm() <= 2e-2 * exact.norm()


@pytest.mark.parametrize("mode", ["pure", "autocast"])
@pytest.mark.parametrize(("stride", "bias"), [(1, False), (2, True)])
def test_a_wide_layer_on_few_voxels_is_a_product_in_bfloat16(mode, stride, bias):
    torch.manual_seed(0)
    conv = Conv3d(64, 128, (1, 1, 1), stride=(1, stride, stride), bias=bias)
    with torch.no_grad():
        conv.weight.copy_(conv.weight.bfloat16())
    clip = torch.randn(1, 64, 2, 6, 6).bfloat16().float()
    wanted, exact = gradients(conv, clip, "float32")
    with ConvolutionRanks() as seen:
        y, ours = gradients(conv, clip, mode)
    assert seen.ranks == set()
    assert (y - wanted).norm() / wanted.norm() < 1e-2
    assert (ours - exact).norm() / exact.norm() < 1e-2


# --- formulas and refusals


@FEW
@given(
    size=st.integers(1, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
def test_output_length_is_what_torch_gives_or_raises_as_torch_does(
    size, kernel, stride, padding, dilation
):
    x, w = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel)
    try:
        expected = F.conv1d(x, w, None, stride, padding, dilation).shape[-1]
    except RuntimeError:
        with pytest.raises(ValueError, match="shorter than the kernel's reach"):
            output_length(size, kernel, stride, padding, dilation)
    else:
        assert output_length(size, kernel, stride, padding, dilation) == expected


@given(k=st.sampled_from([1, 3, 5, 7]), d=st.integers(1, 3), size=st.integers(1, 9))
def test_same_padding_keeps_the_axis(k, d, size):
    pads = same_padding((k, 1, k), (d, 1, 1))
    assert pads[1] == 0
    assert output_length(size, k, 1, pads[0], d) == output_length(size, k, 1, pads[2]) == size


def test_same_padding_refuses_an_even_kernel():
    with pytest.raises(ValueError, match=r"\(3, 4, 3\) has an even side"):
        same_padding((3, 4, 3))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("kernel", (0, 3, 3)),
        ("kernel", (3, 3)),
        ("stride", (1, 0, 1)),
        ("dilation", (1, 1, 0)),
        ("padding", (0, -1, 0)),
    ],
)
def test_impossible_values_are_named(option, value):
    given_values = {"kernel": (1, 3, 3), option: value}
    with pytest.raises(ValueError, match=f"{option} is .*three integers"):
        Conv3d(2, 2, **given_values)


@pytest.mark.parametrize(("kernel", "stride", "t"), [(7, 2, 6), (7, 2, 7), (9, 3, 9), (9, 3, 10)])
def test_a_long_kernel_with_a_stride_has_right_gradients_on_a_short_clip(kernel, stride, t):
    """torch's own are off by 1e10 there, or the process dies."""
    torch.manual_seed(0)
    conv = Conv3d(
        4, 8, (kernel, 3, 3), stride=(stride, 1, 1), padding=(kernel // 2, 1, 1), bias=True
    )
    clip = torch.randn(2, 4, t, 6, 6)
    pad = (1, 1, 1, 1, kernel // 2, kernel // 2)
    wanted = F.conv3d(F.pad(clip, pad), conv.weight, conv.bias, (stride, 1, 1))
    found, grad = conv(clip), torch.randn_like(wanted)
    assert_close(found, wanted)
    (gradient,) = torch.autograd.grad(found, conv.weight, grad)
    weight = conv.weight.detach().double().requires_grad_()
    exact = F.conv3d(F.pad(clip.double(), pad), weight, None, (stride, 1, 1))
    assert_close(gradient, torch.autograd.grad(exact, weight, grad.double())[0].float())
