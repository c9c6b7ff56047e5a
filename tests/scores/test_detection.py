"""mAP of segments: the rules of ActivityNet's script in a few lines, and what they must survive."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws
from pseudo3d.scores.detection import (
    TIOUS,
    Matches,
    as_array,
    average_precision,
    detection,
    greedy,
    matches,
    tiou,
)

True_ = namedtuple("True_", "start end label")
Found_ = namedtuple("Found_", "start end label score")
LABELS = ("jump", "run", "throw")
FEW = Draws(count=100)


def made(seed, videos=5):
    """Videos with some true spans, and found ones of which many lie near them."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(videos):
        starts = np.cumsum(rng.uniform(0.5, 6, rng.integers(0, 7)))
        spans = [True_(s, s + rng.uniform(0.5, 4), str(rng.choice(LABELS))) for s in starts]
        near = [
            Found_(t.start + a, t.end + abs(b), str(rng.choice([t.label, *LABELS])), rng.random())
            for t in spans
            for a, b in rng.normal(0, 0.3, (rng.integers(0, 4), 2))
        ]
        found.append(
            near + [Found_(s, s + 1.5, "jump", rng.random()) for s in rng.uniform(0, 20, 2)]
        )
        truth.append(spans)
    return found, truth


def by_the_rules(found, truth, label, least):
    """Average precision as the challenge counts it, one prediction after the other."""
    ranked = sorted(
        ((s.score, v, s) for v, spans in enumerate(found) for s in spans if s.label == label),
        key=lambda entry: -entry[0],
    )
    total = sum(t.label == label for spans in truth for t in spans)
    taken, hit = set(), []
    for _, v, s in ranked:
        overlaps = []
        for i, t in enumerate(truth[v]):
            if t.label == label:
                inner = max(0.0, min(s.end, t.end) - max(s.start, t.start))
                overlaps.append((inner / (s.end - s.start + t.end - t.start - inner), i))
        free = [i for o, i in sorted(overlaps, reverse=True) if o >= least and (v, i) not in taken]
        hit.append(bool(free))
        taken |= {(v, i) for i in free[:1]}
    precision = np.hstack([0, np.cumsum(hit) / np.arange(1, len(hit) + 1), 0])
    recall = np.hstack([0, np.cumsum(hit) / total, 1])
    for i in range(len(precision) - 1)[::-1]:
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())


@pytest.mark.parametrize("seed", range(25))
def test_map_is_that_of_the_rules(seed):
    found, truth = made(seed)
    names = sorted({t.label for spans in truth for t in spans})
    wanted = [[by_the_rules(found, truth, name, t) for t in TIOUS] for name in names]
    ours = detection(found, truth, draws=FEW)
    assert ours.at == pytest.approx(np.mean(wanted, axis=0))
    assert ours.mean_ap.value == pytest.approx(np.mean(wanted))
    assert ours.per_class == pytest.approx(dict(zip(names, np.mean(wanted, axis=1), strict=True)))
    assert ours.found == sum(map(len, found))


@settings(deadline=None, max_examples=50)
@given(
    overlap=st.lists(
        st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.8]), min_size=3, max_size=3), max_size=6
    )
)
def test_each_truth_is_found_once_by_the_surest_that_reaches_it(overlap):
    table = np.array(overlap).reshape(-1, 3)
    (hit,) = greedy(table, [0.5])
    free = {0, 1, 2}
    for row, got in zip(table, hit, strict=True):
        reached = [i for i in free if row[i] >= 0.5]
        assert got == bool(reached)
        if reached:  # of equals the last, as in the challenge's script
            free.discard(max(reached, key=lambda i: (row[i], i)))


def test_a_second_hit_of_one_truth_is_a_false_alarm():
    truth = [[True_(0, 10, "jump")]]
    once = [Found_(0, 10, "jump", 0.9)]
    twice = [*once, Found_(0, 9, "jump", 0.95)]
    assert matches([twice], truth, "jump", (0.5,)).hit.tolist() == [[True, False]]
    assert detection([once], truth, draws=FEW).mean_ap.value == 1.0
    # at tIoU 0.95 the surer one misses, the other hits: precision 1/2 at recall 1
    assert detection([twice], truth, draws=FEW).at[-1] == 0.5


def test_a_segment_counts_in_its_own_video_only():
    truth = [[True_(0, 2, "jump")], []]
    right, wrong = [[Found_(0, 2, "jump", 0.9)], []], [[], [Found_(0, 2, "jump", 0.9)]]
    assert detection(right, truth, draws=FEW).at[0] == 1.0
    assert detection(wrong, truth, draws=FEW).at[0] == 0.0


def test_order_in_a_file_changes_nothing_even_among_equal_scores():
    found, truth = made(3)
    found = [[s._replace(score=round(s.score, 1)) for s in spans] for spans in found]
    values = set()
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(found))
        values.add(
            round(
                detection([found[i] for i in order], [truth[i] for i in order], draws=FEW).at[0], 9
            )
        )
    assert len(values) == 1


def test_overlap_is_shared_time_over_all_time():
    table = tiou(np.array([[0.0, 2], [5, 6]]), np.array([[1.0, 3], [0, 2], [6, 9]]))
    assert table == pytest.approx(np.array([[1 / 3, 1, 0], [0, 0, 0]]))
    assert as_array([]).shape == (0, 2)


def test_a_draw_of_videos_scores_as_the_videos_themselves():
    found, truth = made(8)
    names = sorted({t.label for spans in truth for t in spans})
    weights = np.array([[2.0, 0, 1, 1, 3]])
    drawn = [0, 0, 2, 3, 4, 4, 4]
    for name in names:
        ours = average_precision(matches(found, truth, name, TIOUS), weights)[:, 0]
        again = matches([found[i] for i in drawn], [truth[i] for i in drawn], name, TIOUS)
        assert ours == pytest.approx(
            average_precision(again, np.ones((1, len(drawn))))[:, 0], nan_ok=True
        )


def test_the_interval_is_over_videos_and_says_so():
    found, truth = made(2, videos=12)
    ours = detection(found, truth).mean_ap
    assert ours.low < ours.value < ours.high
    assert "bootstrap over 12 videos" in ours.method


def test_classes_without_truth_change_no_score_but_are_counted():
    found, truth = made(4)
    more = [[*found[0], Found_(0, 1, "dance", 1.0)], *found[1:]]
    one, other = (detection(f, truth, draws=FEW) for f in (found, more))
    assert one.at == other.at
    assert (one.strays, other.strays) == (0, 1)


def test_nothing_found_is_zero():
    ours = detection([[], []], [[True_(0, 1, "jump")], []], draws=FEW)
    assert ours.mean_ap.value == 0.0
    assert ours.to_dict()["mAP_at"]["0.5"] == 0.0
    assert average_precision(
        Matches(np.zeros(0), np.zeros(0, int), np.zeros((1, 0), bool), np.array([0, 0])),
        np.ones((1, 2)),
    ) == pytest.approx(np.array([[np.nan]]), nan_ok=True)


def test_other_overlaps_may_be_asked_for():
    found, truth = made(5)
    ours = detection(found, truth, tious=(0.3, 0.7), draws=FEW)
    assert ours.tious == (0.3, 0.7)
    assert ours.at[1] == pytest.approx(detection(found, truth, draws=FEW).at[4])
    assert ours.rows()[0][0] == "mAP, mean over tIoU 0.3 to 0.7"


@pytest.mark.parametrize(
    ("found", "truth", "words"),
    [
        ([[]], [[], []], "segments of 1 videos and truth of 2"),
        ([[]], [[]], "1 videos without a true segment"),
        ([[Found_(2, 1, "jump", 0.5)]], [[True_(0, 1, "jump")]], "found segment of video 0"),
        ([[]], [[True_(0, float("nan"), "jump")]], "true segment of video 0"),
        ([[Found_(0, 1, "jump", float("nan"))]], [[True_(0, 1, "jump")]], "score that is a number"),
    ],
)
def test_what_cannot_be_scored_is_refused(found, truth, words):
    with pytest.raises(Pseudo3dError, match=words):
        detection(found, truth)


def test_impossible_overlaps_are_refused():
    with pytest.raises(Pseudo3dError, match="tIoUs are"):
        detection([[]], [[True_(0, 1, "jump")]], tious=(0.0,))
