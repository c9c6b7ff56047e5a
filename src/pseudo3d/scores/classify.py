"""Scores of a classifier of scans: each with its interval, beside what needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.auc import auc_bounds, auc_one_vs_rest, rest_statistic
from pseudo3d.scores.bootstrap import (
    Bounds,
    Draws,
    Interval,
    Statistic,
    as_numbers,
    interval,
    unit_numbers,
    wilson,
)
from pseudo3d.scores.floors import Floor


@dataclass(frozen=True, kw_only=True)
class Classification:
    """What a classifier scored; every score is an `Interval`."""

    classes: tuple[str, ...]
    scans: int
    units: int
    counts: tuple[int, ...]  # scans of each class
    scores: dict[str, Interval]  # auc, accuracy, balanced_accuracy, f1, brier, ...
    per_class_auc: dict[str, float]
    confusion: Integer[np.ndarray, "k k"]  # class i (rows) taken for class j
    floors: tuple[Floor, ...] = ()
    threshold: float | None = None  # of the last class, two classes only

    def beats(self, floor: Floor) -> bool | None:
        """Whether the whole interval lies above a floor; None: nothing to compare.

        By AUC where the floor has one, for accuracy follows the mix of classes.
        """
        name, value = ("auc", floor.auc) if floor.auc is not None else ("accuracy", floor.accuracy)
        own = self.scores[name]
        if value is None or not np.isfinite(own.low):
            return None
        return own.low > value

    def describe(self) -> str:
        """What was scored, in words."""
        mix = ", ".join(f"{n} {c}" for c, n in zip(self.classes, self.counts, strict=True))
        units = "" if self.units == self.scans else f" of {self.units} units"
        cut = "" if self.threshold is None else f"; {self.classes[-1]} from {self.threshold:g} on"
        return f"{self.scans} scans{units} ({mix}){cut}; {self.scores['accuracy'].method}"

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of every score and floor, for a table."""
        shown = [(name, str(score)) for name, score in self.scores.items()]
        return shown + [(f"floor: {floor.name}", floor.text) for floor in self.floors]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "protocol": self.describe(),
            "scans": self.scans,
            "units": self.units,
            "classes": list(self.classes),
            "counts": list(self.counts),
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
            "per_class_auc": self.per_class_auc,
            "confusion": self.confusion.tolist(),
            "floors": [{**f.to_dict(), "beaten": self.beats(f)} for f in self.floors],
        }


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions:
    """How a classifier is scored."""

    draws: Draws = field(default_factory=Draws)
    threshold: float = 0.5  # two classes: the last one is said from this probability on
    floors: tuple[Floor, ...] = ()


def classification(
    probs: Any,
    labels: Any,
    classes: Sequence[str],
    *,
    units: Any = None,
    options: ClassifyOptions | None = None,
) -> Classification:
    """Score probabilities against labels.

    Args:
        probs: (N, K), one row per scan.
        labels: (N,) numbers of the true classes.
        units: patient of each scan, drawn together.
    Raises:
        Pseudo3dError: sizes do not fit, or a label is no class.
    Example:
        >>> str(classification(probs, labels, ["healthy", "ill"]).scores["auc"])
        '0.869 (95 % 0.821 to 0.910)'
    """
    how = options or ClassifyOptions()
    shares, truth = _checked(probs, labels, len(classes))
    numbers = unit_numbers(len(truth), units)
    found = _found(shares, how.threshold)
    counts = np.bincount(truth, minlength=len(classes))
    scores = {
        name: interval(statistic, numbers, how.draws, bounds)
        for name, (statistic, bounds) in _statistics(shares, truth, found, how.draws).items()
    }
    return Classification(
        classes=tuple(classes),
        scans=len(truth),
        units=int(numbers.max()) + 1,
        counts=tuple(counts.tolist()),
        scores=scores,
        per_class_auc=_each_auc(shares, truth, classes),
        confusion=_confusion(truth, found, len(classes)),
        floors=how.floors,
        threshold=how.threshold if len(classes) == 2 else None,
    )


def _each_auc(probs: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """AUC of each class that occurs against the rest; empty where only one does."""
    if len(np.unique(labels)) < 2:
        return {}
    return {classes[k]: value for k, value in auc_one_vs_rest(probs, labels)[1].items()}


def _found(probs: np.ndarray, threshold: float) -> np.ndarray:
    """The class that is said: the most probable one, of two the last from the threshold on."""
    return (probs[:, 1] >= threshold).astype(int) if probs.shape[1] == 2 else probs.argmax(1)


def _confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (truth, found), 1)
    return table


def share_statistic(
    right: Bool[np.ndarray, " n"], among: Bool[np.ndarray, " n"] | None = None
) -> Statistic:
    """Weighted share of `right` among the scans of `among`; NaN where a draw has none of them."""
    base = np.ones(len(right)) if among is None else among.astype(np.float64)

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        total = weights @ base
        return np.where(total > 0, weights @ (base * right) / np.where(total > 0, total, 1), nan)

    return statistic


def _statistics(
    probs: np.ndarray, labels: np.ndarray, found: np.ndarray, draws: Draws
) -> dict[str, tuple[Statistic, Bounds | None]]:
    """Every score with what bounds it where no draw changes it."""
    right, level = labels == found, draws.level
    counts = np.bincount(labels, minlength=probs.shape[1])
    recalls = [share_statistic(right, labels == k) for k in np.flatnonzero(counts)]

    def of_all(count: int) -> tuple[float, float]:
        return wilson(float(right.mean()), count, level)

    def of_class(k: int) -> Bounds:
        mean = float(right[labels == k].mean()) if counts[k] else nan
        return lambda count: wilson(mean, min(count, int(counts[k])), level)

    def area(count: int) -> tuple[float, float]:
        # fewer patients than scans: as if each class had its share of the patients
        value = float(rest_statistic(probs, labels)(np.ones((1, len(labels))))[0])
        least = counts[counts > 0].min() * count / len(labels)
        return auc_bounds(value, max(1.0, least), max(1.0, count - least), level)

    table: dict[str, tuple[Statistic, Bounds | None]] = {
        "auc": (rest_statistic(probs, labels) if len(recalls) > 1 else _nothing, area),
        "accuracy": (share_statistic(right), of_all),
        "balanced_accuracy": (lambda w: np.mean([r(w) for r in recalls], axis=0), None),
        "f1": (_f1(labels, found), None),
        "brier": (_mean(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(1)), None),
    }
    if probs.shape[1] == 2:
        table["sensitivity"] = (share_statistic(right, labels == 1), of_class(1))
        table["specificity"] = (share_statistic(right, labels == 0), of_class(0))
    return table


def _nothing(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    return np.full(len(weights), nan)


def _mean(values: Float[np.ndarray, " n"]) -> Statistic:
    return lambda weights: weights @ values / weights.sum(1)


def _f1(labels: np.ndarray, found: np.ndarray) -> Statistic:
    """Mean over classes of F1; a class that is neither there nor said is left out."""
    kinds = np.union1d(labels, found)

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        parts = []
        for k in kinds:
            hits = 2 * (weights @ ((labels == k) & (found == k)))
            total = weights @ (labels == k) + weights @ (found == k)
            parts.append(np.where(total > 0, hits / np.where(total > 0, total, 1), nan))
        table = np.array(parts)
        there = np.isfinite(table)
        return np.where(there, table, 0).sum(0) / np.maximum(1, there.sum(0))

    return statistic


def _checked(probs: Any, labels: Any, classes: int) -> tuple[np.ndarray, np.ndarray]:
    shares, truth = as_numbers(probs, "probabilities", 2), np.asarray(labels)
    if shares.shape != (len(truth), classes) or classes < 2 or truth.ndim != 1:
        raise Pseudo3dError(
            f"probabilities have shape {shares.shape} for {len(truth)} labels and {classes} "
            "classes; wanted (N, K), N labels, two classes or more"
        )
    if not np.issubdtype(truth.dtype, np.integer) or not np.isin(truth, range(classes)).all():
        raise Pseudo3dError(f"labels {np.unique(truth)[:8].tolist()}; wanted 0 to {classes - 1}")
    if (shares < -1e-6).any() or np.abs(shares.sum(1) - 1).max() > 1e-3:
        raise Pseudo3dError(
            "rows of probabilities do not sum to 1 or hold negative numbers; "
            "these look like logits: apply softmax first"
        )
    return shares, truth.astype(np.int64)
