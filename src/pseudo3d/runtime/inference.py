"""Inference in the types that were chosen."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

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
