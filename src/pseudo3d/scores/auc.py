"""Area under the ROC curve: two classes, or each class against the rest."""

from math import nan, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Statistic, as_numbers


class Roc(NamedTuple):
    """Shares found among the ill and, wrongly, among the healthy, from the strictest threshold."""

    false_positive: Float[np.ndarray, " t"]
    true_positive: Float[np.ndarray, " t"]
    thresholds: Float[np.ndarray, " t"]  # positive is what scores at least this; first is +inf


def auc_statistic(scores: Any, positive: Any) -> Statistic:
    """AUC as a function of weights: the share of (positive, negative) pairs in right order.

    A tie counts half. NaN where a draw holds one class only.
    """
    values, truth = _checked(scores, positive)
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values[order]) > 0]))
    sorted_truth = truth[order]

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        drawn = weights[:, order]
        good = np.add.reduceat(drawn * sorted_truth, starts, axis=1)
        bad = np.add.reduceat(drawn * ~sorted_truth, starts, axis=1)
        below = np.cumsum(bad, axis=1) - bad / 2
        pairs = good.sum(1) * bad.sum(1)
        with np.errstate(invalid="ignore"):
            return np.where(pairs > 0, (good * below).sum(1) / np.where(pairs > 0, pairs, 1), nan)

    return statistic


def auc(scores: Any, positive: Any) -> float:
    """Chance that a positive scan scores above a negative one; a tie counts half.

    Args:
        scores: one number per scan, any scale.
        positive: whether each scan belongs to the class.
    Raises:
        Pseudo3dError: sizes differ, a score is not finite, or only one class is there.
    """
    values, truth = _checked(scores, positive)
    if truth.all() or not truth.any():
        raise Pseudo3dError(
            f"AUC of {len(truth)} scans that are all {'positive' if truth.all() else 'negative'}; "
            "wanted both"
        )
    return float(auc_statistic(values, truth)(np.ones((1, len(values))))[0])


def rest_statistic(probs: Any, labels: Any) -> Statistic:
    """Mean over classes of the AUC of each against the rest; two classes: of the last column.

    NaN where a draw lacks a class, for the mean would be another score.
    """
    shares = as_numbers(probs, "probabilities", 2)
    truth = np.asarray(labels)
    columns = [shares.shape[1] - 1] if shares.shape[1] == 2 else range(shares.shape[1])
    parts = [auc_statistic(shares[:, k], truth == k) for k in columns if (truth == k).any()]

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        if not parts:
            return np.full(len(weights), nan)
        return np.mean([part(weights) for part in parts], axis=0)

    return statistic


def auc_one_vs_rest(probs: Any, labels: Any) -> tuple[float, dict[int, float]]:
    """The mean AUC of the classes that occur, and each one's own; two classes: the last one's.

    Raises:
        Pseudo3dError: fewer than two classes occur.
    """
    shares, truth = as_numbers(probs, "probabilities", 2), np.asarray(labels)
    present = [k for k in range(shares.shape[1]) if (truth == k).any()]
    if len(present) < 2:
        raise Pseudo3dError(f"AUC of {len(truth)} scans of {len(present)} class; wanted two")
    each = {k: auc(shares[:, k], truth == k) for k in present}
    if shares.shape[1] == 2:
        return each[1], each
    return float(np.mean([*each.values()])), each


def roc_curve(scores: Any, positive: Any) -> Roc:
    """All operating points, from "nothing is positive" to "everything is"."""
    values, truth = _checked(scores, positive)
    distinct = np.unique(values)[::-1]
    good, bad = np.sort(values[truth]), np.sort(values[~truth])
    found = len(good) - np.searchsorted(good, distinct)
    false = len(bad) - np.searchsorted(bad, distinct)
    return Roc(
        np.concatenate([[0.0], false / max(1, len(bad))]),
        np.concatenate([[0.0], found / max(1, len(good))]),
        np.concatenate([[np.inf], distinct]),
    )


def sensitivity_at(scores: Any, positive: Any, specificity: float) -> tuple[float, float]:
    """Best sensitivity among thresholds with at least this specificity, and the threshold.

    A threshold read off the scans it is judged on is optimistic: take it from the validation part
    and give it to `classification(..., threshold=...)` for a figure to publish.
    """
    curve = roc_curve(scores, positive)
    allowed = np.flatnonzero(1 - curve.false_positive >= specificity - 1e-12)
    best = int(allowed[curve.true_positive[allowed].argmax()])
    return float(curve.true_positive[best]), float(curve.thresholds[best])


def hanley_mcneil(area: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC (Hanley and McNeil, Radiology 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return sqrt(max(0.0, spread) / (positives * negatives))


def auc_bounds(
    area: float, positives: float, negatives: float, level: float = 0.95
) -> tuple[float, float]:
    """Areas that would not be surprised by this one: honest at 1, where all draws agree.

    Inverts the test with Hanley and McNeil's variance at the assumed area (Newcombe, 2006).
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    grid = np.linspace(0, 1, 2001)
    fits = [a for a in grid if abs(area - a) <= z * hanley_mcneil(a, positives, negatives) + 1e-12]
    return float(min(fits, default=area)), float(max(fits, default=area))


def _checked(scores: Any, positive: Any) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    values = as_numbers(scores, "scores", 1)
    truth = np.asarray(positive).astype(bool)
    if truth.shape != values.shape or not len(values):
        raise Pseudo3dError(
            f"{len(values)} scores and labels of shape {truth.shape}; wanted one label for each"
        )
    return values, truth
