"""Pairs are the best of their rank, full ones lose nothing, the network stays ordinary."""

import json
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from pseudo3d.errors import Pseudo3dError
from pseudo3d.nn.factor import Factorized
from pseudo3d.recycle.factorize import activations, costs, factorize, target

FULL = 10**6
ORDERS = ("space", "time")


def relative(got, want):
    return float((got - want).detach().norm() / want.detach().norm())


def lively(net):
    """Batch norm and weights as after a training: nothing is zero, one or alike."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


class Foreign(nn.Module):
    """Somebody's 3-D network: two branches, a functional pool, a strided convolution."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(2, 16, (3, 5, 5), padding=(1, 2, 2), bias=False)
        self.norm = nn.BatchNorm3d(16)
        self.left = nn.Conv3d(16, 16, 3, padding="same", padding_mode="replicate")
        self.right = nn.Conv3d(16, 16, 1)
        self.last = nn.Conv3d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(self.left(x)) + self.right(x)
        return self.head(F.relu(self.last(x)).mean((2, 3, 4)))


@pytest.fixture
def foreign():
    torch.manual_seed(0)
    return lively(Foreign())


def smooth(clips, channels=2, frames=6, size=12):
    """Clips in which neighbors are alike, as in a video."""
    rough = torch.randn(clips, channels, frames // 2, size // 4, size // 4)
    return F.interpolate(rough, (frames, size, size), mode="trilinear")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own way
@settings(deadline=None, max_examples=50)
@given(
    order=st.sampled_from(ORDERS),
    kernel=st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(2, 3)),
    stride=st.tuples(*[st.integers(1, 2)] * 3),
    padding=st.sampled_from(["same", "valid", 1]),
    dilation=st.tuples(*[st.integers(1, 2)] * 3),
    groups=st.sampled_from([1, 2]),
    mode=st.sampled_from(["zeros", "replicate", "reflect", "circular"]),
    sampled=st.booleans(),
)
def test_nothing_is_lost_at_full_rank(
    order, kernel, stride, padding, dilation, groups, mode, sampled
):
    torch.manual_seed(0)
    stride = 1 if padding == "same" else stride
    conv = nn.Conv3d(4, 6, kernel, stride, padding, dilation, groups, True, mode)
    clip = torch.randn(2, 4, 7, 8, 8)
    pair = factorize(conv, rank={"": (order, FULL)}, data=[clip] if sampled else None, cost="macs")
    assert isinstance(pair, Factorized)
    assert pair.rank == pair.report.layers[0].full
    assert relative(pair(clip), conv(clip)) < 1e-5


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_pair_loses_the_smallest_singular_values_and_no_more(order, groups):
    torch.manual_seed(1)
    conv = nn.Conv3d(6, 8, 3, groups=groups).requires_grad_(False)
    pair = factorize(conv, rank={"": (order, 6)})
    first, second = pair.halves
    lost = 0.0
    for w, a, b in zip(
        conv.weight.chunk(groups), first.weight.chunk(groups), second.weight.chunk(groups),
        strict=True,
    ):  # fmt: skip
        pieces = "rihw,ort->oithw", a[:, :, 0], b[..., 0, 0]
        if order == "time":
            pieces = "rit,orhw->oithw", a[..., 0, 0], b[:, :, 0]
        made = torch.einsum(*pieces)
        rows = w.permute(0, 2, 1, 3, 4) if order == "space" else w.permute(0, 3, 4, 1, 2)
        flat = rows.flatten(0, 1).flatten(1) if order == "space" else rows.flatten(0, 2).flatten(1)
        tail = torch.linalg.svdvals(flat)[6 // groups :].square().sum()
        assert_close((w - made).square().sum(), tail, rtol=1e-4, atol=1e-6)
        lost += float(tail)
    share = lost / float(conv.weight.square().sum())
    assert pair.report.layers[0].error == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_a_kernel_that_is_a_pair_is_found_out(order):
    torch.manual_seed(2)
    conv = nn.Conv3d(16, 16, 3, padding=1)
    hidden = Factorized(conv, order, 16)
    clip = torch.randn(1, 16, 5, 6, 6)
    impulse = torch.zeros(16, 16, 5, 5, 5)
    impulse[range(16), range(16), 2, 2, 2] = 1
    with torch.no_grad():
        answer = hidden(impulse) - hidden.halves[1].bias.view(1, -1, 1, 1, 1)
        conv.weight.copy_(answer[:, :, 1:4, 1:4, 1:4].flip(2, 3, 4).transpose(0, 1))
        conv.bias.copy_(hidden.halves[1].bias)
    pair = factorize(conv, energy=1 - 1e-9)
    assert (pair.order, pair.rank) == (order, 16)
    assert relative(pair(clip), conv(clip)) < 1e-5


def test_with_clips_a_pair_is_better_for_such_clips():
    torch.manual_seed(3)
    conv, clips = nn.Conv3d(8, 16, 3, padding=1), smooth(8, channels=8)
    blind = factorize(conv, rank=8, cost="macs", example=clips[:1])
    seeing = factorize(conv, rank=8, cost="macs", data=clips)
    fresh = smooth(4, channels=8)
    assert relative(seeing(fresh), conv(fresh)) < 0.7 * relative(blind(fresh), conv(fresh))
    assert seeing.report.samples == 8


@pytest.mark.parametrize("order", ORDERS)
def test_inputs_of_few_directions_need_few_channels(order):
    """Channels that are copies of two: the rank of the answers, not of the kernel, counts."""
    torch.manual_seed(4)
    conv = nn.Conv3d(8, 16, (3, 2, 2))
    mixing = torch.randn(8, 2)
    clips = torch.einsum("ci,nithw->ncthw", mixing, torch.randn(4, 2, 6, 8, 8))
    rank = 2 * 4 if order == "space" else 2 * 3
    pair = factorize(conv, rank={"": (order, rank)}, data=clips, cost="macs")
    assert relative(pair(clips), conv(clips)) < 1e-3


@pytest.mark.parametrize("order", ORDERS)
def test_what_the_clips_never_showed_is_not_lost_at_full_rank(order):
    torch.manual_seed(6)
    conv, clips = nn.Conv3d(4, 16, 3), torch.randn(2, 4, 5, 6, 6)
    clips[:, 0] = 0
    pair = factorize(conv, rank={"": (order, FULL)}, data=clips, cost="macs")
    fresh = torch.randn(1, 4, 5, 6, 6)
    assert relative(pair(fresh), conv(fresh)) < 1e-5


def test_refitting_brings_the_whole_network_nearer(foreign, monkeypatch):
    clips, fresh = list(smooth(12).split(2)), smooth(4)
    fitted = factorize(foreign, rank=12, data=clips, cost="macs")
    monkeypatch.setattr(activations, "refit", lambda *_: [])
    plain = factorize(foreign, rank=12, data=clips, cost="macs")
    assert fitted.report.refitted
    assert plain.report.refitted == ()
    want = foreign(fresh)
    assert relative(fitted(fresh), want) < relative(plain(fresh), want)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own way
def test_the_voxels_under_a_kernel_are_those_the_convolution_sees():
    for padding, mode in (("same", "zeros"), (1, "circular"), (2, "replicate"), ("valid", "zeros")):
        conv = nn.Conv3d(3, 4, (2, 3, 3), padding=padding, dilation=(1, 2, 1), padding_mode=mode)
        x = torch.randn(2, 3, 5, 7, 6)
        y = conv(x)
        at = torch.unravel_index(torch.arange(y[:, 0].numel()), y[:, 0].shape)
        seen = activations.patches(conv, x, at)
        found = torch.einsum("pcthw,octhw->po", seen, conv.weight) + conv.bias
        assert_close(found, y.movedim(1, -1).flatten(0, -2), rtol=1e-4, atol=1e-5)


def test_the_callers_network_and_random_numbers_are_left_alone(foreign):
    foreign.train()
    foreign.left.eval()
    before, state = deepcopy(foreign.state_dict()), torch.get_rng_state()
    clips = smooth(2)
    state = torch.get_rng_state()
    small = factorize(foreign, rank=16, data=clips, cost="macs")
    assert_close(torch.get_rng_state(), state)
    assert_close(foreign.state_dict(), before, rtol=0, atol=0)
    assert type(foreign.first) is nn.Conv3d
    assert not foreign.left._forward_hooks
    assert small.training
    assert small.first.space.training
    assert not any(m.training for m in small.left.modules())


def test_the_result_is_an_ordinary_module(foreign):
    small, clip = factorize(foreign, rank=16), smooth(1)
    want = small(clip)
    assert_close(deepcopy(small)(clip), want)
    twin = factorize(Foreign().eval(), rank={x.name: (x.order, 16) for x in small.report.layers})
    twin.load_state_dict(small.state_dict())
    assert_close(twin(clip), want)
    exported = torch.export.export(small, (clip,)).module()
    assert_close(exported(clip), want)
    small.train()(smooth(2)).sum().backward()
    assert [n for n, p in small.named_parameters() if p.grad is None] == []


def test_the_report_counts_what_is_there(foreign):
    clip = smooth(1)
    small = factorize(foreign, rank={"last": ("space", 16)}, example=clip)
    (layer,), report = small.report.layers, small.report
    assert (layer.name, layer.kernel, layer.channels) == ("last", (3, 3, 3), (16, 32))
    weights = 16 * 16 * 9 + 16 * 32 * 3 + 32
    assert layer.parameters == (16 * 32 * 27 + 32, weights)
    total = sum(p.numel() for p in small.parameters())
    assert report.parameters == (sum(p.numel() for p in foreign.parameters()), total)
    assert layer.macs == (27 * 16 * 32 * 108, 9 * 16 * 16 * 6 * 36 + 3 * 16 * 32 * 108)
    assert report.macs[0] - report.macs[1] == layer.macs[0] - layer.macs[1]
    assert report.macs[1] == target.count_macs(small, clip)
    assert report.output_error == pytest.approx(relative(small(clip), foreign(clip)), rel=1e-3)
    assert min(layer.seconds) > 0
    assert report.speed.ratio > 0
    assert report.kept == {
        "first": "not named", "left": "not named", "right": "1x1x1 convolution",
    }  # fmt: skip
    json.dumps(report.to_dict(), allow_nan=False)
    text = str(report)
    assert "last\t3x3x3\t16-32\tspace\t16/96" in text
    assert "kept\t2: not named (first, left)" in text


def test_without_a_clip_what_needs_one_is_left_open(foreign):
    report = factorize(foreign, energy=0.5).report
    assert report.macs is None
    assert report.speed is None
    assert "MACs" not in str(report)
    assert all(layer.error <= 0.5 for layer in report.layers)
    assert all(layer.rank % 16 == 0 for layer in report.layers)


def test_a_pair_that_would_cost_more_than_its_kernel_is_not_made(foreign):
    report = factorize(foreign, energy=1.0).report
    assert report.layers == ()
    assert report.kept["left"] == "a pair does not pay here"


class Odd(nn.Module):
    """Everything that cannot become a pair, and one convolution that can, used twice."""

    def __init__(self):
        super().__init__()

        class Own(nn.Conv3d):
            def forward(self, x):
                return 2 * super().forward(x)

        same = {"kernel_size": 3, "padding": 1}
        self.good = nn.Conv3d(4, 4, **same)
        self.again = self.good
        self.own = Own(4, 4, **same)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv3d(4, 4, **same))
        self.tied, self.twin = nn.Conv3d(4, 4, **same), nn.Conv3d(4, 4, **same)
        self.twin.weight = self.tied.weight
        self.hooked = nn.Conv3d(4, 4, **same)
        self.hooked.register_forward_hook(lambda _, __, y: y + 1)
        self.up = nn.ConvTranspose3d(4, 4, **same)
        self.flat = nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1))
        self.idle = nn.Conv3d(4, 4, **same)

    def forward(self, x):
        for part in (self.good, self.own, self.normed, self.tied, self.twin, self.hooked, self.up):
            x = part(x)
        return self.again(self.flat(x))


def test_what_cannot_become_a_pair_is_kept_and_the_reason_told():
    torch.manual_seed(0)
    net, clip = Odd(), torch.randn(1, 4, 4, 6, 6)
    small = factorize(net, rank=FULL, example=clip, cost="macs")
    assert relative(small(clip), net(clip)) < 1e-5
    assert small.report.kept == {
        "own": "Own",
        "normed": "ParametrizedConv3d",
        "tied": "shares its weight with another layer",
        "twin": "shares its weight with another layer",
        "hooked": "has hooks, which a pair would lose",
        "up": "ConvTranspose3d",
        "flat": "1x3x3 convolution",
        "idle": "the forward pass does not call it",
    }
    assert isinstance(small.good, Factorized)
    assert small.again is small.good
    assert small.report.layers[0].macs[0] == 2 * 27 * 4 * 4 * 4 * 36
    fitted = factorize(net, rank=4, data=clip, cost="macs")
    assert fitted.report.layers[0].error < small.report.layers[0].error + 1


@pytest.mark.parametrize("wanted", [1.3, 1.8])
def test_a_wanted_speed_is_met_in_multiply_adds(foreign, wanted):
    clip = smooth(1)
    report = factorize(foreign, speedup=wanted, example=clip, cost="macs").report
    before, after = report.macs
    assert wanted <= before / after < 1.5 * wanted
    assert report.speed is None
    again = factorize(foreign, speedup=wanted, example=clip, cost="macs").report
    assert again == report


def test_what_is_no_such_convolution_counts_too():
    torch.manual_seed(7)
    net = nn.Sequential(
        nn.Conv3d(2, 64, (1, 5, 5), padding=(0, 2, 2)), nn.Conv3d(64, 16, 3, padding=1)
    )
    for wanted in (1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0):
        report = factorize(net, speedup=wanted, example=smooth(1), cost="macs").report
        assert report.macs[0] / report.macs[1] >= wanted


def test_the_budget_is_corrected_by_the_time_of_the_whole_network(foreign, monkeypatch):
    """A machine on which everything beside the convolutions takes longer after than before."""
    clip = smooth(1)

    def compare(net, other, example):
        spans = [1.0 + target.count_macs(n, example) for n in (net, other)]
        if net is not other:
            spans[1] *= 1.2
        return costs.Speed(before=spans[0], after=spans[1], ratio=spans[0] / spans[1])

    monkeypatch.setattr(costs, "compare", compare)
    monkeypatch.setattr(
        costs.Clock, "seconds", lambda _, conv, use, o=None, r=0: float(costs.macs(conv, use, o, r))
    )
    report = factorize(foreign, speedup=1.4, example=clip).report
    assert report.notes == ()
    assert report.speed.ratio >= 0.99 * 1.4
    before, after = report.macs
    assert before / after > 1.4 * 1.15
    with pytest.raises(Pseudo3dError, match=r"speedup 9 cannot be reached: .* it is \d"):
        factorize(foreign, speedup=9, example=clip)


def test_a_speed_out_of_reach_says_how_far_it_goes(foreign):
    with pytest.raises(Pseudo3dError, match=r"speedup 50 cannot be reached.* it is \d+\.\d+"):
        factorize(foreign, speedup=50, example=smooth(1), cost="macs")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "got nothing; wanted exactly one"),
        ({"rank": 4, "energy": 0.9}, "rank=4 and energy=0.9"),
        ({"rank": 0}, "rank is 0"),
        ({"rank": 2.5}, "rank is 2.5; wanted 1 or more channels"),
        ({"rank": True}, "rank is True"),
        ({"rank": {"last": 2.5}}, "rank of 'last' is 2.5"),
        ({"rank": {"last": ("time", 2.5)}}, r"rank of 'last' is \('time', 2.5\)"),
        ({"rank": {"last": ("time",)}}, r"rank of 'last' is \('time',\)"),
        ({"energy": 1.5}, "energy is 1.5"),
        ({"speedup": 1}, "speedup is 1"),
        ({"rank": 4, "cost": "flops"}, "cost is 'flops'"),
        ({"speedup": 2}, "needs a clip to measure on"),
        ({"rank": {"lost": 4}}, "unknown layer to factorize: 'lost'. Did you mean last"),
        ({"rank": {"last": ("depth", 4)}}, "rank of 'last' is"),
        ({"rank": {"last": 0}}, "rank of 'last' is 0"),
        ({"rank": 4, "data": [torch.zeros(2, 4, 8, 8)]}, r"data holds \(2, 4, 8, 8\)"),
        ({"rank": 4, "data": [torch.zeros(1, 2, 4, 8, 8).int()]}, "torch.int32"),
        ({"rank": 4, "data": []}, "data holds no clip"),
    ],
)
def test_what_cannot_be_is_said(foreign, options, says, unchecked):
    with pytest.raises(ValueError, match=says):
        factorize(foreign, **options)


def test_numbers_that_are_not_finite_are_named(foreign):
    clips = smooth(2)
    clips[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(Pseudo3dError, match="what it sees of the clips is not finite"):
        factorize(foreign, rank=4, data=clips, cost="macs")
    foreign.last.weight.data[0] = torch.inf
    with pytest.raises(Pseudo3dError, match="last: its weights are not finite"):
        factorize(foreign, rank=4, example=smooth(1), cost="macs")


def test_a_network_without_such_convolutions_is_refused():
    with pytest.raises(Pseudo3dError, match=r"nothing to factorize in this Sequential.*1x3x3"):
        factorize(nn.Sequential(nn.Conv3d(2, 2, (1, 3, 3))), rank=4)


def test_clips_may_come_from_a_generator(foreign):
    report = factorize(foreign, rank=8, data=(smooth(2) for _ in range(3)), cost="macs").report
    assert report.samples == 6
    assert report.clip == (1, 2, 6, 12, 12)
