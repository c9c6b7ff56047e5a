"""Blocks cover the clip, and what is lost when they are hidden is the block's own."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explain.known_nets import Spotter, bright
from pseudo3d.explain.asking import ask
from pseudo3d.explain.occlusion import cell_numbers, edges, emptied, occlusion


@given(st.integers(1, 40), st.integers(1, 12))
def test_cells_are_about_equal_and_cover_an_axis(length, cells):
    border = edges(length, cells)
    widths = [b - a for a, b in pairwise(border)]
    assert sum(widths) == length
    assert min(widths) >= 1
    assert max(widths) - min(widths) <= 1


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 5)] * 3))
def test_every_voxel_has_a_cell_and_every_cell_a_voxel(size, cells):
    numbers = cell_numbers(size, cells)
    count = 1
    for length, cut in zip(size, cells, strict=True):
        count *= min(length, cut)
    assert numbers.shape == size
    assert numbers.unique().tolist() == list(range(count))


def test_a_voxel_has_the_mean_loss_of_the_blocks_that_hide_it():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv3d(1, 3, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(), torch.nn.Linear(3, 3),
    )  # fmt: skip
    clip = torch.randn(1, 6, 9, 6)
    question, empty = ask(net, clip, 1), torch.zeros_like(clip)
    lost, hidden_by = torch.zeros(6, 9, 6), torch.zeros(6, 9, 6)
    # cells of 2 x 3 x 6: along time and height two at once, the first and the last one alone
    for t in (slice(0, 2), slice(0, 4), slice(2, 6), slice(4, 6)):
        for h in (slice(0, 3), slice(0, 6), slice(3, 9), slice(6, 9)):
            hidden = clip.clone()
            hidden[:, t, h] = 0
            with torch.no_grad():
                lost[t, h] += (question.score(clip[None]) - question.score(hidden[None])).squeeze()
            hidden_by[t, h] += 1
    found = occlusion(question, clip, empty, (3, 3, 1))
    assert found.places == (3, 3, 1)
    assert torch.allclose(found.values, lost / hidden_by, atol=1e-5)


@pytest.mark.parametrize("cell", [(0, 0, 0), (7, 3, 3), (3, 0, 2)])
def test_a_cell_at_the_border_is_told_from_its_neighbor(cell):
    t, h, w = cell
    part = (0, 0, t, slice(4 * h, 4 * h + 4), slice(4 * w, 4 * w + 4))

    def program(x):
        seen = x[(slice(None), *part[1:])].mean((1, 2))
        return torch.stack([-seen, seen], 1)

    found = occlusion(ask(program, bright(), 1), bright(), 0 * bright(), (8, 4, 4)).values
    hottest = (found == found.max()).nonzero()
    assert hottest.amin(0).tolist() == [t, 4 * h, 4 * w]
    assert hottest.amax(0).tolist() == [t, 4 * h + 3, 4 * w + 3]


def test_a_clip_of_one_frame_and_a_program_without_gradients_will_do():
    assert occlusion(ask(Spotter(), bright(), 1), bright(), 0 * bright(), (1, 1, 1)).places == (
        1, 1, 1,
    )  # fmt: skip

    def program(x):
        return torch.stack([x.mean((1, 2, 3, 4)), x[:, 0, 0, 0, 0]], 1)

    clip = torch.ones(1, 1, 4, 4)
    found = occlusion(ask(program, clip, 1), clip, 0 * clip, (3, 4, 4)).values
    assert found.shape == (1, 4, 4)
    assert found[0, 0, 0] == found.max()


@pytest.mark.parametrize("how", ["mean", "blur", "still"])
def test_an_empty_clip_lacks_what_it_is_said_to_lack(how):
    clip = torch.randn(2, 6, 16, 16)
    empty = emptied(clip, how)
    assert empty.shape == clip.shape
    assert not torch.equal(empty, clip)
    if how == "mean":
        assert not empty.any()
    elif how == "still":
        assert torch.allclose(empty.diff(dim=1), torch.zeros(2, 5, 16, 16))
        assert torch.allclose(empty[:, 0], clip.mean(1))
    else:
        assert empty.std() < 0.5 * clip.std()
        assert empty.diff(dim=1).abs().max() > 0.1  # frames stay apart
