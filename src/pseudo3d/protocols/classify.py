"""The linear SVM of the representation protocols."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from pseudo3d.errors import require
from pseudo3d.features.svm import Linear, Solver, fit
from pseudo3d.protocols.scoring import Truth

Rows = Float[np.ndarray, "v f"]


def svm_scores(
    x: Rows, truth: Truth, test: Float[np.ndarray, "t f"], cost: float, solver: Solver
) -> Float[np.ndarray, "t k"]:
    """Decision values of the test rows, one column per class.

    A row of several classes is trained on once for each. Columns of classes without a training
    row are below all others: such a class cannot be answered.
    """
    rows, labels = np.nonzero(truth)
    x = np.asarray(x, np.float64)[rows]
    fitted = fit(x, labels, Linear(normalize=(), c=cost, solver=solver))
    values = fitted.decision_function(np.asarray(test, np.float64))
    if values.ndim == 1:  # two classes
        values = np.stack([-values, values], axis=1)
    out = np.full((len(test), truth.shape[1]), values.min() - 1)
    out[:, [int(k) for k in fitted.classes_]] = values
    return out


def reduced(
    x: Rows, train: Sequence[int], sizes: Sequence[int]
) -> tuple[dict[int, Float[np.ndarray, "v _"]], tuple[str, ...]]:
    """Rows projected on their first principal components, fitted on the training rows.

    Gives the projections by size, and a sentence on the sizes the data do not allow.
    """
    most = min(len(train), x.shape[1])
    good = [size for size in sizes if size <= most]
    bad = [str(size) for size in sizes if size > most]
    note = (f"PCA to {', '.join(bad)}: not with {len(train)} vectors of {x.shape[1]}",)
    if not good:
        return {}, note if bad else ()
    pca = require("sklearn.decomposition", "eval").PCA(max(good), svd_solver="full")
    projected = pca.fit(x[list(train)]).transform(x)
    return {size: projected[:, :size] for size in good}, note if bad else ()
