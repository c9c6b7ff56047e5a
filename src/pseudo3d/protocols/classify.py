"""The linear SVM of the representation protocols."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from pseudo3d.errors import require
from pseudo3d.features.svm import Linear, Solver, fit
from pseudo3d.protocols.scoring import Truth

Rows = Float[np.ndarray, "v f"]


def svm_scores(
    x: Rows,
    truth: Truth,
    test: Float[np.ndarray, "t f"],
    cost: float,
    solver: Solver,
    *,
    fused: bool = False,
) -> Float[np.ndarray, "t k"]:
    """Decision values of the test rows, one column per class; the machine's answer is the highest.

    A row of several classes is trained on once for each. Columns of classes without a training
    row are below all others: such a class cannot be answered.

    Args:
        fused: the values will be added to others, so nothing is done about the answer.
    """
    rows, labels = np.nonzero(truth)
    x = np.asarray(x, np.float64)[rows]
    fitted = fit(x, labels, Linear(normalize=(), c=cost, solver=solver))
    values = fitted.decision_function(np.asarray(test, np.float64))
    if values.ndim == 1:  # two classes
        values = np.stack([-values, values], axis=1)
    out = np.full((len(test), truth.shape[1]), values.min() - 1)
    out[:, [int(k) for k in fitted.classes_]] = values
    if not fused:
        _put_first(out, fitted.predict(np.asarray(test, np.float64)).astype(int))
    return out


def _put_first(values: Float[np.ndarray, "t k"], answers: Int[np.ndarray, " t"]) -> None:
    """Lift each row's answer just above all others, where it is not the highest already.

    Libsvm counts the votes of its pairs of classes and answers the first class with the most; the
    decision values break such a tie by the distances instead.
    """
    rows = np.arange(len(values))
    other = values.argmax(1) != answers
    values[rows[other], answers[other]] = np.nextafter(values[other].max(1), np.inf)


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
