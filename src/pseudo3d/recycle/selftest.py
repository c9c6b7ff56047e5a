"""The self-test of a file: what its network answers to one seeded clip, wherever it is asked."""

from typing import Any

import torch
from torch import nn

from pseudo3d.models.modes import plain


@torch.no_grad()
def seeded_answer(net: nn.Module, seed: int, shape: list[int]) -> Any:
    """What a network answers to a seeded clip, in eval mode, in float32 on the CPU.

    Autocast, the default type and the default device of whoever writes or reads a file must have no
    say: a good file would be refused. `net` is left as it is.
    """
    draw = torch.Generator().manual_seed(seed)
    clip = torch.randn(shape, generator=draw, dtype=torch.float32, device="cpu")
    with torch.autocast("cpu", enabled=False):
        return plain(net, "cpu")(clip)
