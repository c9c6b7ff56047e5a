"""What training reads: every process its share of every batch."""

import os
from dataclasses import replace

from torch.utils.data import DataLoader

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import (
    ClipDataset,
    ClipSpec,
    EpochSampler,
    loader,
    part_of,
    view_batches,
)
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.shards.order import epoch_order
from pseudo3d.engine.training.distributed import World
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.errors import Pseudo3dError

MIXED = 16  # shards whose videos are shuffled together


def loaders(
    parts: Parts, store: FrameStore, job: Job, pre: Preprocessing, world: World
) -> tuple[DataLoader, DataLoader | None]:
    """Random clips to train on, and one view of every watched video."""
    recipe, workers = job.recipe, _workers(job, store, world)
    spec = ClipSpec(
        preprocessing=pre,
        canvas=canvas(recipe, pre),
        random=True,
        random_crop=recipe.random_crop,
        least_span=recipe.least_span,
        seed=job.seed,
    )
    data = ClipDataset(parts.train.items, parts.train.labels, store, spec)
    check_batch(recipe.batch, world)
    rank, ranks = world.rank, world.ranks
    order = epoch_order(parts.train.items, MIXED)
    clips = EpochSampler(len(data), recipe.batch, job.seed, rank=rank, ranks=ranks, order=order)
    fed = loader(data, clips, workers)
    if parts.val is None:
        return fed, None
    seen = replace(spec, random=False, random_crop=False)
    views = [
        part_of(draws, rank, ranks) for draws in view_batches(len(parts.val.items), 1, recipe.batch)
    ]
    return fed, loader(ClipDataset(parts.val.items, parts.val.labels, store, seen), views, workers)


def check_batch(batch: int, world: World) -> None:
    """Refuse a batch that cannot be shared.

    Raises:
        Pseudo3dError: it has fewer clips than there are processes.
    """
    if batch < world.ranks:
        raise Pseudo3dError(
            f"batch is {batch}, which {world.ranks} processes share; wanted a clip for each of "
            "them. Give a larger --batch (it counts over all processes)"
        )


def canvas(recipe: Recipe, pre: Preprocessing) -> tuple[int, int]:
    """What the loader delivers: the crop itself, or all that the augmentation may look at."""
    if recipe.random_crop:
        return pre.size
    short = min(pre.size)
    h, w = (max(side, round(side * pre.resize / short)) for side in pre.size)
    return h, w


def _workers(job: Job, store: FrameStore, world: World) -> int:
    """Decoded clips are read faster here than they travel between processes."""
    if job.workers is not None:
        return job.workers
    if store.folder is not None:
        return 0
    return max(1, (os.cpu_count() or 1) // world.local_ranks)
