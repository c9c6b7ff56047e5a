"""A network in evaluation mode, and the caller's own left as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module back into its own mode afterwards.

    Module by module, for `net.train(was)` would thaw the batch norms that a user froze.
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def plain(net: Net, device: str | None = None) -> Net:
    """The network in evaluation mode and float32, or a copy that is.

    Args:
        device: kind of device it is wanted on; None leaves it where it is.
    """
    numbers = [t for t in chain(net.parameters(), net.buffers()) if t.is_floating_point()]
    there = device is None or all(t.device.type == device for t in numbers)
    still = not any(module.training for module in net.modules())
    if there and still and all(t.dtype == torch.float32 for t in numbers):
        return net
    copy = deepcopy(net).float().eval()
    return copy if device is None else copy.to(device)
