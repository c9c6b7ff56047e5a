"""Which rows of a batch are computed here, and random numbers that do not depend on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Row = TypeVar("Row")


@dataclass(frozen=True)
class Share:
    """The rows `start` to `stop` of a batch of `of`, which `ranks` processes compute together."""

    start: int
    stop: int
    of: int
    ranks: int = 1

    @property
    def weight(self) -> float:
        """Turns a mean over the rows here into one whose mean over the processes is the batch's."""
        return (self.stop - self.start) * self.ranks / self.of

    def take(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows here."""
        return rows[self.start : self.stop]


def share_of(rows: int, rank: int, ranks: int) -> Share:
    """What the process `rank` of `ranks` computes of a batch; the first ones take one more."""
    each, more = divmod(rows, ranks)
    start = rank * each + min(rank, more)
    return Share(start, start + each + (rank < more), rows, ranks)


class Draws:
    """Random numbers for the rows of a batch, the same ones wherever a row is computed.

    The numbers of the whole batch are drawn, and those of the rows here are taken.
    """

    def __init__(self, rng: torch.Generator, share: Share) -> None:
        self.rng, self.share = rng, share

    def uniform(self, count: int) -> Tensor:
        """`count` numbers in [0, 1) for each row: (count, rows)."""
        drawn = torch.rand(count, self.share.of, generator=self.rng)
        return drawn[:, self.share.start : self.share.stop]

    def boxes(self, *shape: int) -> Tensor:
        """A box of numbers in [0, 1) for each row: (rows, *shape)."""
        drawn = torch.rand(self.share.of, *shape, generator=self.rng)
        return drawn[self.share.start : self.share.stop]

    def normal(self, *shape: int) -> Tensor:
        """A box of normally distributed numbers for each row: (rows, *shape)."""
        drawn = torch.randn(self.share.of, *shape, generator=self.rng)
        return drawn[self.share.start : self.share.stop]


def draws_for(rows: int, rng: torch.Generator | Draws) -> Draws:
    """Draws for `rows` rows; a plain generator serves a batch that is whole."""
    return rng if isinstance(rng, Draws) else Draws(rng, Share(0, rows, rows))
