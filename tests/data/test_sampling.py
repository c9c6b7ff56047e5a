"""Which frames make a clip: always frames of the video, in order, and fair to both directions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.data.sampling import (
    dense,
    dense_random,
    nearest,
    timed,
    uniform,
    uniform_random,
)

totals, lengths = st.integers(1, 300), st.integers(1, 40)
seeds = st.integers(0, 2**31)
quick = settings(deadline=None, max_examples=60)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def even_times(total, fps=25.0):
    return torch.arange(total, dtype=torch.float64) / fps


@st.composite
def views(draw):
    count = draw(st.integers(1, 7))
    return draw(st.integers(0, count - 1)), count


@quick
@given(totals, lengths, st.integers(1, 9), views(), seeds, st.floats(0.05, 1), st.floats(1, 90))
def test_every_way_gives_frames_of_the_video_in_order(total, frames, step, view, seed, part, fps):
    chosen = {
        "uniform": uniform(total, frames, *view),
        "uniform_random": uniform_random(total, frames, part, generator(seed)),
        "dense": dense(total, frames, step, *view),
        "dense_random": dense_random(total, frames, step, generator(seed)),
        "timed": timed(even_times(total), frames, fps, part),
    }
    for name, index in chosen.items():
        assert index.shape == (frames,), name
        assert index.dtype == torch.int64, name
        assert 0 <= index.min() <= index.max() < total, name
        assert (index.diff() >= 0).all(), name


@settings(deadline=None, max_examples=300)
@given(totals, lengths, views())
def test_uniform_views_of_a_reversed_video_are_the_reversed_views(total, frames, view):
    number, count = view
    there = uniform(total, frames, number, count)
    back = total - 1 - uniform(total, frames, count - 1 - number, count).flip(0)
    wrong = (there != back).nonzero().flatten().tolist()
    # The middle instant of a video with an even number of frames lies between two of them.
    middle = frames // 2 if frames % 2 and 2 * number + 1 == count and total % 2 == 0 else None
    assert wrong in ([], [middle])
    if wrong:
        assert abs(int(there[middle] - back[middle])) == 1


@quick
@given(totals, lengths, views())
def test_uniform_takes_one_frame_from_each_part(total, frames, view):
    index = uniform(total, frames, *view).double()
    parts = torch.arange(frames, dtype=torch.float64) * total / frames
    assert (index > parts - 1).all()
    assert (index <= parts + total / frames).all()


def test_uniform_views_look_at_different_frames():
    seen = torch.stack([uniform(60, 4, view, 5) for view in range(5)])
    assert seen.flatten().unique().numel() == 20
    assert seen.T.flatten().tolist() == sorted(seen.flatten().tolist())


@quick
@given(totals, lengths, seeds)
def test_random_frames_of_the_whole_span_come_from_their_parts(total, frames, seed):
    index = uniform_random(total, frames, 1.0, generator(seed)).double()
    parts = torch.arange(frames, dtype=torch.float64) * total / frames
    assert (index > parts - 1.001).all()
    assert (index < parts + total / frames + 1e-3).all()


def test_random_spans_cover_at_least_the_fraction_asked_for_and_move():
    drawn = torch.stack([uniform_random(1000, 10, 0.5, generator(s)) for s in range(300)])
    spans = drawn[:, -1] - drawn[:, 0]
    assert spans.min() >= 0.5 * 800
    assert spans.min() < 0.6 * 900
    assert spans.max() > 0.85 * 900
    assert drawn[:, 0].max() > 300
    assert drawn[:, -1].min() < 600


def test_half_of_the_random_draws_keep_the_frames_evenly_spaced():
    drawn = [uniform_random(10_000, 10, 1.0, generator(s)).diff() for s in range(200)]
    even = sum(int(gaps.max() - gaps.min()) <= 1 for gaps in drawn)
    assert 60 <= even <= 140


def test_random_draws_follow_the_generator():
    for draw in (
        lambda rng: uniform_random(500, 8, 0.5, rng),
        lambda rng: dense_random(500, 8, 2, rng),
    ):
        assert torch.equal(draw(generator(3)), draw(generator(3)))
        assert len({tuple(draw(generator(s)).tolist()) for s in range(20)}) > 10


@quick
@given(totals, lengths, st.integers(1, 9), views(), seeds)
def test_dense_keeps_its_step_and_repeats_the_last_frame_of_a_short_video(
    total, frames, step, view, seed
):
    for index in (
        dense(total, frames, step, *view),
        dense_random(total, frames, step, generator(seed)),
    ):
        fresh = index[: int((index < total - 1).sum()) + 1]
        assert (fresh[:-1].diff() == step).all()
        assert (index[len(fresh) :] == total - 1).all()
        if total >= (frames - 1) * step + 1:
            assert (index.diff() == step).all()
        else:
            assert index[0] == 0


def test_dense_views_reach_from_the_first_frame_to_the_last():
    seen = [dense(100, 5, 3, view, 4) for view in range(4)]
    assert [int(index[0]) for index in seen] == [0, 29, 58, 87]
    assert int(seen[-1][-1]) == 99
    assert dense(101, 5, 3).tolist() == [44, 47, 50, 53, 56]


def test_dense_random_starts_anywhere_it_fits():
    starts = {int(dense_random(12, 4, 2, generator(s))[0]) for s in range(200)}
    assert starts == set(range(6))


@quick
@given(
    st.lists(st.floats(0.01, 2), min_size=1, max_size=30),
    st.lists(st.floats(-1, 60), min_size=1, max_size=10),
)
def test_nearest_is_the_frame_on_screen(gaps, wanted):
    times = torch.tensor(gaps, dtype=torch.float64).cumsum(0)
    shown = [
        max([i for i, time in enumerate(times.tolist()) if time <= moment + 1e-6], default=0)
        for moment in wanted
    ]
    assert nearest(times, torch.tensor(wanted, dtype=torch.float64)).tolist() == shown


def test_timed_picks_by_the_clock_where_the_rate_varies():
    times = torch.tensor([5.0, 5.1, 5.2, 6.0, 6.1], dtype=torch.float64)
    assert timed(times, 3, 2.0, 0.0).tolist() == [0, 2, 3]
    assert timed(times, 3, 2.0, 1.0).tolist() == [1, 2, 4]
    assert timed(times, 4, 1.0, 0.5).tolist() == [0, 3, 4, 4]  # too short: the last frame stays


def test_timed_gives_the_same_moments_at_every_frame_rate():
    slow, fast = even_times(101, 25.0), even_times(201, 50.0)
    for position in (0.0, 0.25, 1.0):
        moments = slow[timed(slow, 9, 5.0, position)]
        assert torch.allclose(moments, fast[timed(fast, 9, 5.0, position)], atol=0.0201)
        assert torch.allclose(moments.diff(), torch.full((8,), 0.2, dtype=torch.float64))
