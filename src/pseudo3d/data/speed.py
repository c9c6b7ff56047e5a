"""How fast clips come out of files: packed ones against their originals."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, Draw
from pseudo3d.data.manifest import Item
from pseudo3d.data.preprocess import Preprocessing, Sampling

FRAMES = 16


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Clips of 16 frames per second of processor time."""

    sampling: Sampling
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """How many times faster."""
        return self.after / self.before


def compare(
    before: Sequence[Item], after: Sequence[Item], size: int, *, most: int = 8, seconds: float = 10
) -> list[Speed]:
    """Read random clips of the same items from both, in turn, for each way of sampling.

    Args:
        size: pixels, the shorter side the clips are scaled to.
        most: items taken evenly from the list.
        seconds: processor time after which no new round begins.
    """
    step = -(-len(before) // most)
    pairs = (before[::step], after[::step])
    found = []
    kinds: tuple[Sampling, ...] = ("uniform", "dense")
    for sampling in kinds:
        pre = Preprocessing(
            frames=FRAMES,
            sampling=sampling,
            resize=size,
            size=(size, size),
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
        )
        spec = ClipSpec(preprocessing=pre, canvas=pre.size, random=True)
        sets = [ClipDataset(part, [0] * len(part), FrameStore(resize=size), spec) for part in pairs]
        rounds = _rounds(sets, seconds / len(kinds))
        rates = [len(pairs[0]) / median(costs) for costs in zip(*rounds, strict=True)]
        found.append(Speed(sampling=sampling, before=rates[0], after=rates[1]))
    return found


def _rounds(sets: list[ClipDataset], seconds: float) -> list[list[float]]:
    """Processor time of one clip of every item, per round and data set."""
    rounds: list[list[float]] = []
    began = time.process_time()
    for epoch in range(5):
        costs = []
        for data in sets:
            start = time.process_time()
            for item in range(len(data)):
                data[Draw(item, epoch)]
            costs.append(time.process_time() - start)
        rounds.append(costs)
        if time.process_time() - began > seconds:
            break
    return rounds
