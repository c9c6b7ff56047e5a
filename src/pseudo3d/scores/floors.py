"""What needs no network: the most frequent class, and how large the thing in the scan is.

A network that does not beat them has not looked at the scan.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.scores.auc import auc_one_vs_rest

SIZE_FEATURES = (
    "volume_mm3",
    "extent_d_mm",
    "extent_h_mm",
    "extent_w_mm",
    "largest_slice_d_mm2",
    "largest_slice_h_mm2",
    "largest_slice_w_mm2",
)


@dataclass(frozen=True, kw_only=True)
class Floor:
    """A score to beat, and what it takes."""

    name: str
    auc: float | None = None
    accuracy: float | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """The scores in words."""
        parts = [
            f"{what} {value:.3f}"
            for what, value in (("AUC", self.auc), ("accuracy", self.accuracy))
            if value is not None
        ]
        return ", ".join(parts) + (f" ({self.note})" if self.note else "")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def majority_floor(labels: Any, classes: Sequence[str], learned: Any = None) -> Floor:
    """Always name one class: the most frequent one.

    Args:
        labels: of the scans that are scored.
        learned: of the training scans, whose most frequent class is named; None takes `labels`,
            the highest such a constant answer can reach.
    """
    source = labels if learned is None else learned
    if not len(source) or not len(labels):
        raise Pseudo3dError("no labels; wanted one or more")
    best = int(np.bincount(np.asarray(source)).argmax())
    share = float((np.asarray(labels) == best).mean())
    return Floor(
        name="majority class", auc=0.5, accuracy=share, note=f"always says {classes[best]!r}"
    )


def foreground_of(volume: Shaped[np.ndarray, "d h w"]) -> Bool[np.ndarray, "d h w"]:
    """Voxels above Otsu's threshold (1979): the two groups that differ most from each other."""
    values = np.asarray(volume, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise Pseudo3dError("the volume holds numbers that are not finite; wanted finite ones")
    if low == high:
        return np.full(values.shape, low > 0)
    counts, edges = np.histogram(values, bins=256, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * gap**2)
    # empty bins between two groups tie: the middle of the tie is farthest from both
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return values > (edges[best[0] + 1] + edges[best[-1] + 1]) / 2


def size_features(
    foreground: Bool[np.ndarray, "d h w"],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Float[np.ndarray, "7"]:
    """Volume, extent along each axis and largest slice across each axis, in mm.

    Example:
        >>> size_features(foreground_of(volume), (3.0, 1.0, 1.0))[0]  # mm3
    """
    step = np.asarray(spacing, dtype=np.float64)
    if not foreground.any():
        return np.zeros(7)
    spots = np.argwhere(foreground)
    extents = (np.ptp(spots, axis=0) + 1) * step
    slices = [
        foreground.sum(axis=tuple({0, 1, 2} - {axis})).max() * step.prod() / step[axis]
        for axis in range(3)
    ]
    return np.array([foreground.sum() * step.prod(), *extents, *slices])


def size_floor(
    learned: tuple[Float[np.ndarray, "m f"], Any],
    judged: tuple[Float[np.ndarray, "n f"], Any],
) -> Floor:
    """Logistic regression on size features alone.

    Args:
        learned: features and labels of the training scans.
        judged: those of the scans that are scored.
    Raises:
        ImportError: scikit-learn is not installed.
        Pseudo3dError: fewer than two classes in one of the parts.
    """
    regression = require("sklearn.linear_model", "eval").LogisticRegression(max_iter=5000)
    scaler = require("sklearn.preprocessing", "eval").StandardScaler()
    if min(len(np.unique(learned[1])), len(np.unique(judged[1]))) < 2:
        raise Pseudo3dError("size floor: one class in the training or scored part; wanted two")
    regression.fit(scaler.fit_transform(learned[0]), learned[1])
    truth = np.asarray(judged[1])
    probs = np.zeros((len(truth), int(max(truth.max(), max(learned[1]))) + 1))
    probs[:, regression.classes_] = regression.predict_proba(scaler.transform(judged[0]))
    return Floor(
        name="size features",
        auc=auc_one_vs_rest(probs, truth)[0],
        accuracy=float((probs.argmax(1) == truth).mean()),
        note=f"logistic regression on {learned[0].shape[1]} sizes",
    )
