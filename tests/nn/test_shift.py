"""The temporal shift moves what it says, where it says, and nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from models.lively import lively
from pseudo3d.nn.blocks import Basic, Bottleneck, PairSpec
from pseudo3d.nn.shift import ShiftedBasic, ShiftedBottleneck, TimeShift

PAIRS = {"basic": (ShiftedBasic, Basic), "bottleneck": (ShiftedBottleneck, Bottleneck)}


@settings(deadline=None, max_examples=30)
@given(
    c=st.integers(1, 19),
    t=st.integers(1, 5),
    part=st.integers(2, 9),
    direction=st.sampled_from(["offline", "online"]),
)
def test_every_channel_comes_from_the_frame_it_should(c, t, part, direction):
    clip = torch.arange(1.0, 1 + c * t).reshape(1, c, t, 1, 1)
    y, moved = TimeShift(part, direction)(clip)[0, :, :, 0, 0], c // part
    offset = [0] * c
    ahead = moved if direction == "offline" else 0
    offset[:ahead] = [1] * ahead
    offset[ahead : ahead + moved] = [-1] * moved
    for channel in range(c):
        for frame in range(t):
            source = frame + offset[channel]
            wanted = clip[0, channel, source, 0, 0] if 0 <= source < t else 0.0
            assert y[channel, frame] == wanted


def test_online_shift_never_looks_ahead():
    clip = torch.randn(1, 16, 6, 3, 3, requires_grad=True)
    TimeShift(4, "online")(clip)[:, :, 2].sum().backward()
    assert clip.grad[0, :, 3:].eq(0).all()
    assert clip.grad[0, :, 1].any()


def test_channels_last_memory_stays_so():
    clip = torch.randn(2, 16, 4, 5, 5).contiguous(memory_format=torch.channels_last_3d)
    assert TimeShift()(clip).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("kind", PAIRS)
def test_only_the_branch_sees_shifted_features(kind):
    """With weights and clip alike, a shifted block is the plain one plus the shortcut's frame."""
    shifted, plain = PAIRS[kind]
    torch.manual_seed(0)
    width = 8 if kind == "basic" else 2
    block = lively(shifted(8, width, TimeShift(4)))
    twin = lively(plain(8, width, PairSpec(mix=None)))
    assert block.state_dict().keys() == twin.state_dict().keys()
    clip = torch.randn(2, 8, 5, 6, 6)
    wanted = torch.relu(twin.branch(TimeShift(4)(clip)) + clip)
    assert_close(block(clip), wanted)
    assert (block(clip) - twin(clip)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", PAIRS)
def test_gradient_reaches_every_parameter_and_the_input(kind):
    block = lively(PAIRS[kind][0](8, 8, TimeShift(4), 2))
    clip = torch.randn(2, 8, 4, 6, 6, requires_grad=True)
    block(clip).square().sum().backward()
    assert [n for n, p in block.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [((1, "offline"), "part is 1"), ((8, "sideways"), "direction is 'sideways'")],
)
def test_impossible_shifts_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        TimeShift(*options)
