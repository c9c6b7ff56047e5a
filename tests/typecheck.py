"""Checks tensor shapes while the tests run (the jaxtyping hook in pyproject).

Only functions that speak of shapes are checked: tests hand wrong values to the others on purpose.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

F = TypeVar("F", bound=Callable[..., Any])
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for mypy


def check(function: F) -> F:
    """Check the function's types if any of them is a tensor with a shape."""
    kinds = getattr(function, "__annotations__", {}).values()
    shaped = any(isinstance(kind, type) and issubclass(kind, AbstractArray) for kind in kinds)
    return _beartype(function) if shaped else function
