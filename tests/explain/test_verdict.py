"""The rule of the verdict, on answers made up for it."""

from pathlib import Path

import numpy as np
import pytest

from pseudo3d.engine.evaluate import Protocol
from pseudo3d.explain.orders import CONDITIONS
from pseudo3d.explain.verdict import TimeCheck


def check(ordered, shuffled, backward):
    """A check whose network is right about videos as told: arrays of 0 and 1."""
    ordered = np.asarray(ordered, dtype=bool)
    rows = dict.fromkeys(CONDITIONS, ordered) | {
        "shuffled": np.asarray(shuffled, dtype=bool),
        "reversed": np.asarray(backward, dtype=bool),
    }
    labels = np.arange(len(ordered)) % 2
    probs = np.empty((len(CONDITIONS), len(labels), 2))
    for row, right in zip(probs, rows.values(), strict=True):
        answers = np.where(right, labels, 1 - labels)
        row[:] = np.where(answers[:, None] == [0, 1], 0.8, 0.2)
    return TimeCheck(
        protocol=Protocol(),
        classes=("a", "b"),
        ways=CONDITIONS,
        probs=probs,
        labels=labels,
        paths=(Path(),) * len(labels),
        seed=0,
    )


def some(count, right):
    """`count` videos of which the first `right` are recognized."""
    return np.arange(count) < right


def test_a_loss_whose_interval_excludes_zero_means_yes():
    assert check(some(100, 97), some(100, 50), some(100, 3)).verdict == "uses order"
    small = check(some(100, 97), some(100, 85), some(100, 97))
    assert small.verdict == "uses order"
    assert small.drop("shuffled").low > 0


def test_a_loss_that_can_only_be_small_means_no():
    found = check(some(300, 270), some(300, 268), some(300, 271))
    assert found.verdict == "does not use order"
    assert found.sentence == "does not use order: 90 % in order, 89 % shuffled, 90 % reversed"


@pytest.mark.parametrize(("videos", "verdict"), [(3, "not decided"), (8, "uses order")])
def test_a_few_videos_that_agree_are_not_enough(videos, verdict):
    found = check(some(videos, videos), some(videos, videos), some(videos, 0))
    assert found.verdict == verdict
    assert found.decided is (verdict != "not decided")


def test_wide_intervals_decide_nothing_and_say_how_wide_they_are():
    found = check(some(30, 27), some(30, 26), some(30, 27))
    assert found.verdict == "not decided"
    most = max(abs(found.drop(name).high) for name in ("shuffled", "reversed"))
    assert f"on 30 videos the loss may be 0 or {100 * most:.0f} points" in found.sentence


def test_unchanged_probabilities_mean_no_however_few_the_videos():
    assert check([1, 0, 1], [1, 0, 1], [1, 0, 1]).verdict == "does not use order"


def test_who_guesses_has_nothing_to_lose():
    right = some(400, 200)
    found = check(right, np.roll(right, 8), np.roll(right, 8))
    assert found.drop("shuffled").high < 0.05
    assert found.verdict == "not decided"
    assert "no better than guessing (50 %)" in found.sentence


def test_a_gain_without_order_is_said():
    found = check(some(100, 3), some(100, 50), some(100, 97))
    assert found.verdict == "uses order"
    assert found.sentence.startswith("uses order, but not to its advantage: 3 % in order")


def test_intervals_hold_the_value_and_narrow_with_the_videos():
    few, many = (check(some(n, n), some(n, n // 2), some(n, 0)) for n in (20, 500))
    for found in (few, many):
        for name in CONDITIONS:
            for share in (found.accuracy(name), found.drop(name)):
                assert share.low <= share.value <= share.high
    assert few.accuracy("in order").low < 0.9 < 0.98 < many.accuracy("in order").low < 1


def test_intervals_cover_the_truth_about_as_often_as_they_claim():
    rng, held = np.random.default_rng(0), 0
    for _ in range(60):
        right = rng.uniform(size=(3, 40)) < [[0.9], [0.6], [0.6]]
        share = check(*right).drop("shuffled")
        held += share.low <= 0.3 <= share.high
    assert held >= 54
