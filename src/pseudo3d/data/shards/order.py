"""The order of an epoch over shards: random, but not all over the disk."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Int64
from torch import Generator, Tensor

from pseudo3d.data.item import Item
from pseudo3d.data.shards.read import ShardItem


def shard_order(items: Sequence[Item], generator: Generator, window: int) -> Int64[Tensor, " n"]:
    """Every item once: shards in random order, their items mixed among `window` shards.

    At any time `window` shards are being read, which a disk's cache can hold. The order depends on
    the generator alone. Packing has dealt the items to the shards at random, so that a few shards
    hold all classes.

    Args:
        window: shards; as many as there are gives a plain random order.
    """
    if window < 1:
        raise ValueError(f"window is {window}: wanted 1 shard or more")
    homes: dict[tuple[int, str], list[int]] = {}
    for i, item in enumerate(items):
        key = (id(item.home), item.shard) if isinstance(item, ShardItem) else (0, "")
        homes.setdefault(key, []).append(i)
    shards = [torch.tensor(members) for members in homes.values()]
    turn = torch.randperm(len(shards), generator=generator).tolist()
    parts = []
    for first in range(0, len(turn), window):
        mixed = torch.cat([shards[k] for k in turn[first : first + window]])
        parts.append(mixed[torch.randperm(len(mixed), generator=generator)])
    return torch.cat(parts)


def epoch_order(
    items: Sequence[Item], window: int
) -> Callable[[Generator], Int64[Tensor, " n"]] | None:
    """`shard_order` of these items for an `EpochSampler`; None where they are files."""
    if not any(isinstance(item, ShardItem) for item in items):
        return None
    return partial(shard_order, items, window=window)
