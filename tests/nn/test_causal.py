"""Causal kernels look back only, and do so on the same weights and lengths."""

import pytest
import torch
from torch import nn

from pseudo3d.nn.blocks import Basic, Bottleneck, PairSpec, PseudoPair
from pseudo3d.nn.conv import Conv3d, present, time_padding
from pseudo3d.nn.factor import Factorized
from pseudo3d.nn.forms import SpaceThenTime
from pseudo3d.nn.stem import MaxPool, Stem, StemSpec

KERNELS = [
    ((3, 1, 1), (1, 1, 1), (1, 1, 1)),
    ((5, 1, 1), (2, 1, 1), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (2, 1, 1)),
    ((7, 3, 3), (2, 1, 1), (1, 1, 1)),
    ((3, 1, 1), (3, 1, 1), (1, 1, 1)),
]


def made(kernel, stride, dilation, mode="zeros", causal=True):
    torch.manual_seed(0)
    pads = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    options = {"stride": stride, "padding": pads, "dilation": dilation, "padding_mode": mode}
    return Conv3d(2, 3, kernel, **options, causal=causal)


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), KERNELS)
def test_a_causal_kernel_is_torchs_behind_padding_that_comes_first(kernel, stride, dilation, mode):
    conv, x = made(kernel, stride, dilation, mode), torch.randn(2, 2, 9, 7, 6)
    t, h, w = conv.pads
    how = "constant" if mode == "zeros" else mode
    padded = nn.functional.pad(x, (w, w, h, h, 2 * t, 0), mode=how)
    want = nn.functional.conv3d(padded, conv.weight, None, stride, 0, dilation)
    torch.testing.assert_close(conv(x), want)
    assert want.shape == made(kernel, stride, dilation, mode, causal=False)(x).shape


@pytest.mark.parametrize(("kernel", "stride", "dilation"), KERNELS)
def test_output_i_needs_no_input_after_stride_times_i(kernel, stride, dilation):
    conv, x = made(kernel, stride, dilation), torch.randn(1, 2, 9, 5, 5)
    whole = conv(x)
    for i in range(whole.shape[2]):
        torch.testing.assert_close(conv(x[:, :, : stride[0] * i + 1])[:, :, i], whole[:, :, i])


def test_padding_of_time_is_told():
    conv = made((5, 1, 1), (1, 1, 1), (2, 1, 1))
    assert (time_padding(conv), present(conv)) == ((8, 0), 4)
    conv = made((5, 1, 1), (1, 1, 1), (2, 1, 1), causal=False)
    assert (time_padding(conv), present(conv)) == ((4, 4), 2)
    assert time_padding(nn.Conv3d(1, 1, 3, padding=1)) == (1, 1)


@pytest.mark.parametrize("padding", [(0, 0, 0), (2, 0, 0)])
def test_a_causal_kernel_without_its_padding_is_refused(padding):
    with pytest.raises(ValueError, match="half of its reach"):
        Conv3d(1, 1, (3, 1, 1), padding=padding, causal=True)
    with pytest.raises(ValueError, match="half of its length"):
        MaxPool((3, 3, 3), (2, 2, 2), padding, causal=True)


def test_causal_pooling_looks_back_only():
    pool, x = MaxPool((3, 3, 3), (2, 2, 2), (1, 1, 1), causal=True), torch.randn(1, 2, 7, 6, 6)
    whole = pool(x)
    assert whole.shape == MaxPool((3, 3, 3), (2, 2, 2), (1, 1, 1))(x).shape
    for i in range(whole.shape[2]):
        assert torch.equal(pool(x[:, :, : 2 * i + 1])[:, :, i], whole[:, :, i])
    windows = nn.functional.max_pool3d(x[:, :, :3], 3, 2, (0, 1, 1))
    assert torch.equal(whole[:, :, 1:2], windows)


@pytest.mark.parametrize("semantics", ["release", "port", "modern"])
@pytest.mark.parametrize("mix", ["A", "B", "C"])
def test_a_fresh_causal_pair_is_its_2d_self(mix, semantics):
    """The identity sits on the last tap, which looks at the present frame."""
    torch.manual_seed(0)
    pair = PseudoPair(4, 4, PairSpec(mix=mix, semantics=semantics, causal=True)).eval()
    pair.still()
    x = torch.randn(1, 4, 5, 6, 6)
    frames = torch.cat([pair(f) for f in x.split(1, 2)], 2)
    torch.testing.assert_close(pair(x), frames)


def test_a_fresh_causal_light_block_lets_frames_pass():
    block = SpaceThenTime(4, 4, causal=True).eval()
    block.still()
    x = torch.randn(1, 4, 5, 6, 6)
    torch.testing.assert_close(block(x), torch.cat([block(f) for f in x.split(1, 2)], 2))


@pytest.mark.parametrize("block", [Bottleneck, Basic])
@pytest.mark.parametrize("mix", ["A", "B", "C", "full"])
def test_causal_blocks_look_back_only_and_pass_gradients(block, mix):
    torch.manual_seed(0)
    net = block(4, 4, PairSpec(mix=mix, causal=True)).eval()
    for p in net.parameters():
        nn.init.uniform_(p, 0.1, 0.5)
    x = torch.rand(1, 4, 6, 5, 5, requires_grad=True)
    net(x)[:, :, 3].sum().backward()
    seen = x.grad.ne(0).flatten(3).any(3).any(1)[0]
    assert seen.tolist() == [False, True, True, True, False, False]
    net(torch.rand(1, 4, 6, 5, 5)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize(
    "spec",
    [
        {"kernel": (3, 3, 3), "stride": (1, 2, 2)},
        {"kernel": (5, 3, 3), "stride": (1, 2, 2), "middle": 3},
        {"kernel": (7, 3, 3), "stride": (2, 2, 2), "pool": "pad3d"},
    ],
)
def test_a_causal_stem_looks_back_only(spec):
    torch.manual_seed(0)
    stem, x = Stem(3, 4, StemSpec(**spec, causal=True)).eval(), torch.randn(1, 3, 16, 12, 12)
    whole, part = stem(x), stem(x[:, :, :8])
    torch.testing.assert_close(whole[:, :, : part.shape[2]], part)
    still = Stem(3, 4, StemSpec(**spec)).eval()
    still.load_state_dict(stem.state_dict())
    assert still(x).shape == whole.shape
    assert not torch.allclose(still(x)[:, :, : part.shape[2]], still(x[:, :, :8]))


@pytest.mark.parametrize("order", ["space", "time"])
def test_a_pair_for_a_causal_kernel_is_causal(order):
    pair = Factorized(made((3, 3, 3), (2, 2, 2), (1, 1, 1)), order, 6)
    x = torch.randn(1, 2, 7, 6, 6)
    whole = pair(x)
    for i in range(whole.shape[2]):
        torch.testing.assert_close(pair(x[:, :, : 2 * i + 1])[:, :, i], whole[:, :, i])


def test_bfloat16_gradients_of_short_clips_are_right():
    """Torch's own are wrong where 2 <= T < kernel; the frames put first make such a clip long."""
    torch.manual_seed(0)
    conv, x = made((3, 3, 3), (1, 1, 1), (1, 1, 1)), torch.randn(1, 2, 2, 6, 6)
    conv(x).sum().backward()
    want, conv.weight.grad = conv.weight.grad, None
    conv.bfloat16()(x.bfloat16()).sum().backward()
    torch.testing.assert_close(conv.weight.grad.float(), want, atol=0.5, rtol=0.05)
