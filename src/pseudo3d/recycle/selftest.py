"""The self-test of a file: what its network answers to one seeded clip, wherever it is asked."""

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def seeded_answer(net: nn.Module, seed: int, shape: list[int]) -> Any:
    """What a network answers to a seeded clip, in eval mode, in float32 on the CPU.

    Autocast, the default type and the default device of whoever writes or reads a file must have no
    say: a good file would be refused. `net` is left as it is.
    """
    draw = torch.Generator().manual_seed(seed)
    clip = torch.randn(shape, generator=draw, dtype=torch.float32, device="cpu")
    with torch.autocast("cpu", enabled=False):
        return _plain(net)(clip)


def _plain(net: nn.Module) -> nn.Module:
    """The network, or a copy where it is in another type, place or mode."""
    numbers = (t for t in chain(net.parameters(), net.buffers()) if t.is_floating_point())
    ready = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in numbers)
    if ready and not any(module.training for module in net.modules()):
        return net
    return deepcopy(net).to("cpu", torch.float32).eval()
