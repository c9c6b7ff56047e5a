"""Comparisons: find what is there, claim nothing where nothing is, and hold both kinds of luck."""

import json

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.auc import rest_statistic
from pseudo3d.scores.bootstrap import Draws, unit_numbers
from pseudo3d.scores.compare import Rival, compare, drawn_scores, over_seeds, value_statistic

N = 200
UNITS = unit_numbers(N, None)
LABELS = (np.random.default_rng(9).random(N) < 0.4).astype(int)


def probs(shift, seed):
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-(rng.normal(size=N) + shift * LABELS)))
    return np.stack([1 - p, p], axis=1)


def rival(name, shift, seeds):
    return Rival(name, [rest_statistic(probs(shift, s), LABELS) for s in seeds])


def test_a_better_network_is_named():
    found = compare("auc", rival("P3D", 2.0, range(3)), rival("2-D", 0.8, range(10, 13)), UNITS)
    assert found.decided
    assert "P3D is better than 2-D" in found.sentence
    assert found.p < 0.01
    assert found.caution == ""
    assert found.difference.value == pytest.approx(found.first.value - found.second.value)
    back = compare("auc", rival("2-D", 0.8, range(10, 13)), rival("P3D", 2.0, range(3)), UNITS)
    assert "P3D is better than 2-D" in back.sentence


def test_nothing_is_claimed_of_equals():
    found = compare("auc", rival("a", 1.0, [1]), rival("b", 1.0, [2]), UNITS)
    assert not found.decided
    assert "no difference can be claimed" in found.sentence
    assert found.p > 0.05
    assert "fewer than 3 seeds" in found.caution
    same = compare("auc", rival("a", 1.0, [1]), rival("b", 1.0, [1]), UNITS)
    assert "every draw gives the same difference" in same.sentence
    assert same.p == 1.0
    json.dumps([found.to_dict(), same.to_dict()], allow_nan=False)


def test_a_lower_error_wins_where_lower_is_better():
    errors = np.random.default_rng(0).random(N)
    good, bad = (
        Rival("good", [value_statistic(errors)]),
        Rival("bad", [value_statistic(errors + 1)]),
    )
    found = compare("mae", good, bad, UNITS, better=-1)
    # every scan is worse by the same: the difference has no spread, so no interval
    assert found.difference.value == pytest.approx(-1)
    noisy = Rival("bad", [value_statistic(errors + np.random.default_rng(1).random(N))])
    assert "good is better than bad" in compare("mae", good, noisy, UNITS, better=-1).sentence


def test_pairing_sees_what_two_intervals_do_not():
    hard = np.random.default_rng(0).normal(size=N)
    nudge = np.random.default_rng(1).normal(0.05, 0.1, N)
    first, second = Rival("a", [value_statistic(hard + nudge)]), Rival("b", [value_statistic(hard)])
    found = compare("score", first, second, UNITS)
    assert found.first.low < found.second.high  # overlap
    assert found.decided


def test_the_difference_of_means_is_that_of_the_paired_t_test():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, N))
    found = compare("x", Rival("a", [value_statistic(a)]), Rival("b", [value_statistic(b)]), UNITS)
    expected = ttest_1samp(a - b, 0).confidence_interval()
    assert found.difference.low == pytest.approx(expected.low, abs=0.03)
    assert found.difference.high == pytest.approx(expected.high, abs=0.03)


def test_seeds_that_differ_widen_the_interval():
    values = np.random.default_rng(0).normal(size=N)
    calm = over_seeds([value_statistic(values)] * 5, UNITS)
    wild = over_seeds([value_statistic(values + s) for s in (-1, -0.5, 0, 0.5, 1)], UNITS)
    assert wild.value == pytest.approx(calm.value)
    assert wild.high - wild.low > 2 * (calm.high - calm.low)
    assert "5 seeds" in wild.method


def test_the_spread_over_few_seeds_is_not_understated():
    """With no luck in the scans, draws spread as the standard error of the seeds' mean."""
    levels = [0.0, 1.0, 4.0]
    seeds = [value_statistic(np.full(N, level)) for level in levels]
    (drawn,) = drawn_scores([seeds], UNITS, Draws(count=20_000))
    assert drawn.std() == pytest.approx(np.std(levels, ddof=1) / np.sqrt(3), rel=0.02)


def test_patients_and_options_are_used():
    values = np.random.default_rng(0).normal(size=20).repeat(10)
    alone = over_seeds([value_statistic(values)], UNITS)
    whole = over_seeds([value_statistic(values)], unit_numbers(N, np.arange(20).repeat(10)))
    half = over_seeds([value_statistic(values)], UNITS, Draws(level=0.5))
    assert whole.high - whole.low > 2 * (alone.high - alone.low)
    assert half.high - half.low < 0.5 * (alone.high - alone.low)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(Pseudo3dError, match="no seed"):
        compare("auc", Rival("a", []), rival("b", 1.0, [1]), UNITS)
    with pytest.raises(Pseudo3dError, match="finite"):
        value_statistic([1.0, np.inf])
    with pytest.raises(Pseudo3dError, match="no seeds"):
        over_seeds([], UNITS)
