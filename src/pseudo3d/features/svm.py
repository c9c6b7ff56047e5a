"""A linear support vector machine with what comes before it, as one thing that is fitted."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from pseudo3d.errors import ManifestError, Pseudo3dError, require, unknown
from pseudo3d.features.featureset import Normalize, signed_sqrt, unit

Solver = Literal["libsvm", "liblinear"]
_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
_INNER = 5  # folds that choose C


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear classifier and what comes before it.

    Args:
        layers: side by side, each normalized by itself; None takes the only one there is.
        normalize: in the order given; the paper's authors take the signed square root, then L2.
        pca: dimensions that are left; None leaves all.
        c: penalty of errors; "auto" chooses it by cross-validation within the training part.
        solver: "libsvm" as the paper (one against one); "liblinear" (one against all) where there
            are more than some thousand videos.
    """

    layers: tuple[str, ...] | None = None
    normalize: tuple[Normalize, ...] = ("ssqrt", "l2")
    pca: int | None = None
    c: float | Literal["auto"] = 1.0
    solver: Solver = "libsvm"
    seed: int = 0

    def __post_init__(self) -> None:
        for step in self.normalize:
            if step not in get_args(Normalize):
                raise TypeError(unknown("normalization", step, get_args(Normalize)))
        if self.solver not in get_args(Solver):
            raise TypeError(unknown("solver", self.solver, get_args(Solver)))
        if self.pca is not None and self.pca < 1:
            raise ValueError(f"pca is {self.pca}; wanted at least 1 dimension")
        if self.c != "auto" and not (isinstance(self.c, int | float) and self.c > 0):
            raise ValueError(f"c is {self.c!r}; wanted a number above 0, or 'auto'")

    def describe(self) -> str:
        """In words, to stand beside every score."""
        c = f"C from {_GRID} within the training part" if self.c == "auto" else f"C {self.c:g}"
        before = [*self.normalize, *([f"PCA to {self.pca}"] if self.pca else [])]
        fitted = " fitted on the training part" if self.pca or "zscore" in before else ""
        first = f"{', '.join(before)}{fitted}; " if before else ""
        return f"{first}linear SVM ({self.solver}), {c}"


def fit(
    x: Float[np.ndarray, "v f"],
    labels: np.ndarray,
    options: Linear,
    *,
    widths: Sequence[int] | None = None,
    units: Sequence[str] | None = None,
) -> Any:
    """Fit everything on these rows; the result has scikit-learn's `predict`, `decision_function`.

    Args:
        widths: of the layers that lie side by side in a row; None takes a row for one layer.
        units: what the choice of C must not cut, such as people.
    Raises:
        ManifestError: one class.
        Pseudo3dError: more dimensions asked for than PCA can give.
        ImportError: scikit-learn is not installed.
    Example:
        >>> fit(x, labels, Linear(normalize=("l2",), pca=48)).predict(other)
    """
    names = sorted({*map(str, labels)})
    if len(names) < 2:
        raise ManifestError(f"{len(x)} training videos of one class, {names}: wanted two or more")
    if options.pca is not None and options.pca > min(x.shape):
        raise Pseudo3dError(
            f"PCA to {options.pca} dimensions: {x.shape[0]} training videos with {x.shape[1]} "
            f"numbers each give {min(x.shape)} at most"
        )
    machine = _pipeline(options, widths or [x.shape[1]])
    if options.c == "auto":
        keys = units if units is not None else [str(i) for i in range(len(x))]
        folds = list(group_folds(labels, keys, min(_INNER, len(set(keys))), options.seed))
        search = require("sklearn.model_selection", "eval").GridSearchCV
        machine = search(machine, {"svm__C": _GRID}, cv=folds, error_score="raise")
    return machine.fit(x, list(labels))


def _pipeline(options: Linear, widths: Sequence[int]) -> Any:
    """Normalization of every layer by itself, PCA of all together, the machine."""
    pipe = require("sklearn.pipeline", "eval")
    steps: list[tuple[str, Any]] = []
    if options.normalize:
        ends = np.cumsum(widths).tolist()
        compose = require("sklearn.compose", "eval")
        blocks = [
            (f"layer {i}", pipe.make_pipeline(*map(_step, options.normalize)), slice(end - w, end))
            for i, (end, w) in enumerate(zip(ends, widths, strict=True))
        ]
        steps.append(("normalize", compose.ColumnTransformer(blocks)))
    if options.pca is not None:
        pca = require("sklearn.decomposition", "eval").PCA
        steps.append(("pca", pca(options.pca, random_state=options.seed)))
    svm, c = require("sklearn.svm", "eval"), 1.0 if options.c == "auto" else options.c
    if options.solver == "libsvm":
        machine = svm.SVC(kernel="linear", C=c)
    else:
        machine = svm.LinearSVC(C=c, random_state=options.seed, max_iter=10_000)
    return pipe.Pipeline([*steps, ("svm", machine)])


def _step(name: Normalize) -> Any:
    ready = require("sklearn.preprocessing", "eval")
    if name == "zscore":
        return ready.StandardScaler()
    return ready.FunctionTransformer(signed_sqrt if name == "ssqrt" else unit)


def group_folds(
    labels: np.ndarray, units: Sequence[str], folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(training rows, test rows) of parts with about the same classes, no unit in two of them.

    Raises:
        ManifestError: fewer units than folds.
    """
    if folds < 2 or len(set(units)) < folds:
        raise ManifestError(
            f"{folds} folds of {len(set(units))} groups (or videos): wanted at least two folds, "
            "and a group for each"
        )
    splitter = require("sklearn.model_selection", "eval").StratifiedGroupKFold
    most = max(np.unique(labels.astype(str), return_counts=True)[1])
    if most < folds:
        raise ManifestError(f"{folds} folds, but no class has more than {most} videos")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = splitter(folds, shuffle=True, random_state=seed)
        yield from parts.split(np.zeros(len(labels)), list(labels), list(units))
