"""Intervals: cover what they claim, keep patients whole, never promise certainty."""

from math import nan

import numpy as np
import pytest
from scipy.stats import binomtest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import (
    Draws,
    Interval,
    draw_weights,
    interval,
    percentile_bounds,
    unit_numbers,
    wilson,
)


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(1)


def test_an_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = interval(mean_of(values), unit_numbers(400, None), Draws(count=4000))
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert "400 scans" in found.method


def test_scans_of_one_patient_are_drawn_together_and_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(size=20), 10)
    patients = np.repeat(np.arange(20), 10)
    alone = interval(mean_of(values), unit_numbers(200, None), Draws())
    whole = interval(mean_of(values), unit_numbers(200, patients), Draws())
    assert whole.high - whole.low > 2.5 * (alone.high - alone.low)
    assert "20 units of 200 scans" in whole.method
    for weights in draw_weights(unit_numbers(200, patients), Draws(count=100)):
        assert (weights.reshape(-1, 20, 10).std(axis=2) == 0).all()


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    values, units = np.random.default_rng(0).normal(size=50), unit_numbers(50, None)
    first, same, other = (interval(mean_of(values), units, Draws(seed=s)) for s in (0, 0, 1))
    assert first == same
    assert first.low != other.low


def test_blocks_of_draws_change_nothing(monkeypatch):
    values, units = np.random.default_rng(0).normal(size=50), unit_numbers(50, None)
    whole = interval(mean_of(values), units, Draws())
    monkeypatch.setattr("pseudo3d.scores.bootstrap._AT_ONCE", 50 * 7)
    pieces = interval(mean_of(values), units, Draws())
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high))


def test_where_no_draw_changes_the_score_the_percentiles_are_not_used():
    found = interval(mean_of(np.ones(20)), unit_numbers(20, None), Draws())
    assert np.isnan(found.low)
    assert "no draw" in found.method
    bounded = interval(
        mean_of(np.ones(20)), unit_numbers(20, None), Draws(), lambda n: wilson(1.0, n)
    )
    assert (bounded.value, bounded.high) == (1.0, 1.0)
    assert bounded.low == pytest.approx(0.8389, abs=1e-4)


def test_draws_without_a_score_are_counted():
    values = np.array([1.0] + [0.0] * 9)

    def ratio(weights):
        total = weights[:, 0]
        return np.where(total > 0, weights @ values / np.where(total > 0, total, 1), np.nan)

    found = interval(ratio, unit_numbers(10, None), Draws())
    assert 600 < found.undefined < 800  # (1 - 1/10)^10 = 35 % of 2000


def test_between_a_number_and_infinity_nothing_is_interpolated():
    drawn = np.array([1.0, 2.0, 3.0, np.inf, np.inf])
    assert percentile_bounds(drawn, 0.9) == (1.0, np.inf)
    assert percentile_bounds(drawn, 0.5) == (2.0, np.inf)
    assert percentile_bounds(np.arange(5.0), 0.5) == (1.0, 3.0)


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 7), (20, 20), (229, 298)])
def test_wilson_is_that_of_scipy(right, count):
    low, high = wilson(right / count, count)
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert low == pytest.approx(expected.low)
    assert high == pytest.approx(expected.high)


@pytest.mark.parametrize("options", [{"count": 10}, {"level": 1.0}, {"level": 0.1}])
def test_draws_that_say_nothing_are_refused(options):
    with pytest.raises(Pseudo3dError, match="wanted"):
        Draws(**options)


@pytest.mark.parametrize(("count", "units"), [(0, None), (3, ["a", "b"])])
def test_units_must_fit(count, units):
    with pytest.raises(Pseudo3dError, match="wanted"):
        unit_numbers(count, units)


def test_nine_of_ten_intervals_hold_the_truth():
    """The promise itself: 200 samples, intervals at 90 %."""
    rng, held = np.random.default_rng(5), 0
    for seed in range(200):
        values = rng.normal(size=60)
        draws = Draws(count=400, seed=seed, level=0.9)
        found = interval(mean_of(values), unit_numbers(60, None), draws)
        held += found.low <= 0 <= found.high
    assert 165 <= held <= 195


def test_scores_in_a_small_unit_keep_their_digits():
    assert str(Interval(value=1.234e-5, low=1e-6, high=3.21e-4)) == (
        "1.234e-05 (95 % 1e-06 to 0.000321)"
    )
    assert str(Interval(value=0.00125, low=nan, high=nan)) == "0.00125 (no interval)"
    assert str(Interval(value=0.5, low=0.001, high=0.75)) == "0.500 (95 % 0.001 to 0.750)"
    assert str(Interval(value=2.0, low=nan, high=nan)) == "2.000 (no interval)"
