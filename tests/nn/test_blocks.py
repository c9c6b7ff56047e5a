"""What must hold for every pseudo-3-D block, whatever mix, semantics and clip size."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from pseudo3d.nn.blocks import Basic, Bottleneck, PairSpec, PseudoPair, initialize, norm

MIXES = ("A", "B", "C")
SEMANTICS = ("release", "port", "modern")
BLOCKS = {"bottleneck": Bottleneck, "basic": Basic}
FEW = settings(deadline=None, max_examples=25)
each = given(
    kind=st.sampled_from(list(BLOCKS)),
    mix=st.sampled_from([*MIXES, None]),
    semantics=st.sampled_from(SEMANTICS),
    stride=st.sampled_from([1, 2]),
    t=st.integers(1, 5),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
)
every_table_entry = pytest.mark.parametrize(
    ("kind", "mix", "semantics"), list(product(BLOCKS, MIXES, SEMANTICS))
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shake(module, seed=0):
    """Random weights and random batch norm statistics."""
    draw = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, generator=draw)
        elif isinstance(layer, nn.BatchNorm3d):
            for value in (layer.weight, layer.running_var):
                nn.init.uniform_(value, 0.5, 1.5, generator=draw)
            for value in (layer.bias, layer.running_mean):
                nn.init.normal_(value, std=0.3, generator=draw)
    return module.eval()


def make(kind, mix, semantics, stride=1, cin=6, width=4, **options):
    spec = PairSpec(mix=mix, semantics=semantics, **options)
    return shake(BLOCKS[kind](cin, width, spec, stride))


@FEW
@each
def test_shape_formula(kind, mix, semantics, stride, t, h, w):
    block = make(kind, mix, semantics, stride)
    cout = {"bottleneck": 16, "basic": 4}[kind]
    assert block(torch.zeros(2, 6, t, h, w)).shape == (2, cout, t, -(-h // stride), -(-w // stride))


@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 3, 1), (7, 1, 5)])
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 3)])
@pytest.mark.parametrize("kind", BLOCKS)
def test_any_odd_kernel_and_dilation_keep_the_shape(kind, kernel, dilation):
    for mix, padding in product(MIXES, ("zeros", "replicate")):
        block = make(kind, mix, "modern", kernel=kernel, dilation=dilation, padding_mode=padding)
        assert block(torch.zeros(1, 6, 2, 4, 5)).shape[2:] == (2, 4, 5)


@every_table_entry
@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_reaches_every_parameter_and_the_input(kind, mix, semantics, stride):
    block = make(kind, mix, semantics, stride, cin=5, width=6)
    clip = torch.randn(2, 5, 4, 6, 6, requires_grad=True)
    block(clip).square().sum().backward()
    dead = [n for n, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    assert bool(clip.grad.ne(0).any(4).any(3).all()), "some frame or channel is not used"


def box(t, h, w):
    """(9, 15, 15) mask of a window centered on the middle voxel."""
    mask = torch.zeros(9, 15, 15, dtype=torch.bool)
    mask[4 - t // 2 : 5 + t // 2, 7 - h // 2 : 8 + h // 2, 7 - w // 2 : 8 + w // 2] = True
    return mask


@every_table_entry
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 3, 5)])
def test_one_output_voxel_sees_what_the_paper_draws(kind, mix, semantics, kernel):
    """A and C see a box, B a cross of space and time; a basic block's second layer adds space."""
    block = make(kind, mix, semantics, kernel=kernel)
    for name, value in [*block.named_parameters(), *block.named_buffers()]:
        with torch.no_grad():  # no canceling, no dead ReLU
            value.zero_() if name.endswith("running_mean") else value.abs_()
    clip = torch.rand(1, 6, 9, 15, 15, requires_grad=True)
    block(clip)[0, :, 4, 7, 7].sum().backward()
    kt, kh, kw = kernel
    gh, gw = (kh - 1, kw - 1) if kind == "basic" else (0, 0)
    wanted = box(1, kh + gh, kw + gw) | box(kt, 1 + gh, 1 + gw)
    if mix != "B":
        wanted = box(kt, kh + gh, kw + gw)
    assert torch.equal(clip.grad[0].ne(0).any(0), wanted)


@pytest.mark.parametrize(("stride_on", "rows"), [("1x1", {2, 4, 6}), ("3x3", {3, 4, 5})])
@pytest.mark.parametrize("mix", MIXES)
def test_a_bottleneck_strides_where_it_is_told(mix, stride_on, rows):
    block = shake(Bottleneck(4, 4, PairSpec(mix=mix), 2, stride_on))
    clip = torch.randn(1, 4, 3, 9, 9, requires_grad=True)
    block(clip)[0, :, 1, 2, 2].sum().backward()
    assert set(clip.grad.ne(0).any(1).any(-1).nonzero()[:, 2].tolist()) == rows


@FEW
@each
def test_block_is_its_2d_self_when_time_is_still(kind, mix, semantics, stride, t, h, w):
    """The pair with a still time kernel (and time's norm fresh) is the block without time."""
    block, flat = (make(kind, m, semantics, stride) for m in (mix, None))
    block.pair.still()
    if mix and semantics != "modern":
        block.pair.time_norm = norm(4).eval()
    extra = flat.load_state_dict(
        {k: v for k, v in block.state_dict().items() if ".time" not in k}, strict=True
    )
    assert not extra.missing_keys
    torch.manual_seed(1)
    clip = torch.randn(2, 6, t, h, w)

    whole = block(clip)

    assert_close(whole, flat(clip))
    assert_close(whole, torch.cat([flat(frame) for frame in clip.split(1, dim=2)], dim=2))


@FEW
@each
def test_batch_entries_do_not_mix(kind, mix, semantics, stride, t, h, w):
    block = make(kind, mix, semantics, stride)
    torch.manual_seed(1)
    clip = torch.randn(3, 6, t, h, w)
    alone = torch.cat([block(entry) for entry in clip.split(1)])
    assert_close(block(clip), alone)


# --- the table of PseudoPair, written out a second time from the sources' description


def plain_pair(pair, mix, semantics, x, stride):
    """relu, space, time and their batch norms in plain functions, as facts of each source say."""
    relu, half = torch.relu, 0.5

    def space(v):
        return F.conv3d(v, pair.space.weight, None, (1, stride, stride), (0, 1, 1))

    def time(v, step=1):
        return F.conv3d(v, pair.time.weight, None, (1, step, step), (1, 0, 0))

    def bn(v, n):
        return F.batch_norm(v, n.running_mean, n.running_var, n.weight, n.bias, False, 0.0, 1e-5)

    def s_of(v):
        return bn(space(v), pair.space_norm)

    def t_of(v, step=1):
        return bn(time(v, step), pair.time_norm)

    table = {
        ("A", "release"): lambda: relu(t_of(relu(s_of(x)))),
        ("A", "port"): lambda: relu(t_of(relu(s_of(x)))),
        ("A", "modern"): lambda: relu(bn(time(space(x)), pair.space_norm)),
        ("B", "release"): lambda: relu(relu(s_of(x)) + t_of(x, stride)),
        ("B", "port"): lambda: relu(s_of(x)) + relu(t_of(x, stride)),
        ("B", "modern"): lambda: relu(bn(space(x) + time(x, stride), pair.space_norm)),
        ("C", "release"): lambda: relu(half * relu(s_of(x)) + half * t_of(relu(s_of(x)))),
        ("C", "port"): lambda: relu(s_of(x)) + relu(t_of(relu(s_of(x)))),
        ("C", "modern"): lambda: relu(relu(s_of(x)) + time(relu(s_of(x)))),
    }
    return table[mix, semantics]()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("mix", MIXES)
def test_each_pair_computes_its_formula(mix, semantics, stride):
    pair = PseudoPair(4, 5, PairSpec(mix=mix, semantics=semantics), stride)
    pair = shake(pair).double()
    clip = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64)
    ours = pair(clip.clone())
    assert_close(ours, plain_pair(pair, mix, semantics, clip, stride), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_a_full_kernel_takes_the_place_of_the_pair(semantics, stride):
    spec = PairSpec(mix="full", semantics=semantics, kernel=(3, 5, 3), dilation=(2, 1, 1))
    pair = shake(PseudoPair(4, 5, spec, stride)).double()
    clip = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64)
    steps, pads, gaps = (1, stride, stride), (2, 2, 1), (2, 1, 1)
    plain = pair.space_norm(F.conv3d(clip, pair.space.weight, None, steps, pads, gaps)).relu()
    assert_close(pair(clip), plain)
    pair.still()
    assert_close(pair(clip), plain)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("stride", [1, 2])
def test_what_surrounds_the_pair_is_the_residual_block(kind, stride):
    block = make(kind, "B", "port", stride, cin=16, width=4 if kind == "bottleneck" else 16)
    clip = torch.randn(2, 16, 3, 6, 6)
    if kind == "bottleneck":
        y = block.pair(torch.relu(block.reduce_norm(block.reduce(clip))))
        y = block.expand_norm(block.expand(y))
    else:
        y = block.refine_norm(block.refine(block.pair(clip)))
    shortcut = clip if stride == 1 else block.shortcut(clip)
    assert isinstance(block.shortcut, nn.Identity) == (stride == 1)
    assert_close(block(clip), torch.relu(y + shortcut))


def test_a_block_leaves_its_input_alone():
    for kind, mix, semantics in product(BLOCKS, MIXES, SEMANTICS):
        clip = torch.randn(1, 6, 2, 4, 4)
        before = clip.clone()
        make(kind, mix, semantics)(clip)
        assert torch.equal(clip, before)


# --- weights at the start, refusals


def test_fresh_batch_norm_is_the_identity():
    x = torch.randn(2, 3, 2, 4, 4)
    assert_close(norm(3).eval()(x), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mix", MIXES)
def test_initialize_draws_he_weights_and_leaves_time_still(mix):
    net = nn.Sequential(Bottleneck(64, 64, PairSpec(mix=mix)), nn.Flatten(), nn.Linear(256, 100))
    initialize(net)
    block, head = net[0], net[2]
    for conv, fan_out in ((block.reduce, 64), (block.pair.space, 64 * 9), (block.expand, 256)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    center = torch.eye(64) if mix == "A" else torch.zeros(64, 64)
    assert torch.equal(block.pair.time.weight[:, :, 1, 0, 0], center)
    assert not block.pair.time.weight[:, :, ::2].any()
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.bias.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mix": "D"}, "mix is 'D'"),
        ({"semantics": "caffe"}, "semantics is 'caffe'"),
        ({"kernel": (1, 3, 3)}, "no extent in time"),
        ({"kernel": (3, 2, 3)}, "even side"),
        ({"kernel": (4, 3, 3)}, "even side"),
    ],
)
def test_impossible_pairs_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        PairSpec(**options)
