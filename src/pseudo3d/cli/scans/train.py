"""What `p3d train` does when the data are scans."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cli.cards import card_of
from pseudo3d.cli.common import chosen, note, progress_bar, recipe_but, say, start_from

if TYPE_CHECKING:
    from pseudo3d.data.scans.cache import ScanCache
    from pseudo3d.data.scans.dataset import ScanStore
    from pseudo3d.data.scans.manifest import ScanManifest
    from pseudo3d.engine.training.distributed import Spread, World
    from pseudo3d.engine.training.job import Job
    from pseudo3d.engine.volumes.recipes import VolumeRecipe
    from pseudo3d.engine.volumes.train import ScanParts


@dataclass(frozen=True, kw_only=True)
class ScanTraining:
    """The options of `p3d train` that scans know."""

    data: Path
    out: Path
    model: str | None = None  # None: picked by the task
    recipe: str | None = None  # likewise
    changes: dict[str, Any] = field(default_factory=dict)  # recipe fields, input.* and augment.*
    net: dict[str, Any] = field(default_factory=dict)  # model options
    size: int | None = None  # side of the cut, voxels
    seed: int = 0
    hold_out: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    weights: Path | None = None
    report: bool = True  # a page of scores beside the weights
    cache: str = "none"  # folder for unpacked scans, or "auto": the user's cache folder
    spread: "Spread | None" = None  # None: as torchrun or SLURM say


def train_scans(how: ScanTraining) -> Path:
    """Train on scans; the size, the grid and the network are planned from them and said."""
    from pseudo3d.cli.spread import finished_before, one_voice
    from pseudo3d.data.scans.manifest import read_scans
    from pseudo3d.engine.training.distributed import Spread, find_world
    from pseudo3d.engine.training.job import Job
    from pseudo3d.engine.training.train import WEIGHTS, taking_part
    from pseudo3d.engine.training.trainer import LAST

    if finished_before(how.out, find_world()):
        note(f"already finished: {how.out / WEIGHTS}")
        return how.out / WEIGHTS
    manifest = read_scans(how.data)
    job = Job(
        recipe=recipe_for(manifest, how),
        out=how.out,
        seed=how.seed,
        resume=(how.out / LAST).exists(),
        spread=how.spread or Spread(),
    )
    with taking_part(job) as world, one_voice(world):
        return _train_here(how, manifest, job, world)


def _train_here(how: ScanTraining, manifest: "ScanManifest", job: "Job", world: "World") -> Path:
    import torch

    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.cli.report import page_of
    from pseudo3d.data.scans.dataset import ScanStore
    from pseudo3d.engine.training.distributed import first_alone
    from pseudo3d.engine.volumes.plan import plan_input, plan_network, with_statistics
    from pseudo3d.engine.volumes.train import train_volumes
    from pseudo3d.models import create_model

    recipe, resume = recipe_for(manifest, how), job.resume
    parts = divide(manifest, how)
    pre, told = plan_input(parts.train, recipe)
    for line in told:
        note(line)
    with first_alone(world):
        store = ScanStore(pre, cache=scan_cache(how.cache, manifest))
        _fill(store, parts)
    store = with_statistics(store, parts.train)
    model, own = chosen(how.model, how.weights)
    name, options = plan_network(parts.train, pre, model)
    torch.manual_seed(how.seed)
    net = create_model(name, **{**options, **own, **how.net})
    if how.weights is not None and not resume:
        note(start_from(net, how.weights, manifest.classes))
    what = f"{len(parts.train.items)} scans, to {manifest.task}"
    note(f"{'resuming' if resume else 'training'} {name} on {what}")
    given: dict[str, Any] = {"data": (manifest, how.data, None), "weights": how.weights}
    with card_of(how.out, "train", seed=how.seed, **given) if world.first else nullcontext():
        path = train_volumes(net, parts, store, job, [TrainingBar()] if world.first else [])
        if how.report and world.first:
            note(f"report: {page_of(how.out, store)}")
    say(str(path))
    return path


def _fill(store: "ScanStore", parts: "ScanParts") -> None:
    """Read what is trained on and what is watched, and say what cannot be read."""
    for part in (parts.train, parts.val):
        if part is not None:
            with progress_bar("reading scans") as progress:
                store.fill(part.items, progress)
    for path, why in store.quarantined.items():
        note(f"quarantined: {path}: {why}")


def scan_cache(folder: str, manifest: "ScanManifest") -> "ScanCache | None":
    """A cache that fits on the disk, its size said before it is filled; None for stacks."""
    from pseudo3d.data.scans.cache import Request, ScanCache, scan_folder
    from pseudo3d.data.scans.scan import ScanError

    files = [Request(path=i.path, index=i.index) for i in manifest.items if i.array is None]
    if folder == "none" or not files:
        return None
    cache = ScanCache(scan_folder() if folder == "auto" else Path(folder))
    try:
        note(f"unpacked scans: {cache.check_room(files) / 1e6:.0f} MB in {cache.folder}")
    except ScanError as err:
        note(f"{err}; reading the files at every use")
        return None
    return cache


def recipe_for(manifest: "ScanManifest", how: ScanTraining) -> "VolumeRecipe":
    """A recipe by name, or the task's own, with the options of the command line put in.

    Raises:
        Pseudo3dError: text for a switch or a number.
        TypeError: no such field.
    """
    from pseudo3d.data.scans.preprocess import ScanPreprocessing
    from pseudo3d.engine.volumes.recipes import volume_recipe

    recipe = volume_recipe(how.recipe or ("segment" if manifest.task == "segment" else "volume"))
    given = dict(recipe.input)
    if how.size is not None:
        given["size"] = (how.size, how.size, how.size)
    return recipe_but(recipe, how.changes, given, ScanPreprocessing)


def divide(manifest: "ScanManifest", how: ScanTraining) -> "ScanParts":
    """Training, watched and held-out part; groups (patients) are never cut."""
    from pseudo3d.engine.volumes.train import ScanParts

    held: ScanManifest | None = None
    val: ScanManifest | None = None
    if how.hold_out:
        train, held = manifest.hold_out(how.hold_out)
    elif manifest.splits:  # without a "train" among them, `split` says which there are
        if loose := manifest.beside_splits("scans"):
            note(loose)
        train = manifest.split("train")
        val = manifest.split("val") if "val" in manifest.splits else None
        held = manifest.split("test") if "test" in manifest.splits else None
    else:
        train, held = manifest.split_by_group(0.2, how.seed)
        note(
            f"no splits in the data: {len(held.items)} of {len(manifest.items)} scans held out as "
            "test part, no group on both sides; see manifest.csv of the run"
        )
    if how.watch:
        train, val = train.hold_out(how.watch)
    return ScanParts(train=train, val=val, held=held)
