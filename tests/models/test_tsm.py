"""TSM and TSN: frame networks, the first of which looks at its neighbors for nothing."""

from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from models.lively import lively, told_apart
from pseudo3d.models import create_model
from pseudo3d.models.profile import profile
from pseudo3d.models.resnet2d import ResNet2d, ResNet2dConfig
from pseudo3d.models.tsm import TSM, TSMConfig
from pseudo3d.nn.shift import TimeShift

SMALL = TSMConfig(
    depths=(1, 2, 1),
    widths=(8, 8, 8),
    strides=(1, 2, 2),
    stem_width=8,
    num_classes=3,
    part=4,
    dropout=0.0,
)
BLOCKS = ("basic", "bottleneck")
SHIFTS = ("offline", "online", None)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    return lively(TSM(replace(SMALL, **options)))


def shifts(net):
    return [[hasattr(block, "shift") for block in stage] for stage in net.stages]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("shift", ["offline", "online"])
def test_any_clip_passes(block, shift):
    net = small(block=block, shift=shift)
    for size in [(1, 1, 1), (1, 9, 7), (3, 1, 11), (7, 33, 20)]:
        logits = net(torch.randn(2, 3, *size))
        assert logits.shape == (2, 3)
        assert logits.isfinite().all(), size


@pytest.mark.parametrize("block", BLOCKS)
def test_without_a_shift_it_is_the_frame_network(block):
    net = small(block=block, shift=None, part=8)
    twin = lively(
        ResNet2d(
            ResNet2dConfig(
                depths=(1, 2, 1),
                block=block,
                widths=(8, 8, 8),
                strides=(1, 2, 2),
                stem_width=8,
                num_classes=3,
            )
        )
    )
    clip = torch.randn(2, 3, 5, 33, 40)
    assert_close(net(clip), twin(clip), rtol=0, atol=0)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("shift", ["offline", "online"])
def test_a_shift_makes_the_order_of_frames_matter(block, shift):
    net, clip = small(block=block, shift=shift), torch.randn(2, 3, 8, 32, 32)
    assert (net(clip) - net(clip.flip(2))).abs().max() > 1e-3


def seen(net, frame):
    """Which input frames the features of one frame look at."""
    clip = torch.randn(1, 3, 9, 32, 32, requires_grad=True)
    net.feature_map(clip)[:, :, frame].square().sum().backward()
    return [bool(f.any()) for f in clip.grad[0].unbind(1)]


def test_a_frame_sees_as_far_as_there_are_shifting_blocks():
    assert seen(small(), 4) == [True] * 9  # four blocks, four frames each way
    assert seen(small(depths=(1, 1, 1)), 4) == [False] + [True] * 7 + [False]
    assert seen(small(shift=None, part=8), 4) == [i == 4 for i in range(9)]


def test_an_online_shift_sees_no_frame_to_come():
    assert seen(small(shift="online"), 4) == [True] * 5 + [False] * 4


def test_the_profile_knows_how_far_a_frame_sees():
    frames = {shift: profile(small(shift=shift, part=8)).field_of_view[0] for shift in SHIFTS}
    assert frames == {"offline": 9, "online": 5, None: 1}


def test_one_block_in_so_many_shifts():
    assert shifts(small(depths=(1, 3, 2))) == [[True], [True] * 3, [True] * 2]
    every = shifts(small(depths=(1, 3, 2), every=2))
    assert every == [[True], [True, False, True], [True, False]]
    with torch.device("meta"):
        assert sum(map(sum, shifts(create_model("tsm101")))) == 2 + 2 + 12 + 2
        assert sum(map(sum, shifts(create_model("tsm50")))) == 16
        assert sum(map(sum, shifts(create_model("tsn50")))) == 0


def test_a_shift_moves_an_eighth_of_the_channels_each_way():
    with torch.device("meta"):
        parts = {m.part for m in create_model("tsm50").modules() if isinstance(m, TimeShift)}
    assert parts == {8}


@pytest.mark.parametrize("block", BLOCKS)
def test_gradient_reaches_every_parameter_and_every_frame(block):
    net, clip = small(block=block), torch.randn(2, 3, 4, 32, 32, requires_grad=True)
    net(clip).square().sum().backward()
    assert [n for n, p in net.named_parameters() if not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).all())


def test_batch_entries_do_not_mix():
    net, clip = small(), torch.randn(3, 3, 4, 32, 32)
    assert_close(net(clip), torch.cat([net(entry) for entry in clip.split(1)]))


@pytest.mark.parametrize("block", BLOCKS)
def test_weights_are_named_as_those_of_the_frame_network(block):
    net = small(block=block)
    twin = small(block=block, shift=None, part=8)
    assert net.state_dict().keys() == twin.state_dict().keys()


CHANGES = {
    "depths": (1, 1, 1),
    "block": "basic",
    "widths": (8, 8, 6),
    "shift": "online",
    "part": 2,
    "every": 2,
    "stem_width": 6,
    "stem_kernel": 5,
    "stem_pool": "ceil",
    "strides": (2, 2, 2),
    "in_channels": 1,
    "num_classes": 4,
    "dropout": 0.9,
}


@pytest.mark.parametrize("field", [f.name for f in fields(TSMConfig)])
def test_every_config_field_changes_the_module_or_the_output(field):
    assert told_apart(small, field, CHANGES[field], (4, 64, 64), training=field == "dropout")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (1, 1)}, "differ in length"),
        ({"depths": (1, 0, 1)}, "depths"),
        ({"block": "wide"}, "block is 'wide'"),
        ({"shift": "sideways"}, "direction is 'sideways'"),
        ({"part": 1}, "part is 1"),
        ({"every": 0}, "every is 0"),
        ({"shift": None}, "about the shift"),
        ({"shift": None, "part": 8, "every": 2}, "about the shift"),
        ({"stem_kernel": 6}, "even side in space"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"dropout": 1.5}, "dropout is 1.5"),
    ],
)
def test_impossible_combinations_are_refused_when_the_net_is_built(options, words):
    with pytest.raises(ValueError, match=words):
        TSM(replace(SMALL, **options))
