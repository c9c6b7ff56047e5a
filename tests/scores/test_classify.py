"""Scores of classifiers: right figures, intervals, floors beside them."""

import json

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws, wilson
from pseudo3d.scores.classify import ClassifyOptions, classification
from pseudo3d.scores.floors import Floor, majority_floor


def binary(n=200, shift=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.25).astype(int)
    p = 1 / (1 + np.exp(-(rng.normal(size=n) + shift * labels - 1)))
    return np.stack([1 - p, p], axis=1), labels


def test_two_classes_agree_with_scikit_learn():
    probs, labels = binary()
    found = classification(probs, labels, ["healthy", "ill"]).scores
    said = (probs[:, 1] >= 0.5).astype(int)
    expected = {
        "auc": roc_auc_score(labels, probs[:, 1]),
        "accuracy": (said == labels).mean(),
        "balanced_accuracy": balanced_accuracy_score(labels, said),
        "f1": f1_score(labels, said, average="macro"),
        "sensitivity": recall_score(labels, said),
        "specificity": recall_score(labels, said, pos_label=0),
        "brier": 2 * brier_score_loss(labels, probs[:, 1]),
    }
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected)
    assert all(score.low < score.value < score.high for score in found.values())


def test_many_classes_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 150)
    logits = rng.normal(size=(150, 5)) + 1.2 * np.eye(5)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = classification(probs, labels, list("abcde"))
    said = probs.argmax(1)
    assert found.scores["f1"].value == pytest.approx(f1_score(labels, said, average="macro"))
    assert found.scores["auc"].value == pytest.approx(
        roc_auc_score(labels, probs, multi_class="ovr")
    )
    assert (found.confusion == confusion_matrix(labels, said)).all()
    assert "sensitivity" not in found.scores
    assert found.per_class_auc["c"] == pytest.approx(roc_auc_score(labels == 2, probs[:, 2]))


def test_the_threshold_moves_sensitivity_and_leaves_auc():
    probs, labels = binary()
    low, high = (
        classification(probs, labels, ["a", "b"], options=ClassifyOptions(threshold=t)).scores
        for t in (0.2, 0.8)
    )
    assert low["sensitivity"].value > high["sensitivity"].value
    assert low["specificity"].value < high["specificity"].value
    assert low["auc"] == high["auc"]


def test_the_interval_of_the_auc_is_as_wide_as_hanley_and_mcneil_say():
    from pseudo3d.scores.auc import hanley_mcneil

    probs, labels = binary(400)
    found = classification(probs, labels, ["a", "b"]).scores["auc"]
    wide = 2 * 1.96 * hanley_mcneil(found.value, labels.sum(), (1 - labels).sum())
    assert found.high - found.low == pytest.approx(wide, rel=0.25)


def test_twelve_right_answers_of_twelve_are_not_certainty():
    labels = np.arange(12) % 2
    probs = np.eye(2)[labels] * 0.8 + 0.1
    found = classification(probs, labels, ["a", "b"]).scores
    assert found["accuracy"].value == found["auc"].value == 1.0
    assert found["accuracy"].low == pytest.approx(0.7575, abs=1e-3)
    assert 0.5 < found["auc"].low < 0.95
    assert found["sensitivity"].low == pytest.approx(wilson(1.0, 6)[0])  # six of them are ill
    paired = classification(probs, labels, ["a", "b"], units=np.arange(12) // 4).scores
    assert paired["accuracy"].low < found["accuracy"].low
    assert paired["auc"].low < found["auc"].low


def test_patients_widen_the_interval():
    probs, labels = binary(40)
    probs, labels, patients = probs.repeat(5, 0), labels.repeat(5), np.arange(40).repeat(5)
    alone = classification(probs, labels, ["a", "b"])
    whole = classification(probs, labels, ["a", "b"], units=patients)
    widths = [c.scores["auc"].high - c.scores["auc"].low for c in (alone, whole)]
    assert widths[1] > 1.5 * widths[0]
    assert "200 scans of 40 units" in whole.describe()


def test_floors_stand_beside_and_are_judged_by_the_lower_end():
    probs, labels = binary()
    score = classification(probs, labels, ["a", "b"]).scores["auc"]
    inside = Floor(name="inside", auc=(score.low + score.value) / 2)
    floors = (majority_floor(labels, ["a", "b"]), inside)
    found = classification(probs, labels, ["a", "b"], options=ClassifyOptions(floors=floors))
    assert [found.beats(f) for f in floors] == [True, False]
    assert found.beats(Floor(name="nothing")) is None
    assert "always says 'a'" in dict(found.rows())["floor: majority class"]
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [f["beaten"] for f in stored["floors"]] == [True, False]


def test_one_class_has_accuracy_and_no_auc():
    found = classification([[0.9, 0.1], [0.2, 0.8]], [0, 0], ["a", "b"])
    assert found.scores["accuracy"].value == 0.5
    assert str(found.scores["auc"]) == "undefined"
    json.dumps(found.to_dict(), allow_nan=False)


def test_draws_are_passed_on():
    probs, labels = binary()
    wide, narrow = (
        classification(
            probs, labels, ["a", "b"], options=ClassifyOptions(draws=Draws(level=level))
        ).scores["auc"]
        for level in (0.99, 0.5)
    )
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("probs", "labels", "classes", "why"),
    [
        ([[2.0, -1.0]], [0], ["a", "b"], "logits"),
        ([[0.5, 0.5]], [2], ["a", "b"], "labels"),
        ([[0.5, 0.5]], [0, 1], ["a", "b"], "shape"),
        ([[0.5, 0.5]], [0], ["a", "b", "c"], "shape"),
        ([[1.0]], [0], ["a"], "two classes"),
        ([[np.nan, 0.5]], [0], ["a", "b"], "finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(probs, labels, classes, why):
    with pytest.raises(Pseudo3dError, match=why):
        classification(probs, labels, classes)
