"""Every order is made of the clip's own frames."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pseudo3d.data.dataset import generator
from pseudo3d.explain.orders import CONDITIONS, at_speed, conditions, frame_orders, reorder


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 9))
def test_each_row_is_the_order_its_name_says(frames, shuffles, seed):
    names = conditions(shuffles)
    table = frame_orders(frames, shuffles, generator(seed))
    assert table.shape == (len(names), frames)
    assert tuple(dict.fromkeys(names)) == CONDITIONS
    rows = dict(zip(names, table.tolist(), strict=True))  # the last one of the shuffles
    forward = list(range(frames))
    assert rows["in order"] == forward
    assert rows["reversed"] == forward[::-1]
    assert sorted(rows["shuffled"]) == forward
    assert rows["frozen"] == [frames // 2] * frames
    assert rows["0.5x speed"] == at_speed(frames, 0.5).tolist()
    assert torch.equal(table, frame_orders(frames, shuffles, generator(seed)))


def test_shuffles_differ_from_each_other_and_from_clip_to_clip():
    one, other = (frame_orders(16, 3, generator(0, clip, -3)) for clip in (0, 1))
    assert len({tuple(row) for row in [*one[1:4].tolist(), *other[1:4].tolist()]}) == 6


@pytest.mark.parametrize(
    ("speed", "want"),
    [
        (1.0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (0.5, [2, 2, 3, 3, 4, 4, 5, 5]),
        (2.0, [0, 0, 0, 2, 4, 6, 7, 7]),
    ],
)
def test_another_speed_stretches_the_clip_around_its_middle(speed, want):
    assert at_speed(8, speed).tolist() == want


def test_reorder_gives_each_clip_its_own_order():
    clips = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 4, 1, 1)
    order = torch.tensor([[3, 2, 1, 0], [0, 0, 1, 1]])
    shown = reorder(clips, order)
    assert torch.equal(shown[0], clips[0].flip(1))
    assert torch.equal(shown[1], clips[1][:, [0, 0, 1, 1]])
