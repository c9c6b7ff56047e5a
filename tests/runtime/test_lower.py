"""An optimized network is the network: same logits whatever the shape, the block, the operators."""

import pickle
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pseudo3d import optimize
from pseudo3d.errors import Pseudo3dError
from pseudo3d.nn.conv import Conv3d, same_padding
from pseudo3d.runtime import lower, packed
from pseudo3d.runtime.steps import Convolution
from runtime.cases import CASES, ODD, Odd
from runtime.conftest import shaken

NETS = {case: shaken(name, **config) for case, (name, config) in CASES.items()}
FAST = {case: optimize(net) for case, net in NETS.items()}


def relative(a, b):
    return float((a - b).norm() / b.norm())


def logits(net, clip):
    with torch.inference_mode():
        return net(clip)


@settings(deadline=None, max_examples=40)
@given(
    case=st.sampled_from(sorted(CASES)),
    n=st.integers(1, 3),
    t=st.integers(1, 9),
    h=st.integers(1, 40),
    w=st.integers(1, 40),
)
def test_optimized_network_equals_the_network(case, n, t, h, w):
    clip = torch.randn(n, 3, t, h, w, generator=torch.Generator().manual_seed(h * w))
    want = logits(NETS[case], clip)
    assert relative(FAST[case](clip), want) < 5e-6
    with torch.inference_mode():
        assert relative(FAST[case].features(clip), NETS[case].features(clip)) < 5e-6


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_differs_by_rounding_only(case):
    clip = torch.randn(2, 3, 8, 32, 32)
    fast = optimize(NETS[case], clip, precision="bf16")
    found = fast(clip)
    assert found.dtype == torch.float32
    assert relative(found, logits(NETS[case], clip)) < 2e-2


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(4, 96, 16), (4, 160, 32), (4, 16, 96), (4, 7, 7), (1, 32, 32)])
def test_bfloat16_is_right_for_narrow_and_short_clips(case, shape):
    """Where torch's own convolutions may give anything: see pseudo3d.nn.exact."""
    clip = torch.randn(1, 3, *shape)
    found = optimize(NETS[case], precision="bf16")(clip)
    assert relative(found, logits(NETS[case], clip)) < 3e-2


@settings(deadline=None, max_examples=60)
@given(
    stride=st.tuples(*[st.integers(1, 3)] * 3),
    kernel=st.tuples(*[st.sampled_from([1, 3, 5])] * 3),
    clip=st.tuples(st.integers(1, 8), st.integers(1, 17), st.integers(1, 5)),
    channels=st.sampled_from([1, 3, 8]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_fast_convolution_is_the_convolution(stride, kernel, clip, channels, dtype):
    torch.manual_seed(0)
    conv = Conv3d(channels, 8, kernel, stride=stride, padding=same_padding(kernel), bias=True)
    x = torch.randn(2, channels, *clip).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        want = conv.double()(x.double())
        found = Convolution(conv, dtype, relu=False)(x.to(dtype))
    assert relative(found, want) < (1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("case", CASES)
def test_public_operators_stand_in_for_the_private_ones(case, monkeypatch):
    assert packed.fused(), "the private operators are expected with the pinned torch"
    monkeypatch.setattr(packed, "fused", lambda: False)
    clip = torch.randn(2, 3, 5, 24, 31)
    assert relative(optimize(NETS[case])(clip), logits(NETS[case], clip)) < 5e-6


def test_private_operators_that_compute_something_else_are_not_used(monkeypatch):
    monkeypatch.setattr(packed, "_pack", lambda weight, *rest: weight * 2)
    packed.fused.cache_clear()
    try:
        assert not packed.fused()
    finally:
        packed.fused.cache_clear()


def test_missing_private_operators_are_not_used(monkeypatch):
    def gone(*args):
        raise AttributeError("mkldnn_reorder_conv2d_weight")

    monkeypatch.setattr(packed, "_pack", gone)
    packed.fused.cache_clear()
    try:
        assert not packed.fused()
    finally:
        packed.fused.cache_clear()


def test_clip_and_network_are_left_alone():
    net = shaken("p3d_nano").train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    clip = torch.randn(2, 3, 8, 32, 32)
    copy = clip.clone()
    fast = optimize(net, clip)
    first = fast(clip)
    assert torch.equal(fast(clip), first)
    assert torch.equal(clip, copy)
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_channels_last_clip_is_left_alone():
    clip = torch.rand(1, 3, 8, 32, 32).contiguous(memory_format=torch.channels_last_3d)
    copy = clip.clone()
    FAST["modern"](clip)
    assert torch.equal(clip, copy)


def test_packed_weights_are_kept_for_the_latest_shapes_only():
    fast = optimize(NETS["modern"])
    convolutions = [line.run.conv for line in fast._lines if hasattr(line.run, "conv")]
    for size in (16, 20, 24, 28, 32, 36):
        fast(torch.randn(1, 3, 4, size, size))
    assert {len(conv._packed) for conv in convolutions} == {packed.KEPT}
    first = fast(torch.randn(1, 3, 4, 16, 16))
    assert first.isfinite().all()


def test_weights_are_packed_for_the_number_of_threads_they_are_used_with(monkeypatch):
    if not packed.fused():
        pytest.skip("torch's fused convolutions are not there")
    made = []
    pack = packed._pack
    monkeypatch.setattr(packed, "_pack", lambda *given: made.append(given[2]) or pack(*given))
    image = torch.randn(1, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    conv = packed.PackedConv(
        torch.randn(8, 8, 3, 3), torch.zeros(8), (1, 1), (1, 1), (1, 1), 1, relu=True
    )
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 1, 2):
            torch.set_num_threads(count)
            conv(image)
    finally:
        torch.set_num_threads(before)
    assert len(made) == 2


def test_clips_of_a_batch_do_not_mix():
    clip = torch.randn(3, 3, 8, 24, 24)
    alone = torch.cat([FAST["release"](one[None]) for one in clip])
    assert relative(FAST["release"](clip), alone) < 5e-6


def test_optimized_network_says_what_it_is():
    fast = optimize(NETS["frames"], precision="bf16")
    assert (fast.name, fast.precision, fast.cfg) == ("resnet_nano", "bf16", NETS["frames"].cfg)
    assert fast.card is NETS["frames"].card


def test_what_computes_something_else_is_not_handed_out(monkeypatch):
    monkeypatch.setattr(lower.Lowered, "features", lambda self, x: torch.zeros(len(x), 80))
    with pytest.raises(Pseudo3dError, match=r"p3d_nano differs from the network by .* is rounding"):
        optimize(NETS["modern"])


@pytest.mark.usefixtures("unchecked")
def test_a_clip_in_another_order_is_refused():
    with pytest.raises(Pseudo3dError, match="looks like"):
        FAST["modern"](torch.randn(1, 8, 3, 32, 32))


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'fp16'; wanted 'fp32' or 'bf16'"):
        optimize(NETS["modern"], precision="fp16")


def test_a_network_elsewhere_is_refused():
    with torch.device("meta"):
        net = type(NETS["modern"])(NETS["modern"].cfg)
    with pytest.raises(ValueError, match=r"on 'meta'.*load its weights first"):
        optimize(net)


def test_operators_without_a_fast_form_run_as_they_are():
    net = shaken("p3d_nano")
    net.stem.act = nn.Softsign()
    clip = torch.randn(1, 3, 4, 24, 24)
    assert relative(optimize(net)(clip), logits(net, clip)) < 5e-6


@pytest.mark.parametrize("kind", ODD)
def test_what_is_needed_again_is_not_written_over(kind):
    net, clip = Odd(kind).eval(), torch.randn(1, 3, 4, 6, 6)
    assert relative(optimize(net)(clip), logits(net, clip)) < 1e-6


@pytest.mark.parametrize("name", ["p3d_unet", "p3d_unet_slices", "p3d_unet_full"])
def test_a_network_for_masks_keeps_its_answer_for_every_voxel(name):
    options = {"widths": (4, 8, 12), "depths": (1, 2, 1), "strides": ((1, 2, 2), (1, 2, 1))}
    net = shaken(name, **options)
    fast, half = optimize(net), optimize(net, precision="bf16")
    for size in ((5, 17, 12), (1, 1, 1), (8, 16, 16)):
        scan = torch.randn(2, 1, *size)
        want = logits(net, scan)
        assert fast(scan).shape == want.shape == (2, 5, *size)
        assert relative(fast(scan), want) < 5e-6
        assert relative(half(scan), want) < 3e-2
        with torch.inference_mode():
            assert relative(fast.features(scan), net.features(scan)) < 5e-6


def test_what_is_no_network_of_ours_is_refused_in_words():
    with pytest.raises(TypeError, match=r"got a Sequential.*torch\.compile"):
        optimize(nn.Sequential())


@pytest.mark.parametrize("case", ["modern", "bottleneck release", "frames"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_clip_with_a_hole_has_no_answer_and_the_others_have_theirs(case, precision):
    fast = optimize(NETS[case], precision=precision)
    clip = torch.randn(3, 3, 4, 24, 24)
    want = fast(clip)
    clip[1, 0, 2, 5, 5] = torch.nan
    found = fast(clip)
    assert found[1].isnan().all()
    assert torch.allclose(found[[0, 2]], want[[0, 2]], atol=1e-5)
    assert fast.feature_map(clip)[1].isnan().all()


def test_a_head_that_is_no_linear_layer_is_refused_in_words():
    net = shaken("p3d_nano")
    net.head = nn.Sequential(net.head, nn.ReLU())
    with pytest.raises(Pseudo3dError, match=r"head of this p3d_nano is a Sequential"):
        optimize(net)


def test_copies_are_the_same_and_pickles_are_refused_in_words():
    fast, clip = optimize(NETS["modern"]), torch.randn(1, 3, 4, 16, 16)
    fast(clip)
    assert torch.equal(deepcopy(fast)(clip), fast(clip))
    with pytest.raises(Pseudo3dError, match="cannot be pickled"):
        pickle.dumps(fast)


@pytest.mark.usefixtures("unchecked")
def test_frames_as_read_are_refused_by_network_and_fast_form_alike():
    raw = torch.randint(0, 256, (1, 3, 4, 24, 24), dtype=torch.uint8)
    for net in (NETS["modern"], FAST["modern"]):
        with pytest.raises(Pseudo3dError, match=r"clip of uint8; wanted float, as .*normalize"):
            net(raw)
