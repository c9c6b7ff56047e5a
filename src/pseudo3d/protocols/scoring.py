"""Figures of the benchmarks, from scores (V, K) and truth (V, K); all in [0, 1]."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from pseudo3d.errors import require

Scores = Float[np.ndarray, "v k"]
Truth = Bool[np.ndarray, "v k"]


def truth_of(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> Truth:
    """Which classes (columns) each video (row) is of."""
    index = {name: k for k, name in enumerate(classes)}
    out = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, names in zip(out, labels, strict=True):
        row[[index[name] for name in names]] = True
    return out


def hit(scores: Scores, truth: Truth, top: int = 1) -> float:
    """Share of the rows with one of their classes among the `top` highest scores.

    Equal scores count in the order of the classes, so that a constant score gains nothing.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return float(np.take_along_axis(truth, best, axis=1).any(1).mean())


def mean_ap(scores: Scores, truth: Truth) -> float:
    """Average precision of each class that has a video, then their mean."""
    precision = require("sklearn.metrics", "eval").average_precision_score
    found = [precision(t, s) for t, s in zip(truth.T, scores.T, strict=True) if t.any()]
    return float(np.mean(found))


def standard_error(values: Sequence[float]) -> float:
    """Of the mean: sample deviation / sqrt(count); NaN of a single value, which cannot tell."""
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def area_of_mean_roc(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Area under the mean of the folds' ROC curves, which are averaged at equal false positives.

    Args:
        folds: (same or not, score) of the pairs of each fold.
    """
    curve = require("sklearn.metrics", "eval").roc_curve
    grid = np.linspace(0, 1, 1001)
    rates = []
    for same, score in folds:
        false, true, _ = curve(same, score)
        rates.append(np.interp(grid, false, true))
    return float(np.trapezoid(np.mean(rates, axis=0), grid))
