"""Stem and pooling: any size passes, Caffe's rounding where asked, pieces of time filled up."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from pseudo3d.nn.stem import AtLeast, MaxPool, Stem, StemSpec, time_pool

FEW = settings(deadline=None, max_examples=25)
length = st.integers(1, 12)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def stem(cin=2, cout=4, **spec):
    torch.manual_seed(0)
    return Stem(cin, cout, StemSpec(**spec)).eval()


@FEW
@given(t=length, h=length, w=length)
def test_ceil_pooling_is_the_maximum_over_every_started_window(t, h, w):
    x = torch.randn(1, 1, t, h, w)
    y = MaxPool((2, 3, 3), (2, 2, 2))(x)
    # Caffe: ceil((size - kernel) / stride) + 1 windows, none of them only padding.
    counts = [max(-(-(s - k) // 2) + 1, 1) for s, k in ((t, 2), (h, 3), (w, 3))]
    assert y.shape[2:] == tuple(counts)
    for a in range(counts[0]):
        for b in range(counts[1]):
            for c in range(counts[2]):
                window = x[0, 0, 2 * a : 2 * a + 2, 2 * b : 2 * b + 3, 2 * c : 2 * c + 3]
                assert y[0, 0, a, b, c] == window.max()


@FEW
@given(t=length, h=length, w=length)
def test_padded_pooling_is_that_of_torchvision(t, h, w):
    x = torch.randn(1, 2, t, h, w)
    frames = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), 3, 2, 1)
    y = MaxPool((1, 3, 3), (1, 2, 2), (0, 1, 1))(x)
    assert_close(y.transpose(1, 2).flatten(0, 1), frames)


@pytest.mark.parametrize("factor", [2, 3])
def test_time_pool_takes_the_maximum_over_frames_and_keeps_the_rest(factor):
    x = torch.randn(1, 2, 2 * factor + 1, 3, 3)
    y = time_pool(factor)(x)
    assert y.shape == (1, 2, 3, 3, 3)
    assert_close(y[:, :, 0], x[:, :, :factor].amax(2))
    assert_close(y[:, :, 2], x[:, :, -1])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_pairs_of_frames_pool_as_in_torch_forward_and_backward(layout):
    """Ties included: the gradient goes to the earlier frame."""
    x = torch.randint(0, 3, (2, 8, 6, 4, 4)).double().contiguous(memory_format=layout)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = time_pool(2)(ours), F.max_pool3d(theirs, (2, 1, 1))
    slope = torch.randn_like(y)
    y.backward(slope)
    wanted.backward(slope)
    assert_close(y, wanted, rtol=0, atol=0)
    assert_close(ours.grad, theirs.grad, rtol=0, atol=0)
    assert ours.grad.stride() == x.stride()


@pytest.mark.parametrize(
    "pool", [MaxPool((2, 1, 1), (2, 1, 1)), MaxPool((1, 3, 3), (1, 2, 2), (0, 1, 1))]
)
def test_pooling_keeps_the_fast_layout_forward_and_backward(pool):
    x = torch.randn(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    y = pool(x.requires_grad_())
    y.backward(torch.randn_like(y))
    for tensor in (y, x.grad):
        assert tensor.is_contiguous(memory_format=torch.channels_last_3d)


def test_pooling_pairs_has_the_right_slope():
    x = torch.randn(1, 2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(time_pool(2), x)


def test_time_pool_of_one_is_nothing():
    assert isinstance(time_pool(1), nn.Identity)


@FEW
@given(
    pool=st.sampled_from(["pad", "ceil", "none"]),
    form=st.sampled_from([(1, 1), (3, 1), (3, 2), (4, 4), (3, 3), (2, 2)]),
    factor=st.sampled_from([1, 2]),
    t=st.integers(1, 9),
    h=length,
    w=length,
)
def test_any_clip_passes_and_the_shape_is_as_stated(pool, form, factor, t, h, w):
    kt, st_ = form
    layer = stem(kernel=(kt, 5, 5), stride=(st_, 2, 2), pool=pool, time_pool=factor)
    frames = -(-t // st_)
    frames = -(-frames // factor)
    sides = [-(-s // 2) for s in (h, w)]
    if pool == "pad":
        sides = [-(-s // 2) for s in sides]
    elif pool == "ceil":
        sides = [max(-(-(s - 3) // 2) + 1, 1) for s in sides]
    assert layer(torch.randn(2, 2, t, h, w)).shape == (2, 4, frames, *sides)


@pytest.mark.parametrize("t", [1, 5, 7])
def test_the_last_piece_is_filled_up_with_the_last_frame(t):
    layer = stem(kernel=(4, 3, 3), stride=(4, 2, 2))
    clip = torch.randn(1, 2, t, 8, 8)
    full = torch.cat([clip, clip[:, :, -1:].expand(-1, -1, -t % 4, -1, -1)], dim=2)
    assert_close(layer(clip), layer(full))


def test_the_layers_come_in_the_order_conv_norm_relu_pool():
    layer = stem(kernel=(3, 7, 7), stride=(1, 2, 2), pool="ceil", time_pool=2)
    nn.init.uniform_(layer.norm.running_var, 0.5, 1.5)
    nn.init.normal_(layer.norm.bias)
    n, clip = layer.norm, torch.randn(2, 2, 5, 15, 17)
    y = F.conv3d(clip, layer.conv.weight, None, (1, 2, 2), (1, 3, 3))
    y = torch.relu(F.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias))
    assert_close(layer(clip), F.max_pool3d(y, (2, 3, 3), 2, ceil_mode=True))


def test_a_factored_stem_is_space_norm_relu_time_norm_relu():
    layer = stem(kernel=(3, 7, 7), stride=(2, 2, 2), pool="none", middle=5)
    for n in (layer.space_norm, layer.norm):
        nn.init.uniform_(n.running_var, 0.5, 1.5)
        nn.init.normal_(n.bias)
    clip = torch.randn(2, 2, 5, 15, 17)

    def bn(x, n):
        return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)

    y = F.conv3d(clip, layer.space.weight, None, (1, 2, 2), (0, 3, 3))
    y = F.conv3d(torch.relu(bn(y, layer.space_norm)), layer.time.weight, None, (2, 1, 1), (1, 0, 0))
    assert_close(layer(clip), torch.relu(bn(y, layer.norm)))


@FEW
@given(t=length, h=length, w=length)
def test_pooling_along_time_too_is_torchs_own(t, h, w):
    layer = stem(kernel=(1, 1, 1), stride=(1, 1, 1), pool="pad3d")
    x = torch.randn(1, 4, t, h, w)
    assert_close(layer.pool(x), F.max_pool3d(x, 3, 2, 1))


@FEW
@given(h=length, w=length)
def test_a_small_picture_is_filled_up_by_repeating_its_border(h, w):
    x = torch.randn(1, 2, 3, h, w)
    y = AtLeast((4, 6))(x)
    assert y.shape == (1, 2, 3, max(h, 4), max(w, 6))
    rows = torch.arange(max(h, 4)).clamp(max=h - 1)
    columns = torch.arange(max(w, 6)).clamp(max=w - 1)
    assert torch.equal(y, x[..., rows, :][..., columns])


def test_gradient_reaches_every_parameter_and_every_frame():
    layer = stem(kernel=(4, 7, 7), stride=(4, 2, 2))
    clip = torch.randn(1, 2, 6, 16, 16, requires_grad=True)
    layer(clip).sum().backward()
    assert all(bool(p.grad.any()) for p in layer.parameters())
    assert bool(clip.grad.ne(0).any(4).any(3).any(1).all())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kernel": (1, 4, 3)}, "even side in space"),
        ({"kernel": (1, 3, 6)}, "even side in space"),
        ({"kernel": (2, 7, 7), "stride": (1, 2, 2)}, "even in time and its stride is 1"),
        ({"pool": "max"}, "stem pool is 'max'"),
        ({"time_pool": 0}, "pooling factor is 0"),
        ({"middle": 0, "kernel": (3, 7, 7)}, "stem_middle is 0"),
        ({"middle": 4, "kernel": (1, 7, 7)}, "extent in time to take apart"),
    ],
)
def test_impossible_stems_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        StemSpec(**spec)
