"""Figures from scores, each against a count done by hand."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import SVC, LinearSVC

from pseudo3d.protocols import get
from pseudo3d.protocols.classify import reduced, svm_scores
from pseudo3d.protocols.scoring import area_of_mean_roc, hit, mean_ap, standard_error, truth_of
from pseudo3d.protocols.sports1m import figures

SCORES = np.array([[0.1, 0.5, 0.4, 0.0], [0.3, 0.3, 0.3, 0.1], [0.0, 0.2, 0.3, 0.5]])


@pytest.mark.parametrize(("top", "share"), [(1, 0 / 3), (2, 2 / 3), (3, 2 / 3), (4, 3 / 3)])
def test_a_hit_is_one_of_the_labels_among_the_best(top, share):
    truth = truth_of([["c"], ["b"], ["a"]], ["a", "b", "c", "d"])
    assert hit(SCORES, truth, top) == pytest.approx(share)
    both = truth_of([["c", "b"], ["b"], ["a", "d"]], ["a", "b", "c", "d"])
    assert hit(SCORES, both) == pytest.approx(2 / 3)


def test_mean_precision_leaves_out_classes_without_a_video():
    truth = truth_of([["b"], ["a"], ["a"]], ["a", "b", "c", "d"])
    # a: ranked 2, 1, 3 with hits at 1 and 3; b: ranked 1, 2, 3 with a hit at 1
    assert mean_ap(SCORES, truth) == pytest.approx(np.mean([(1 / 1 + 2 / 3) / 2, 1.0]))


def test_the_standard_error_is_that_of_a_sample():
    assert standard_error([0.5, 0.6, 0.7]) == pytest.approx(0.1 / np.sqrt(3))
    assert np.isnan(standard_error([0.5]))


def test_the_area_of_a_mean_curve():
    right = (np.array([True, True, False, False]), np.array([4.0, 3, 2, 1]))
    wrong = (np.array([False, False, True, True]), np.array([4.0, 3, 2, 1]))
    assert area_of_mean_roc([right]) == pytest.approx(1.0)
    assert area_of_mean_roc([right, wrong]) == pytest.approx(0.5, abs=1e-3)


def test_activitynet_counts_the_best_three():
    truth = truth_of([["d"], ["a"], ["a"]], ["a", "b", "c", "d"])
    found = get("activitynet").measure(SCORES, truth)
    assert (found["top1"], found["top3"]) == pytest.approx((1 / 3, 1 / 3))
    more = truth_of([["a"], ["c"], ["a"]], ["a", "b", "c", "d"])
    assert get("activitynet").measure(SCORES, more)["top3"] == pytest.approx(2 / 3)


def test_sports1m_means_the_clips_of_a_video():
    probs = np.zeros((1, 2, 8))
    probs[0, 0, :6] = [0.3, 0.2, 0.2, 0.2, 0.05, 0.05]
    probs[0, 1] = [0, 0.2, 0.2, 0.2, 0.1, 0.0, 0.3, 0]
    # means: 0.15, 0.2, 0.2, 0.2, 0.075, 0.025, 0.15, 0; the largest of either clip orders otherwise
    assert [figures(probs, np.eye(8, dtype=bool)[[k]])["video_hit@5"] for k in range(8)] == [
        1, 1, 1, 1, 0, 0, 1, 0,
    ]  # fmt: skip
    first = figures(probs, np.eye(8, dtype=bool)[[0]])
    assert (first["clip_hit@1"], first["video_hit@1"]) == (0.5, 0.0)


def test_a_class_without_training_videos_is_never_answered():
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(6, 3)), np.eye(4, dtype=bool)[[0, 0, 1, 1, 3, 3]]
    scores = svm_scores(x, truth, rng.normal(size=(50, 3)) * 9, 1.0, "libsvm")
    assert scores.shape == (50, 4)
    assert set(scores.argmax(1)) == {0, 1, 3}
    assert (scores[:, 2] < scores[:, [0, 1, 3]].min(1)).all()


def clouds():
    """Rows of many classes that overlap: votes of pairs are often equal."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(60, 4)), np.arange(60) % 6
    return x, labels, rng.normal(size=(400, 4))


def test_the_answer_of_libsvm_is_its_own():
    x, labels, test = clouds()
    machine = SVC(kernel="linear").fit(x, labels)
    plain, answers = machine.decision_function(test), machine.predict(test)
    other = plain.argmax(1) != answers
    assert other.sum() > 10  # equal votes, of which libsvm takes the first class
    scores = svm_scores(x, np.eye(6, dtype=bool)[labels], test, 1.0, "libsvm")
    assert (np.argsort(-scores, axis=1, kind="stable")[:, 0] == answers).all()
    assert np.allclose(scores[~other], plain[~other])
    assert np.abs(scores - plain).max() < 1  # less than a vote: the order of the others stays
    fused = svm_scores(x, np.eye(6, dtype=bool)[labels], test, 1.0, "libsvm", fused=True)
    assert np.allclose(fused, plain)


def test_the_answer_of_liblinear_is_its_highest_value():
    x, labels, test = clouds()
    machine = LinearSVC(random_state=0, max_iter=10_000).fit(x, labels)
    scores = svm_scores(x, np.eye(6, dtype=bool)[labels], test, 1.0, "liblinear")
    assert np.array_equal(scores, machine.decision_function(test))


def test_projections_know_the_training_rows_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4)) * [1, 5, 1, 1]
    x[6:] *= [9, 0, 1, 1]  # the other rows have another main direction
    found, notes = reduced(x, range(6), (1, 7))
    assert np.allclose(np.abs(found[1]), np.abs(PCA(1).fit(x[:6]).transform(x)))
    assert notes == ("PCA to 7: not with 6 vectors of 4",)
