"""Twelve numbers that say how alike two non-negative vectors are, for ASLAN.

The benchmark's own twelve (Kliper-Gross, Hassner, Wolf, PAMI 2012) are in code that is not public
any more. Two of them are known from its results page; the other ten are ours, of the families its
paper speaks of, so figures made with them are near the published protocol and not the same.
Signs do not matter to a linear SVM.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from pseudo3d.errors import unknown

Rows = Float[np.ndarray, "p f"]
Value = Float[np.ndarray, " p"]
_EPS = 1e-12


def _dot(a: Rows, b: Rows) -> Value:
    return (a * b).sum(1)


def _sqrt_dot(a: Rows, b: Rows) -> Value:
    return np.sqrt(a * b).sum(1)


def _root_of_dot(a: Rows, b: Rows) -> Value:
    return np.sqrt(_dot(a, b))


def _root_of_sqrt_dot(a: Rows, b: Rows) -> Value:
    return np.sqrt(_sqrt_dot(a, b))


def _l1(a: Rows, b: Rows) -> Value:
    return np.abs(a - b).sum(1)


def _l2(a: Rows, b: Rows) -> Value:
    return np.sqrt(((a - b) ** 2).sum(1))


def _hellinger(a: Rows, b: Rows) -> Value:
    return np.sqrt(((np.sqrt(a) - np.sqrt(b)) ** 2).sum(1))


def _chi_square(a: Rows, b: Rows) -> Value:
    return ((a - b) ** 2 / np.maximum(a + b, _EPS)).sum(1)


def _root_of_chi_square(a: Rows, b: Rows) -> Value:
    return np.sqrt(_chi_square(a, b))


def _intersection(a: Rows, b: Rows) -> Value:
    return np.minimum(a, b).sum(1)


def _union(a: Rows, b: Rows) -> Value:
    return np.maximum(a, b).sum(1)


def _intersection_over_union(a: Rows, b: Rows) -> Value:
    return _intersection(a, b) / np.maximum(_union(a, b), _EPS)


CONFIRMED = ("dot", "sqrt_dot")

SIMILARITIES: dict[str, Callable[[Rows, Rows], Value]] = {
    "dot": _dot,  # sum(a b), confirmed
    "sqrt_dot": _sqrt_dot,  # sum(sqrt(a b)), confirmed
    "root_of_dot": _root_of_dot,
    "root_of_sqrt_dot": _root_of_sqrt_dot,
    "l1": _l1,
    "l2": _l2,
    "hellinger": _hellinger,
    "chi_square": _chi_square,
    "root_of_chi_square": _root_of_chi_square,
    "intersection": _intersection,
    "union": _union,
    "intersection_over_union": _intersection_over_union,
}


def similarities(a: Rows, b: Rows, names: tuple[str, ...]) -> Float[np.ndarray, "p s"]:
    """One column for each name.

    Raises:
        ValueError: an unknown name, or a negative value, whose root there is not.
    """
    for name in names:
        if name not in SIMILARITIES:
            raise ValueError(unknown("similarity", name, SIMILARITIES))
    if min(a.min(initial=0), b.min(initial=0)) < 0:
        raise ValueError(
            "features have negative values, the similarities take roots of them; take layers after "
            "a ReLU or softmax: prob, pool5, res5, res4"
        )
    return np.stack([SIMILARITIES[name](a, b) for name in names], axis=1)


def told(names: tuple[str, ...]) -> str:
    """Which of the names are the benchmark's, in words, for every score."""
    sure = [name for name in names if name in CONFIRMED]
    ours = [name for name in names if name not in CONFIRMED]
    return (
        f"{len(names)} similarities; confirmed as the benchmark's: {', '.join(sure) or 'none'}; "
        f"chosen by us, for the benchmark's list is not public: {', '.join(ours) or 'none'}"
    )
