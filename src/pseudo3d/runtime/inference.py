"""Inference in the types that were chosen, and for clips that hold numbers."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Given = ParamSpec("Given")
Found = TypeVar("Found")


def inference(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Run a function without gradients and without the caller's autocast.

    A loop of training in mixed precision that asks for a prediction has it switched on; it would
    round what is compared and computed in float32 here.
    """

    @wraps(function)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return run


def as_blank(x: Tensor, y: Tensor) -> Tensor:
    """What came out of `x`, and NaN for every clip that holds a value that is no number.

    oneDNN's fused ReLU makes 0 of NaN, and a broken input would get an answer like any other.
    """
    broken = ~torch.isfinite(x.sum(tuple(range(1, x.ndim)), dtype=torch.float32))
    return y.masked_fill(broken.view(-1, *[1] * (y.ndim - 1)), torch.nan) if broken.any() else y
