"""Train a network on scans: classes, masks or numbers. The run's folder is that of a clip's run.

The loop, the optimizer, the schedule, averaging, resuming and the files are those of
`pseudo3d.engine.training.train`; here are the parts that differ: how scans are fed, and that the
epoch with the best score on the watched part is kept.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from pseudo3d.data.dataset import Draw, EpochSampler
from pseudo3d.data.scans.dataset import ScanDataset, ScanSpec, ScanStore, scan_loader
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest, write_scans
from pseudo3d.data.scans.preprocess import Size
from pseudo3d.engine.training.distributed import World, first_alone, whole
from pseudo3d.engine.training.job import Job, check_head
from pseudo3d.engine.training.loaders import check_batch
from pseudo3d.engine.training.state import drop
from pseudo3d.engine.training.train import RUN, WEIGHTS, begin, describe, hand_over, taking_part
from pseudo3d.engine.training.trainer import build_trainer, fit
from pseudo3d.engine.volumes.module import WATCHED, Goal, KeepBest, VolumeTraining
from pseudo3d.engine.volumes.recipes import VolumeRecipe
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.recycle.files import write_file
from pseudo3d.weights import Card, save


@dataclass(frozen=True, kw_only=True)
class ScanParts:
    """What is trained on, what picks the epoch, and what is only written down for later.

    Raises:
        ManifestError: fewer than two classes to train on, or to pick the epoch by.
    """

    train: ScanManifest
    val: ScanManifest | None = None
    held: ScanManifest | None = None

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("watched (val)", self.val)):
            if part is None or part.task != "classify" or len(set(part.labels)) > 1:
                continue
            raise ManifestError(
                f"the {name} part holds fewer than two classes; label at least two, or change the "
                "split"
            )


class RepeatedSampler(EpochSampler):
    """Every item several times per epoch: another patch of it each time."""

    def __init__(self, items: int, batch: int, seed: int, times: int, **place: Any) -> None:
        super().__init__(items * times, batch, seed, **place)
        self.scans, self.times = items, times

    def __iter__(self) -> Any:
        for draws in super().__iter__():
            yield [
                Draw(d.item % self.scans, d.view * self.times + d.item // self.scans, d.spare)
                for d in draws
            ]


def train_volumes(
    net: Network,
    parts: ScanParts,
    store: ScanStore,
    job: Job,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train `net` in place and write its weights, ready for `evaluate` and `predict`.

    Args:
        store: prepares the scans; its preprocessing travels in the checkpoint.
        job: its recipe is a `VolumeRecipe`.
    Returns:
        Path of the weights.
    Raises:
        WeightsError: the network does not answer with the classes of the data.
        Pseudo3dError: the folder holds another run, or there is nothing to resume.
    """
    check_head(net, parts.train.classes)  # of numbers: the one name of the value
    if job.spread.strategy == "fsdp" and cast(VolumeRecipe, job.recipe).keep == "best":
        raise Pseudo3dError(
            "strategy is 'fsdp' and keep is 'best': the best epoch's weights would have to be kept "
            "whole. Take the last epoch's (--set keep=last) or strategy ddp"
        )
    with taking_part(job) as world, torch.random.fork_rng(devices=[]):
        return _train(net, parts, store, job, callbacks, world)


def _train(
    net: Network,
    parts: ScanParts,
    store: ScanStore,
    job: Job,
    callbacks: Sequence[Callback],
    world: World,
) -> Path:
    recipe, pre = cast(VolumeRecipe, job.recipe), store.preprocessing
    val = None if parts.val is None else readable_scans(parts.val, store)
    parts = replace(parts, train=readable_scans(parts.train, store), val=val)
    goal = goal_of(parts.train)
    fed, watched = _loaders(parts, store, job, world)
    module = _module(net, job, store, fed.batch_sampler, goal)
    run = {**describe(net, job, parts, cast(Any, pre)), "task": goal.task}
    with first_alone(world):
        begin(job, module, run, len(parts.train.items), world)
        if world.first:
            _write_run(job, parts, run)
    best = KeepBest()
    keep = [best] if watched is not None and recipe.keep == "best" else []
    trainer = build_trainer(
        job, module, world, has_val=watched is not None, callbacks=[*callbacks, *keep]
    )
    fit(trainer, module, fed, watched, job)
    best.restore(net)
    full = whole(net)
    training = _training(parts, store, job, goal, trainer.global_step)
    scores = {WATCHED[goal.task]: best.score, "best_epoch": best.epoch} if best.weights else {}

    def finish() -> Card:
        card = save(
            full.eval(), job.out / WEIGHTS, classes=goal.classes, preprocessing=cast(Any, pre),
            training=training, scores=scores,
        )  # fmt: skip
        drop(job.out)
        return card

    hand_over(net, world, finish)
    return job.out / WEIGHTS


def goal_of(part: ScanManifest) -> Goal:
    """The task, and for numbers their mean and deviation over the training part."""
    if part.task != "regress":
        return Goal(task=part.task, classes=part.classes)
    values = torch.tensor(part.values, dtype=torch.float64)
    std = float(values.std(correction=0)) or 1.0
    return Goal(task=part.task, classes=part.classes, mean=float(values.mean()), std=std)


def _loaders(
    parts: ScanParts, store: ScanStore, job: Job, world: World
) -> tuple[DataLoader, DataLoader | None]:
    """Random samples to train on, and every watched scan as it is, in every process alike."""
    recipe = cast(VolumeRecipe, job.recipe)
    check_batch(recipe.batch, world)
    patch = store.preprocessing.view == "patch"
    spec = ScanSpec(canvas=canvas(store, recipe), random=True, near=recipe.near, seed=job.seed)
    data = ScanDataset(parts.train, store, spec)
    times = recipe.patches if patch else 1
    sampler = RepeatedSampler(
        len(data), recipe.batch, job.seed, times, rank=world.rank, ranks=world.ranks
    )
    fed = scan_loader(data, sampler)
    if parts.val is None:
        return fed, None
    watched = ScanDataset(parts.val, store, replace(spec, random=False))
    batch = 1 if patch else recipe.batch  # whole scans differ in size
    return fed, scan_loader(watched, in_order(len(watched), batch))


def in_order(items: int, batch: int) -> list[list[Draw]]:
    """Every item once."""
    draws = [Draw(i, 0) for i in range(items)]
    return [draws[i : i + batch] for i in range(0, items, batch)]


def canvas(store: ScanStore, recipe: VolumeRecipe) -> Size:
    """What the loader delivers: for patches, with room to turn."""
    pre = store.preprocessing
    if pre.view == "whole":
        return pre.size
    d, h, w = (math.ceil(n * recipe.margin) for n in pre.size)
    return d, h, w


def _module(net: Network, job: Job, store: ScanStore, sampler: Any, goal: Goal) -> VolumeTraining:
    recipe = cast(VolumeRecipe, job.recipe)
    if recipe.dropout is not None:
        net.dropout.p = recipe.dropout
    net.checkpointing = recipe.checkpointing
    torch.manual_seed(job.seed)
    steps = recipe.steps or recipe.epochs * math.ceil(len(sampler) / recipe.accumulate)
    module = VolumeTraining(net, recipe, store.preprocessing, sampler, goal=goal, steps=steps)
    module.train()  # what is frozen must be known before the weights are spread
    return module.to(memory_format=torch.channels_last_3d)


def readable_scans(part: ScanManifest, store: ScanStore) -> ScanManifest:
    """The scans that a filled store has not put aside.

    Raises:
        ManifestError: there are none.
    """
    good = tuple(item for item in part.items if item.name not in store.quarantined)
    if not good:
        first = next(iter(store.quarantined.values()), "no scans are listed")
        raise ManifestError(f"none of the {len(part.items)} scans can be read; the first: {first}")
    return replace(part, items=good)


def _write_run(job: Job, parts: ScanParts, run: dict[str, Any]) -> None:
    """Say what is being done, and which scan is in which part."""
    named = (("train", parts.train), ("val", parts.val), ("test", parts.held))
    items: list[ScanItem] = [
        replace(item, split=name) for name, part in named if part is not None for item in part.items
    ]
    write_scans(items, job.out / "manifest.csv")
    write_file(job.out / RUN, json.dumps(run, indent=2).encode())


def _training(
    parts: ScanParts, store: ScanStore, job: Job, goal: Goal, steps: int
) -> dict[str, Any]:
    """What the checkpoint says of its training."""
    return {
        "task": goal.task,
        "items": len(parts.train.items),
        "quarantined": sorted(store.quarantined),
        "steps": steps,
        "seed": job.seed,
        "recipe": asdict(job.recipe),
        "value_mean": goal.mean,
        "value_std": goal.std,
    }
