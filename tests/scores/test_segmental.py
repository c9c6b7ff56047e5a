"""Frames, order and number of segments: the formulas of action segmentation in a few lines."""

from collections import namedtuple

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.segmental import (
    count_error,
    edit_score,
    f1,
    frame_precision,
    frame_times,
    labels_at,
    segmental,
)

Span_ = namedtuple("Span_", "start end label score", defaults=[1.0])
NAMES = ("a", "b", "c")


def frames(seed, count=80):
    """A label per frame in runs, some of them pauses (None)."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < count:
        choice = [None, *NAMES][rng.integers(0, 4)]
        if not out or choice != out[-1]:
            out += [choice] * int(rng.integers(2, 12))
    return out[:count]


def runs(labels):
    """Segments of frames; one frame is one second."""
    spans, start = [], 0
    for i in range(1, len(labels) + 1):
        if i == len(labels) or labels[i] != labels[start]:
            if labels[start] is not None:
                spans.append(Span_(float(start), float(i), labels[start]))
            start = i
    return spans


def edit_by_table(ours, theirs):
    """Levenshtein's table as it stands in textbooks."""
    table = np.zeros((len(ours) + 1, len(theirs) + 1))
    table[:, 0], table[0] = np.arange(len(ours) + 1), np.arange(len(theirs) + 1)
    for i in range(1, len(ours) + 1):
        for j in range(1, len(theirs) + 1):
            same = ours[i - 1] == theirs[j - 1]
            table[i, j] = min(
                table[i - 1, j - 1] + (not same), table[i - 1, j] + 1, table[i, j - 1] + 1
            )
    return 1 - table[-1, -1] / max(len(ours), len(theirs))


def hits_by_frames(ours, theirs, least):
    """True positives, false ones and misses as the scripts count them, from frames alone."""
    found, truth = runs(ours), runs(theirs)
    done, good, bad = [False] * len(truth), 0, 0
    for s in found:
        shares = []
        for t in truth:
            both = min(s.end, t.end) - max(s.start, t.start)
            all_ = max(s.end, t.end) - min(s.start, t.start)
            shares.append(both / all_ if s.label == t.label else 0.0)
        best = int(np.argmax(shares)) if shares else -1
        if best >= 0 and shares[best] >= least and not done[best]:
            good, done[best] = good + 1, True
        else:
            bad += 1
    return good, bad, len(truth) - sum(done)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("least", [0.1, 0.25, 0.5])
def test_f1_is_that_of_the_frames(seed, least):
    pairs = [(frames(2 * seed + 100 * k), frames(2 * seed + 100 * k + 1)) for k in range(3)]
    good, bad, missed = np.sum([hits_by_frames(a, b, least) for a, b in pairs], axis=0)
    ours = f1([runs(a) for a, _ in pairs], [runs(b) for _, b in pairs], least)
    assert ours == pytest.approx(2 * good / (2 * good + bad + missed))


@pytest.mark.parametrize("seed", range(12))
def test_edit_score_is_that_of_the_table(seed):
    a, b = runs(frames(seed)), runs(frames(seed + 50))
    assert edit_score(a, b) == pytest.approx(
        edit_by_table([s.label for s in a], [s.label for s in b])
    )


def test_edit_score_minds_order_and_not_length():
    truth = [Span_(0, 1, "a"), Span_(2, 3, "b")]
    assert edit_score([Span_(0, 9, "a"), Span_(9, 10, "b")], truth) == 1.0
    assert edit_score([Span_(0, 1, "b"), Span_(2, 3, "a")], truth) == 0.0
    assert edit_score([], []) == 1.0
    assert edit_score([], truth) == 0.0


@pytest.mark.parametrize("digits", [1, 6])
def test_average_precision_of_frames_is_that_of_scikit_learn(digits):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    inside = rng.random(300) < 0.3
    scores = np.round(inside * 0.4 + rng.random(300), digits)
    assert frame_precision(scores, inside) == pytest.approx(
        metrics.average_precision_score(inside, scores)
    )


def test_frames_of_a_video_are_scored_at_ten_hertz():
    assert frame_times(1.0) == pytest.approx(np.arange(0.05, 1, 0.1))
    truth, found = [Span_(0, 6, "a")], [Span_(0, 3, "a"), Span_(8, 9, "b")]
    ours = segmental([found], [truth], [10.0])
    assert ours.frames == 100
    assert ours.frame_accuracy == pytest.approx(0.6)  # 30 of the action, 30 of the pauses
    assert ours.floor == pytest.approx(0.6)
    assert ours.counts == {"a": (1, 1), "b": (1, 0)}
    assert ours.count_error == 0.5


def test_where_segments_overlap_the_surest_one_is_shown():
    times = np.array([0.5, 1.5, 2.5])
    spans = [Span_(1, 3, "a", 0.9), Span_(0, 2, "b", 0.6)]
    assert labels_at(spans, times, {"a": 0, "b": 1}).tolist() == [1, 0, 0]


def test_the_mean_over_classes_of_frames_follows_curves_or_else_segments():
    truth = [Span_(0, 5, "a"), Span_(5, 10, "b")]
    good = np.zeros((100, 2))
    good[:50, 0], good[50:, 1] = 1, 1
    assert segmental([[]], [truth], [10.0], curves=[good], classes="ab").frame_map == 1.0
    assert segmental([[]], [truth], [10.0], curves=[1 - good], classes="ab").frame_map == 0.5
    half = segmental([[truth[0]]], [truth], [10.0])
    assert half.frame_map == pytest.approx((1.0 + 0.5) / 2)  # nothing of b: half of all frames


def test_two_strokes_that_touch_are_two():
    truth = [Span_(0, 2, "a"), Span_(2, 4, "a")]
    assert f1([truth], [truth], 0.5) == 1.0
    assert f1([[Span_(0, 4, "a")]], [truth], 0.5) == pytest.approx(2 / 3)
    assert count_error([[Span_(0, 4, "a")]], [truth]) == 1.0


def test_perfect_and_empty_answers():
    truth = [[Span_(0, 2, "a")], []]
    ours = segmental(truth, truth, [4.0, 3.0])
    assert (ours.frame_accuracy, ours.edit, ours.frame_map, ours.count_error) == (1, 1, 1, 0)
    assert set(ours.f1.values()) == {1.0}
    none = segmental([[], []], truth, [4.0, 3.0])
    assert (none.edit, none.f1[0.5]) == (0.5, 0.0)
    assert none.to_dict()["f1@50"] == 0.0
    assert ("F1@50", "0.0%") in none.rows()


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(Pseudo3dError, match="lengths of 1 videos and truth of 2"):
        segmental([[], []], [[], []], [1.0])
    with pytest.raises(Pseudo3dError, match="segments of 1 videos"):
        segmental([[]], [[], []], [1.0, 1.0])
