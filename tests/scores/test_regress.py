"""Predicted numbers: scikit-learn's errors, and the floor of naming the mean."""

import json

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws
from pseudo3d.scores.regress import regression

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(50, 10, 80)
FOUND = TRUTH + RNG.normal(1, 4, 80)


def test_errors_agree_with_scikit_learn():
    scores = regression(FOUND, TRUTH).scores
    expected = {
        "mae": mean_absolute_error(TRUTH, FOUND),
        "rmse": root_mean_squared_error(TRUTH, FOUND),
        "r2": r2_score(TRUTH, FOUND),
        "bias": (FOUND - TRUTH).mean(),
    }
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected)
    assert all(score.low < score.value < score.high for score in scores.values())


def test_naming_the_mean_is_the_floor():
    found = regression(np.full(80, 45.0), TRUTH, learned=[40.0, 50.0])
    assert found.scores["mae"].value == pytest.approx(found.floor_mae)
    assert found.scores["rmse"].value == pytest.approx(found.floor_rmse)
    assert "2 training scans" in found.floor_note
    assert "these scans" in regression(FOUND, TRUTH).floor_note
    json.dumps(found.to_dict(), allow_nan=False)
    assert "floor: mean value" in dict(found.rows())


def test_units_and_draws_are_used():
    wide = regression(FOUND, TRUTH, units=np.arange(80) // 20).scores["bias"]
    alone = regression(FOUND, TRUTH).scores["bias"]
    half = regression(FOUND, TRUTH, draws=Draws(level=0.5)).scores["bias"]
    assert "4 units" in wide.method
    assert half.high - half.low < 0.6 * (alone.high - alone.low)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("found", "truth"), [([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([], [])])
def test_what_cannot_be_scored_is_refused(found, truth):
    with pytest.raises(Pseudo3dError, match="wanted"):
        regression(found, truth)


def test_draws_of_equal_values_have_no_share_of_spread():
    found = regression([77.0, 63.0, 84.0], [76.9, 62.4, 84.2]).scores["r2"]
    assert found.low > -1e6
    assert found.undefined > 0
    flat = regression([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]).scores["r2"]
    assert np.isnan(flat.value)
