"""Train a network on labeled clips; the loop itself is Lightning's.

A run's folder holds `weights.safetensors` (the result), `metrics.csv`, `run.json` (what was asked
for), `manifest.csv` (which item was in which part), `epochs` (which items every step used) and,
until it is finished, `last.ckpt`. Several processes may share a run (`engine.distributed`).
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from heapq import nlargest
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item, Manifest, write_manifest
from pseudo3d.data.measure import measure
from pseudo3d.data.preprocess import CHANNELS, Preprocessing
from pseudo3d.engine.training import record
from pseudo3d.engine.training.distributed import World, first_alone, joined, told, whole
from pseudo3d.engine.training.job import Divided, Job, Parts, check_head, digests
from pseudo3d.engine.training.loaders import loaders
from pseudo3d.engine.training.module import ClipTraining
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.state import drop, mend
from pseudo3d.engine.training.teacher import Teacher
from pseudo3d.engine.training.trainer import LAST, build_trainer, fit
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.lock import sole
from pseudo3d.models.network import Network
from pseudo3d.recycle.files import write_file
from pseudo3d.weights import Card, save

WEIGHTS = "weights.safetensors"
RUN = "run.json"
_log = logging.getLogger(__name__)


def plan_input(recipe: Recipe, parts: Parts, store: FrameStore) -> Preprocessing:
    """The recipe's input, with mean and deviation measured on the training part where it has none.

    The statistics travel with the weights.
    """
    if "mean" in recipe.input:
        return Preprocessing(**recipe.input)
    channels = CHANNELS.get(recipe.input.get("color", "rgb"), 3)
    pre = Preprocessing(**recipe.input, mean=(0.0,) * channels, std=(1.0,) * channels)
    found = measure(parts.train.items, store, pre)
    return replace(pre, mean=found.mean, std=found.std, difference_std=found.difference_std)


def train(
    net: Network,
    parts: Parts,
    store: FrameStore,
    job: Job,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train `net` in place and write its weights, ready for `evaluate` and `predict`.

    Files that `store` has quarantined are left out and named in the checkpoint. Under torchrun or
    SLURM, every process calls this with the same arguments; with FSDP, `net` stays in parts. The
    state of torch's random numbers is the caller's again afterwards (that of the CPU).

    Returns:
        Path of the weights.
    Raises:
        WeightsError: the network does not answer with the classes of the data.
        Pseudo3dError: the folder holds another run, or there is nothing to resume.
    """
    check_head(net, parts.train.classes)
    with taking_part(job) as world, torch.random.fork_rng(devices=[]):
        return _train(net, parts, store, job, callbacks, world)


@contextmanager
def taking_part(job: Job) -> Iterator[World]:
    """Be one of the run's processes; the first one holds the folder. Calls may be nested.

    Raises:
        Pseudo3dError: as `claim`, or other processes take part than were asked for.
    """
    if job.spread.strategy == "fsdp" and job.recipe.ema:
        raise Pseudo3dError(
            f"strategy is 'fsdp' and ema is {job.recipe.ema}: averaged weights need all of them in "
            "one place. Switch the average off (--set ema=0) or take strategy ddp"
        )
    with joined(job.spread) as world, ExitStack() as held:
        with first_alone(world):
            if world.first:
                held.enter_context(sole(job.out))
            claim(job)
            if world.first:
                mend(job.out)
        yield world


def _train(
    net: Network,
    parts: Parts,
    store: FrameStore,
    job: Job,
    callbacks: Sequence[Callback],
    world: World,
) -> Path:
    val = None if parts.val is None else _readable(parts.val, store)
    parts = replace(parts, train=_readable(parts.train, store), val=val)
    pre = plan_input(job.recipe, parts, store)
    store.check_scale(pre.resize, pre.color == "gray")
    clips, watched = loaders(parts, store, job, pre, world)
    module = _module(net, job, pre, clips.batch_sampler, parts.train.classes)
    run = describe(net, job, parts, pre)
    with first_alone(world):
        begin(job, module, run, len(parts.train.items), world)
        if world.first:
            _write_run(job, parts, run)
    trainer = build_trainer(job, module, world, has_val=watched is not None, callbacks=callbacks)
    fit(trainer, module, clips, watched, job)
    full = whole(net)
    hand_over(net, world, lambda: _finish(full, parts, pre, job, store, trainer))
    return job.out / WEIGHTS


def hand_over(net: Network, world: World, finish: Callable[[], Card]) -> None:
    """Let process 0 save; what the file says is then the card of every process's network."""
    with first_alone(world):
        card = finish() if world.first else None
    text = told(world, lambda: "" if card is None else card.to_json())
    net.eval().card = Card.from_json(text)


def begin(job: Job, module: ClipTraining, run: dict[str, Any], items: int, world: World) -> None:
    """Take over the state of an interrupted run; process 0 cuts the record back to it.

    Raises:
        Pseudo3dError: the run was begun otherwise, or this process does not see its folder.
    """
    if job.resume:
        check_same(job, run)
        state = torch.load(job.out / LAST, weights_only=True, map_location="cpu")
        module.on_load_checkpoint(state)
    if world.first:
        record.begin(job.out, module.sampler, items, module.batches)
    elif not (job.out / RUN).exists():
        raise Pseudo3dError(
            f"process {world.rank} finds no {RUN} in {job.out}, where process 0 has written it; "
            "--out must lie on storage that all machines share"
        )


def _module(
    net: Network, job: Job, pre: Preprocessing, sampler: Any, classes: tuple[str, ...]
) -> ClipTraining:
    recipe = job.recipe
    if pre.color == "flow":
        recipe.augment.check_flow()
    if recipe.dropout is not None:
        net.dropout.p = recipe.dropout
    net.checkpointing = recipe.checkpointing
    torch.manual_seed(job.seed)
    steps = recipe.steps or recipe.epochs * math.ceil(len(sampler) / recipe.accumulate)
    swap, teacher = recipe.augment.swap_labels(classes), None
    if job.teacher is not None:
        teacher = Teacher(job.teacher, classes, pre, recipe.temperature)
    module = ClipTraining(net, recipe, pre, sampler, steps=steps, swap=swap, teacher=teacher)
    module.train()  # what is frozen must be known before the weights are spread
    return module.to(memory_format=torch.channels_last_3d)


def claim(job: Job) -> None:
    """Take the run's folder; refuse to mix two runs in one.

    Raises:
        Pseudo3dError: the folder holds another run, or there is nothing to resume.
    """
    last, done = job.out / LAST, job.out / WEIGHTS
    if job.resume:
        if not last.exists():
            what = "a finished run" if done.exists() else "no run that was interrupted"
            raise Pseudo3dError(f"nothing to resume: {job.out} holds {what}")
    elif last.exists() or done.exists():
        what = "an interrupted run" if last.exists() else "a finished run"
        raise Pseudo3dError(f"{job.out} already holds {what}; give another --out or remove it")
    job.out.mkdir(parents=True, exist_ok=True)


def _readable(manifest: Manifest, store: FrameStore) -> Manifest:
    good = tuple(item for item in manifest.items if item.path not in store.quarantined)
    if not good:
        raise ManifestError(
            f"none of the {len(manifest.items)} files can be read; `p3d scan` says why"
        )
    return replace(manifest, items=good)


def describe(net: Network, job: Job, parts: Divided, pre: Preprocessing) -> dict[str, Any]:
    """What was asked for, as plain values."""
    run = {
        "model": net.name,
        "config": asdict(net.cfg),
        "seed": job.seed,
        "recipe": asdict(job.recipe),
        "preprocessing": pre.to_dict(),
        "teacher": None if job.teacher is None else str(job.teacher),
        "classes": parts.train.classes,
        "items": digests(parts),
    }
    return json.loads(json.dumps(run))


def check_same(job: Job, run: dict[str, Any]) -> None:
    """An interrupted run goes on only as it was begun."""
    before = json.loads((job.out / RUN).read_text())
    # what the version that began it did not know, is at its default
    before["recipe"] = json.loads(json.dumps(asdict(type(job.recipe)()))) | before["recipe"]
    if "items" not in before:
        _log.warning(
            "%s was begun by an earlier version, which did not note what it is trained on; whether "
            "the data are still the same is not checked",
            job.out,
        )
        before |= {key: run[key] for key in ("classes", "items")}
    differ = [key for key in run if key != "items" and run[key] != before.get(key)]
    parts = [name for name, said in run["items"].items() if said != before["items"].get(name)]
    if differ or parts:
        named = ", ".join([*differ, *(f"{name} part of the data" for name in parts)])
        raise Pseudo3dError(
            f"{job.out} holds an interrupted run with another {named}; repeat the command it was "
            "begun with, on the same readable files with the same labels, groups and order, or "
            "give another --out"
        )


def _write_run(job: Job, parts: Parts, run: dict[str, Any]) -> None:
    """Say what is being done, and which item is in which part."""
    named = (("train", parts.train), ("val", parts.val), ("test", parts.held))
    items = tuple(
        replace(item, split=name) for name, part in named if part is not None for item in part.items
    )
    write_manifest(replace(parts.train, items=items), job.out / "manifest.csv")
    write_file(job.out / RUN, json.dumps(run, indent=2).encode())


def _seconds(items: Sequence[Item], store: FrameStore, most: int = 64) -> tuple[float, float]:
    """Median and longest time that items take, spans as such, without reading them all.

    Taken evenly from the list, which may be sorted by class, and of all known spans the longest.
    """
    count = min(most, len(items))
    taken = [items[i * len(items) // count] for i in range(count)]
    spans = [item for item in items if item.end is not None]
    taken += nlargest(1, spans, key=lambda item: (item.end or 0.0) - (item.start or 0.0))
    times = [store.read(item).times for item in taken]
    lengths = [float(t[-1] - t[0]) for t in times]
    return median(lengths[:count]), max(lengths)


def _finish(
    net: Network, parts: Parts, pre: Preprocessing, job: Job, store: FrameStore, trainer: Trainer
) -> Card:
    """Save the weights, then drop what only an unfinished run needs."""
    typical, longest = _seconds(parts.train.items, store)
    training: dict[str, Any] = {
        "items": len(parts.train.items),
        "quarantined": sorted(str(path) for path in store.quarantined),
        "steps": trainer.global_step,
        "seed": job.seed,
        "teacher": None if job.teacher is None else job.teacher.name,
        "recipe": asdict(job.recipe),
        "clip_seconds": round(typical, 3),
        "longest_seconds": round(longest, 3),
    }
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    card = save(
        net.eval(),
        job.out / WEIGHTS,
        classes=parts.train.classes,
        preprocessing=pre,
        training=training,
        scores={name: value for name, value in scores.items() if name.startswith("val")},
    )
    drop(job.out)
    return card
