"""Seeds: rows, means with Student's interval, nothing averaged away."""

import json

import pytest
from scipy import stats

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.seeds import SeedRow, rows_csv, spread, student95, summary


@pytest.mark.parametrize("freedom", [1, 2, 5, 9, 30, 31, 60, 500])
def test_the_quantile_is_that_of_students_t(freedom):
    assert student95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-3)


def test_the_mean_has_students_interval():
    values = [0.861, 0.872, 0.869, 0.855, 0.880]
    found = spread(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-5)
    assert (found.least, found.most, found.count) == (0.855, 0.880, 5)
    assert "5 seeds from 0.855 to 0.880" in str(found)


def test_one_seed_has_no_interval():
    found = spread([0.9])
    assert "no interval" in str(found)
    assert found.to_dict()["low"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_every_score_is_summed_up_and_every_seed_is_a_row():
    rows = [
        SeedRow(seed=s, scores={"auc": 0.8 + s / 100, "accuracy": 0.7}, facts={"epoch": 3 * s})
        for s in (0, 1, 2)
    ]
    assert summary(rows)["auc"].mean == pytest.approx(0.81)
    assert rows_csv(rows).splitlines() == [
        "seed,auc,accuracy,epoch",
        "0,0.800000,0.700000,0",
        "1,0.810000,0.700000,3",
        "2,0.820000,0.700000,6",
    ]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "no seeds"),
        ([SeedRow(seed=1, scores={"a": 1.0})] * 2, "twice"),
        ([SeedRow(seed=1, scores={"a": 1.0}), SeedRow(seed=2, scores={"b": 1.0})], "the same"),
        ([SeedRow(seed=1, scores={"a": float("nan")})], "finite"),
    ],
)
def test_what_would_hide_a_seed_is_refused(rows, why):
    with pytest.raises(Pseudo3dError, match=why):
        summary(rows)
