"""Believe a checkpoint's description only as far as its weights bear it out.

A few bytes can describe a network of terabytes, or a self-test that takes a year; both are refused
before anything is built.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pseudo3d.errors import WeightsError
from pseudo3d.models import Network
from pseudo3d.recycle.card import Card

_SPARE = 2**22  # numbers that a network may hold beyond those of its file
_CLIP = 2**24  # numbers of the clip of a self-test; ours has 98304


def check_sound(card: Card, build: Callable[[], Network], state: Mapping[str, Tensor]) -> None:
    """Refuse a network far larger than the weights that are there, and a self-test that is none.

    Args:
        build: makes the network; is called on the meta device, where weights take no memory.
    Raises:
        WeightsError: it cannot be the network of these weights.
    """
    if card.self_test is not None:
        _check_self_test(card.self_test)
    depths = card.config.get("depths")
    blocks = [n for n in depths if isinstance(n, int)] if isinstance(depths, tuple) else []
    if sum(blocks) > max(len(state), 100):
        raise WeightsError(f"describes {sum(blocks)} blocks for {len(state)} entries")
    try:
        with torch.device("meta"):
            sketch = build()
    except (RuntimeError, OverflowError, ZeroDivisionError) as err:
        raise WeightsError(f"describes a network that cannot be built ({err})") from err
    wanted = sum(value.numel() for value in sketch.state_dict().values())
    have = sum(value.numel() for value in state.values())
    if wanted > 2 * have + _SPARE:
        raise WeightsError(f"describes a network of {wanted} numbers, but holds {have}")


def _check_self_test(test: Mapping[str, Any]) -> None:
    seed, logits = test.get("seed"), test.get("logits")
    shape: Any = test.get("shape")
    whole = isinstance(shape, list) and len(shape) == 5 and all(type(n) is int for n in shape)
    if not whole or min(shape) < 1 or math.prod(shape) > _CLIP:
        raise WeightsError(f"self-test with a clip of shape {str(shape)[:99]}; get the file again")
    numbers = isinstance(logits, list) and all(isinstance(v, int | float) for v in logits)
    if type(seed) is not int or not 0 <= seed < 2**63 or not numbers:
        raise WeightsError("self-test without a seed and logits; get the file again")
