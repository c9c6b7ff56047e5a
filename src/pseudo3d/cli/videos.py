"""What `p3d train` does when the data are videos."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cli.cards import card_of
from pseudo3d.cli.common import chosen, note, open_store, say, start_from

if TYPE_CHECKING:
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.engine.training.distributed import Spread, World
    from pseudo3d.engine.training.job import Job, Parts
    from pseudo3d.engine.training.recipes import Recipe
    from pseudo3d.models.network import Network


@dataclass(frozen=True, kw_only=True)
class VideoTraining:
    """What `p3d train` was asked for, where the data are videos."""

    data: Path
    out: Path
    model: str | None
    recipe: "Recipe"
    input_taken: bool  # over from the weights
    fit_batch: bool
    net: dict[str, Any]
    seed: int
    hold_out: list[str]
    watch: list[str]
    weights: Path | None
    teacher: Path | None
    workers: int | None
    report: bool
    cache: str
    spread: "Spread"


def train_videos(asked: VideoTraining) -> None:
    """Do it in every process; the first one holds the folder from here on, decodes and prints."""
    from pseudo3d.cli.spread import finished_before, one_voice
    from pseudo3d.engine.training.distributed import find_world
    from pseudo3d.engine.training.job import Job
    from pseudo3d.engine.training.train import WEIGHTS, taking_part
    from pseudo3d.engine.training.trainer import LAST

    out, resume = asked.out, (asked.out / LAST).exists()
    if finished_before(out, find_world()):
        note(f"already finished: {out / WEIGHTS}")
        return
    job = Job(
        recipe=asked.recipe,
        out=out,
        seed=asked.seed,
        workers=asked.workers,
        resume=resume,
        teacher=asked.teacher,
        spread=asked.spread,
    )
    with taking_part(job) as world, one_voice(world):
        _train_here(asked, job, world)


def _train_here(asked: VideoTraining, job: "Job", world: "World") -> None:
    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.cli.report import page_of
    from pseudo3d.cli.spread import store_of_first
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.engine.training.train import RUN
    from pseudo3d.engine.training.train import train as run

    how, out, seed, resume = asked.recipe, job.out, job.seed, job.resume
    manifest = read_manifest(asked.data)
    parts = divide(manifest, asked.hold_out, asked.watch, seed)
    classes = parts.train.classes
    everything = [p.items for p in (parts.train, parts.val) if p is not None]
    listed = type(parts.train)(tuple(i for items in everything for i in items), classes)
    model, options = chosen(asked.model, asked.weights)
    model = model or "p3d_tiny"
    network = network_for(model, {**options, **asked.net}, how, len(classes), seed)
    if asked.fit_batch:
        how = _fit(how, network, out / RUN if resume else None, world)
    if asked.weights is not None and not resume:
        note(start_from(network, asked.weights, classes))
        if asked.input_taken:
            note(_told(how, asked.weights))
    gray = how.input.get("color") == "gray"
    store = store_of_first(
        world, lambda: open_store(listed, how.input["resize"], gray, asked.cache)
    )
    what = f"{len(parts.train.items)} videos, {len(classes)} classes"
    if world.ranks > 1:
        what += f", in {world.ranks} processes"
    note(f"{'resuming' if resume else 'training'} {model} on {what}")
    bar = [TrainingBar()] if world.first else []
    came: dict[str, Any] = {"weights": asked.weights, "teacher": asked.teacher}
    data = (manifest, asked.data, None)
    with card_of(out, "train", data=data, seed=seed, **came) if world.first else nullcontext():
        path = run(network, parts, store, replace(job, recipe=how), bar)
        if asked.report and world.first:
            store.fill(parts.held.items if parts.held is not None else ())
            note(f"report: {page_of(out, store)}")
    say(str(path))


def _told(how: "Recipe", weights: Path) -> str:
    """Which input a run takes over, and how to have another."""
    height, width = how.input["size"]
    return (
        f"input as {weights} has it: {how.input['frames']} frames of {height} x {width} pixels, "
        f"{how.input.get('color', 'rgb')}; --frames, --size, --set input.KEY or --recipe change it"
    )


def _fit(how: "Recipe", network: "Network", run: Path | None, world: "World") -> "Recipe":
    """The recipe with a batch that fits into memory; an interrupted run keeps its own."""
    from pseudo3d.engine.training.batch import batch_of_run, fit_batch
    from pseudo3d.engine.training.distributed import told
    from pseudo3d.runtime.process import free_memory

    if run is not None:
        return batch_of_run(how, run)
    clips, room = how.batch * how.accumulate, int(0.8 * free_memory()) // world.local_ranks
    batch = int(told(world, lambda: str(fit_batch(how, network, room, world.ranks).batch)))
    how = how.but(batch=batch, accumulate=clips // batch)
    steps = f", {how.accumulate} batches per step" if how.accumulate > 1 else ""
    note(f"batch {how.batch}{steps}: the largest that {room >> 20} MiB hold")
    return how


def network_for(
    name: str, options: dict[str, Any], how: "Recipe", classes: int, seed: int
) -> "Network":
    import torch

    from pseudo3d.data.preprocess import CHANNELS
    from pseudo3d.models import create_model

    channels = CHANNELS.get(how.input.get("color", "rgb"), 3) * (
        2 if how.input.get("difference") else 1
    )
    torch.manual_seed(seed)
    return create_model(name, **{"num_classes": classes, "in_channels": channels, **options})


def divide(manifest: "Manifest", hold_out: list[str], watch: list[str], seed: int) -> "Parts":
    """Training, watched and held-out part of a manifest; groups are never cut."""
    from pseudo3d.engine.training.job import Parts

    held = val = None
    if hold_out:
        train_part, held = manifest.hold_out(hold_out)
    elif manifest.splits:  # without a "train" among them, `split` says which there are
        if loose := manifest.beside_splits("videos"):
            note(loose)
        train_part = manifest.split("train")
        val = manifest.split("val") if "val" in manifest.splits else None
        held = manifest.split("test") if "test" in manifest.splits else None
    else:
        train_part, held = manifest.split_by_group(0.2, seed)
        note(
            f"no splits in the data: {len(held.items)} of {len(manifest.items)} videos held out as "
            "test part, no group on both sides; see manifest.csv of the run"
        )
    if watch:
        train_part, val = train_part.hold_out(watch)
    return Parts(train=train_part, val=val, held=held)
