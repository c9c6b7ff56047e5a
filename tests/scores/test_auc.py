"""AUC: that of scikit-learn and of counting pairs, ties and weights included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sk_roc_curve

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.auc import (
    auc,
    auc_bounds,
    auc_one_vs_rest,
    auc_statistic,
    hanley_mcneil,
    rest_statistic,
    roc_curve,
    sensitivity_at,
)


@settings(deadline=None, max_examples=40)
@given(
    scores=st.lists(st.integers(-3, 3), min_size=2, max_size=30),
    seed=st.integers(0, 100),
)
def test_auc_counts_pairs_in_order_with_ties_as_half(scores, seed):
    values = np.array(scores, dtype=float)
    truth = np.random.default_rng(seed).random(len(values)) < 0.5
    truth[:2] = True, False
    pairs = values[truth][:, None] - values[~truth]
    assert auc(values, truth) == pytest.approx((np.sign(pairs) / 2 + 0.5).mean())
    assert auc(values, truth) == pytest.approx(roc_auc_score(truth, values))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), n=st.integers(4, 40))
def test_weights_count_scans_as_often_as_they_say(seed, n):
    rng = np.random.default_rng(seed)
    values, truth = rng.integers(0, 6, n).astype(float), rng.random(n) < 0.5
    truth[:2] = True, False
    weights = rng.integers(0, 4, n).astype(float)
    weights[:2] = 1
    repeated = np.repeat(np.arange(n), weights.astype(int))
    found = auc_statistic(values, truth)(weights[None])[0]
    assert found == pytest.approx(auc(values[repeated], truth[repeated]))


def test_a_draw_with_one_class_has_no_auc():
    statistic = auc_statistic([0.1, 0.9], [False, True])
    assert np.isnan(statistic(np.array([[2.0, 0.0]]))[0])


def test_several_classes_are_averaged_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    labels, probs = rng.integers(0, 4, 80), rng.dirichlet(np.ones(4), 80)
    mean, each = auc_one_vs_rest(probs, labels)
    assert mean == pytest.approx(roc_auc_score(labels, probs, multi_class="ovr"))
    assert each[2] == pytest.approx(roc_auc_score(labels == 2, probs[:, 2]))
    assert rest_statistic(probs, labels)(np.ones((1, 80)))[0] == pytest.approx(mean)


def test_of_two_classes_the_last_column_counts():
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    assert auc_one_vs_rest(probs, [0, 0, 1])[0] == 1.0
    assert auc_one_vs_rest(probs, [1, 1, 0])[0] == 0.0


def test_a_class_that_does_not_occur_is_left_out_of_the_mean():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    labels = np.arange(20) % 2
    mean, each = auc_one_vs_rest(probs, labels)
    assert sorted(each) == [0, 1]
    assert rest_statistic(probs, labels)(np.ones((1, 20)))[0] == pytest.approx(mean)


def test_the_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 15, 60) / 15, rng.random(60) < 0.4
    found = roc_curve(scores, truth)
    false, true, steps = sk_roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive, false)
    np.testing.assert_allclose(found.true_positive, true)
    np.testing.assert_allclose(found.thresholds, steps)


def test_sensitivity_is_read_at_a_threshold_that_keeps_the_specificity():
    scores, truth = [0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8], [0, 0, 0, 0, 1, 1, 1]
    assert sensitivity_at(scores, truth, 1.0) == (pytest.approx(2 / 3), 0.7)
    assert sensitivity_at(scores, truth, 0.75) == (1.0, 0.4)


def test_the_standard_error_is_that_of_hanley_and_mcneil():
    """.032 at .83 with 69 and 229 scans, as measured for AdrenalMNIST3D."""
    assert hanley_mcneil(0.83, 69, 229) == pytest.approx(0.032, abs=5e-4)


def test_perfect_separation_is_not_certainty():
    few, many = auc_bounds(1.0, 5, 5), auc_bounds(1.0, 200, 200)
    assert few[1] == many[1] == 1.0
    assert few[0] < 0.8 < 0.97 < many[0] < 1


@pytest.mark.parametrize(
    ("scores", "truth"),
    [([0.1, 0.2], [1, 1]), ([0.1, np.nan], [0, 1]), ([0.1], [0, 1]), ([[0.1, 0.2]], [0, 1])],
)
@pytest.mark.usefixtures("unchecked")
def test_what_has_no_auc_is_refused(scores, truth):
    with pytest.raises(Pseudo3dError, match="wanted"):
        auc(scores, truth)
