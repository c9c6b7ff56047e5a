"""A right map passes, a wrong one is caught, and what cannot be judged is not."""

import json
from dataclasses import replace

import pytest
import torch

from explain.known_nets import COLUMN, MOMENT, ROW, Spotter, bright
from pseudo3d.explain.asking import ask
from pseudo3d.explain.faithfulness import Faithfulness, Trial, check_map
from pseudo3d.explain.occlusion import emptied

CELLS = Trial(cells=(8, 4, 4), controls=19)


def heat_at(moment, row, column):
    heat = torch.zeros(8, 16, 16)
    heat[moment, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 1
    return heat


def judged(heat, clip=None, **change):
    clip = bright() if clip is None else clip
    return check_map(ask(Spotter(), clip, "seen"), clip, 0 * clip, heat, replace(CELLS, **change))


def test_the_right_cell_passes():
    found = judged(heat_at(MOMENT, ROW, COLUMN))
    assert found.verdict == "faithful"
    assert found.rank == 1 / 20
    assert found.insertion > 0.9
    assert found.deletion < 0.1
    assert found.whole > 0.99
    assert found.empty < 0.01
    assert found.sentence == (
        "the map shows what the answer rests on: it beats 19 of 19 copies of itself put elsewhere"
    )


@pytest.mark.parametrize("place", [(MOMENT - 1, ROW, COLUMN), (MOMENT, ROW, COLUMN - 1), (0, 0, 0)])
def test_the_wrong_frame_and_the_wrong_cell_do_not(place):
    clip = bright() * (1 + 0.01 * torch.arange(8).view(1, 8, 1, 1))
    last = heat_at(MOMENT, ROW, COLUMN)
    wrong = heat_at(*place) - 0.5 * last  # what decides comes last
    found = judged(wrong, clip)
    assert found.verdict == "random"
    assert found.gap < 0
    assert found.sentence.startswith("the map is no better than random: it beats ")


def test_a_map_that_says_nothing_is_as_good_as_its_copies():
    found = judged(torch.full((8, 16, 16), 0.5))
    assert found.rank == 1
    assert found.verdict == "random"


def test_nothing_is_told_of_a_network_that_says_the_same_of_nothing():
    found = judged(heat_at(MOMENT, ROW, COLUMN), 0.01 * bright())
    assert found.verdict == "undecided"
    assert found.sentence.startswith("the map cannot be judged: ")


def test_what_makes_a_class_less_likely_is_counted_the_other_way():
    clip = bright()
    no = check_map(ask(Spotter(), clip, "no"), clip, 0 * clip, heat_at(MOMENT, ROW, COLUMN), CELLS)
    assert no.whole < no.empty
    assert no.gap > 0.9
    assert no.verdict == "faithful"


def test_controls_follow_from_the_seed_and_are_never_the_map_itself():
    one, same, other = (judged(heat_at(2, 2, 2), seed=seed).control_gaps for seed in (0, 0, 1))
    assert one == same
    assert one != other
    rough = torch.rand(8, 16, 16, generator=torch.Generator().manual_seed(3))
    many = judged(rough, controls=60, cells=(2, 1, 1))
    assert len(many.control_gaps) == 60


def test_curves_start_and_end_where_they_must():
    found = judged(heat_at(MOMENT, ROW, COLUMN), steps=5)
    assert found.shares[0] == 0
    assert found.shares[-1] == 1
    assert len(found.shares) == len(found.deleted) == len(found.inserted) == 6
    assert found.deleted[0] == found.inserted[-1]
    assert found.deleted[-1] == found.inserted[0]
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["gap"] == pytest.approx(found.insertion - found.deletion, abs=1e-4)
    still = emptied(bright(), "still")
    assert torch.equal(still, bright())


@pytest.mark.parametrize(("worse", "verdict"), [(19, "faithful"), (15, "unsure"), (5, "random")])
def test_the_verdict_is_the_rank_among_the_copies(worse, verdict):
    gaps = (0.1,) * worse + (0.9,) * (19 - worse)
    found = Faithfulness(
        shares=(0, 1), deleted=(1, 0), inserted=(0, 1), deletion=0.25, insertion=0.75,
        control_gaps=gaps,
    )  # fmt: skip
    assert found.verdict == verdict
    assert f"beats {worse} of 19" in found.sentence
