"""What `p3d train` and `p3d evaluate` do when the data are scans."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cli.common import chosen, note, progress_bar, say, say_json, start_from
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.data.scans.cache import ScanCache
    from pseudo3d.data.scans.dataset import ScanStore
    from pseudo3d.data.scans.manifest import ScanManifest
    from pseudo3d.engine.volumes.evaluate import VolumeEvaluation
    from pseudo3d.engine.volumes.recipes import VolumeRecipe
    from pseudo3d.engine.volumes.sliding import Sliding
    from pseudo3d.engine.volumes.train import ScanParts

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


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


def holds_scans(path: Path) -> bool:
    """Whether a list or folder is one of scans and not of videos."""
    from pseudo3d.data.scans.manifest import holds_scans as look

    return look(path)


def unlabeled_or_listed(data: Path, split: str, group: list[str] | None) -> "ScanManifest | None":
    """Scans with what is known of them, nothing of a scan or a folder with scans in it.

    None where the data are no scans.
    """
    from pseudo3d.cli.scan_outputs import scans_among
    from pseudo3d.data.scans.manifest import ScanItem, ScanManifest, read_scans

    listed = data.suffix.lower() in (".csv", ".npz") or (data / "manifest.csv").exists()
    loose = [] if listed or not data.exists() else scans_among([data])
    if loose:
        return ScanManifest(items=tuple(ScanItem(path=p, label="") for p in loose), classes=())
    if not holds_scans(data):
        return None
    manifest = read_scans(data)
    if group and set(group) == set(manifest.groups):
        return manifest
    return part_of(manifest, split, tuple(group or ()))[0]


def train_scans(how: ScanTraining) -> Path:
    """Train on scans; the size, the grid and the network are planned from them and said."""
    import torch

    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.cli.report import page_of
    from pseudo3d.data.scans.dataset import ScanStore
    from pseudo3d.data.scans.manifest import read_scans
    from pseudo3d.engine.train import Job, claim
    from pseudo3d.engine.trainer import LAST
    from pseudo3d.engine.volumes.plan import plan_input, plan_network, with_statistics
    from pseudo3d.engine.volumes.train import train_volumes
    from pseudo3d.models import create_model

    manifest = read_scans(how.data)
    recipe = recipe_for(manifest, how)
    resume = (how.out / LAST).exists()
    claim(Job(recipe=recipe, out=how.out, resume=resume))
    parts = divide(manifest, how)
    pre, told = plan_input(parts.train, recipe)
    for line in told:
        note(line)
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
    job = Job(recipe=recipe, out=how.out, seed=how.seed, resume=resume)
    path = train_volumes(net, parts, store, job, [TrainingBar()])
    if how.report:
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
    """A recipe by name, or the task's own, with the options of the command line put in."""
    from dataclasses import replace

    from pseudo3d.engine.volumes.recipes import volume_recipe

    recipe = volume_recipe(how.recipe or ("segment" if manifest.task == "segment" else "volume"))
    given, lit, plain = dict(recipe.input), {}, {}
    if how.size is not None:
        given["size"] = (how.size, how.size, how.size)
    for key, value in how.changes.items():
        part, dot, name = key.partition(".")
        if dot and part == "input":
            given[name] = value
        elif dot and part == "augment":
            lit[name] = value
        else:
            plain[key] = value
    return recipe.but(**plain, input=given, augment=replace(recipe.augment, **lit))


def divide(manifest: "ScanManifest", how: ScanTraining) -> "ScanParts":
    """Training, watched and held-out part; groups (patients) are never cut."""
    from pseudo3d.engine.volumes.train import ScanParts

    held: ScanManifest | None = None
    val: ScanManifest | None = None
    if how.hold_out:
        train, held = manifest.hold_out(how.hold_out)
    elif "train" in manifest.splits:
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


def memory_bytes(text: str | None) -> int | None:
    """`2GB`, `500M` or bytes as a number.

    Raises:
        Pseudo3dError: no amount of memory.
    """
    if text is None:
        return None
    plain = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = plain[-1:] if plain[-1:] in ("K", "M", "G") else ""
    number = plain.removesuffix(unit) if unit else plain
    try:
        found = float(number) * _UNITS[unit]
    except ValueError:
        found = 0
    if not 1 <= found < 2**63:
        raise Pseudo3dError(f"memory is {text!r}; wanted an amount such as 2GB or 500MB")
    return int(found)


def sliding(memory: str | None, overlap: float | None) -> "Sliding":
    """The sliding window of the options."""
    from pseudo3d.engine.volumes.sliding import Sliding

    return Sliding(memory=memory_bytes(memory), overlap=0.5 if overlap is None else overlap)


@dataclass(frozen=True, kw_only=True)
class ScanScoring:
    """The options of `p3d evaluate` that scans know."""

    split: str = "test"
    group: tuple[str, ...] = ()
    memory: str | None = None
    mirrors: bool = False
    predictions: Path | None = None  # CSV to write


def part_of(
    manifest: "ScanManifest", split: str, group: tuple[str, ...]
) -> tuple["ScanManifest", str]:
    """The scans that a command is about, and what they are called."""
    if group:
        return manifest.hold_out(group)[1], "groups " + ", ".join(group)
    return (manifest if split == "all" else manifest.split(split)), split


def evaluate_scans(
    weights: Path, data: Path, how: ScanScoring | None = None, *, json: bool = False
) -> "VolumeEvaluation":
    """Score a network on scans, beside what needs no network.

    Raises:
        Pseudo3dError: predictions are wanted of a network that knows no classes.
    """
    from pseudo3d.data.scans.manifest import read_scans
    from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
    from pseudo3d.engine.volumes.ready import ready

    how, run = how or ScanScoring(), ready(weights)
    if how.predictions is not None and run.task != "classify":
        raise Pseudo3dError(f"--predictions is for classes; the network was trained to {run.task}")
    manifest = read_scans(data, run.classes)
    part, name = part_of(manifest, how.split, how.group)
    tested = how.split == "test" and "train" in manifest.splits
    learned = manifest.split("train") if tested else None
    protocol = VolumeProtocol(split=name, mirrors=how.mirrors, sliding=sliding(how.memory, None))
    with progress_bar("evaluating") as progress:
        found = evaluate_volumes(run, part, protocol=protocol, learned=learned, progress=progress)
    if how.predictions is not None:
        seed = run.net.card.training.get("seed", 0)
        keep_predictions(found, run.classes, seed, how.predictions)
    if json:
        say_json(found.to_dict())
    else:
        tell_scores(found)
    return found


def keep_predictions(
    found: "VolumeEvaluation", classes: tuple[str, ...], seed: int, path: Path
) -> None:
    """Write what was said about every scan, as `p3d compare` reads it."""
    from pseudo3d.report.files import save_bytes

    text = found.predictions(classes, seed).to_csv()
    note(f"predictions: {save_bytes(path, text.encode())}")


def tell_scores(found: "VolumeEvaluation") -> None:
    """Print the scores, how they were measured, and what is missing from them."""
    from pseudo3d.scores.segment import Segmentation

    if isinstance(found.scores, Segmentation):
        for label in found.scores.labels:
            say(f"dice {label.label}\t{label.dice}")
            say(f"surface_dice {label.label}\t{label.surface_dice}")
            say(f"median hd95_mm {label.label}\t{label.hd95_mm}")
        say(f"scored\t{found.scores.describe()}")
    else:
        for name, text in found.scores.rows():
            say(f"{name}\t{text}")
    say(f"protocol\t{found.protocol}")
    for path, why in found.missing.items():
        say(f"missing\t{path}\t{why}")
