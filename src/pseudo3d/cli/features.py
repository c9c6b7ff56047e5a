"""`p3d features` and `p3d linear`: a network as a representation, and how good it is."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.cards import card_beside
from pseudo3d.cli.common import (
    Json,
    Threads,
    key_values,
    note,
    progress_bar,
    say,
    say_json,
    use_threads,
)
from pseudo3d.cli.running import Precision

if TYPE_CHECKING:
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.features.featureset import FeatureSet
    from pseudo3d.features.layers import Input
    from pseudo3d.features.linear import LinearScore
    from pseudo3d.features.svm import Linear


class Poolings(StrEnum):
    """What becomes of a layer's time and space."""

    mean = "mean"
    none = "none"


class Out(StrEnum):
    """What is left out of training in turn."""

    group = "group"
    video = "video"


class Solvers(StrEnum):
    """What fits the machine."""

    libsvm = "libsvm"
    liblinear = "liblinear"


def features(
    weights: Annotated[
        str, typer.Argument(help="A checkpoint, random:MODEL[:SEED] (fresh weights) or pixels.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="CSV manifest, folder of class folders or of videos, or a video; or of scans, npz."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write: .npz or .parquet.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="pool5 (default), prob, logits, stem, res2 .. res5, a block (res4b35) or any "
            "module; repeatable."
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per video, spread evenly.")] = 20,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average every clip with its mirror image.")
    ] = False,
    per_clip: Annotated[
        bool, typer.Option("--per-clip", help="Keep the clips beside their mean.")
    ] = False,
    window: Annotated[
        float | None, typer.Option(min=0.01, help="Long videos: a row per so many seconds.")
    ] = None,
    hop: Annotated[float | None, typer.Option(min=0.01, help="Seconds between windows.")] = None,
    pooling: Annotated[
        Poolings, typer.Option(help="mean over time and space, or every activation.")
    ] = Poolings.mean,
    split: Annotated[str, typer.Option(help="Part of the data: train, val, test or all.")] = "all",
    group: Annotated[list[str] | None, typer.Option(help="Only these groups; repeatable.")] = None,
    input_of: Annotated[
        Path | None, typer.Option(help="Prepare the input as these weights want it.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the preprocessing, such as resize=160."),
    ] = None,
    precision: Precision = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Keep what a network's layers say about videos or scans; goes on where it was killed."""
    use_threads(threads)
    from pseudo3d.engine.windows import Windows
    from pseudo3d.features.extract import Extraction, extract
    from pseudo3d.features.featureset import check_suffix
    from pseudo3d.features.sources import open_extractor

    check_suffix(out)
    manifest = _manifest(data, split, group)
    ready = open_extractor(
        weights,
        layer,
        pooling=pooling.value,
        precision=precision.value if precision is not None else "fp32",
        preprocessing=_input(weights, input_of, key_values(settings or [])),
    )
    windows = Windows(seconds=window, hop=hop) if window or hop else None
    how = Extraction(clips=clips, windows=windows, mirror=mirror, per_clip=per_clip)
    part = ", ".join(group or []) or (None if split == "all" else split)
    card = card_beside(out, "features", data=(manifest, data, part), weights=weights)
    with card, progress_bar("extracting") as progress:
        found = extract(ready, manifest, out=out, how=how, progress=progress)
    _tell_features(found, out, json)


def _manifest(data: Path, split: str, group: list[str] | None) -> "Manifest":
    """The data; a video, or a folder with videos in it, has no labels."""
    from pseudo3d.cli.scans.among import unlabeled_or_listed
    from pseudo3d.data.manifest import Item, Manifest, read_manifest
    from pseudo3d.data.video import VIDEO_SUFFIXES

    if (scans := unlabeled_or_listed(data, split, group)) is not None:
        return scans
    loose = [data]
    if data.is_dir() and not (data / "manifest.csv").exists():
        loose = sorted(data.iterdir())
    videos = [p for p in loose if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return Manifest(tuple(Item(path=path, label="") for path in videos), ())
    manifest = read_manifest(data)
    if group:
        if set(group) == set(manifest.groups):
            return manifest
        return manifest.hold_out(group)[1]
    return manifest if split == "all" else manifest.split(split)


def _input(weights: str, like: Path | None, changes: dict[str, Any]) -> "Input | None":
    """Another input than the network's own; None where nothing asks for one."""
    from pseudo3d.features.sources import PIXELS, RANDOM, changed, input_of

    if like is None and not changes:
        return None
    bare = weights == PIXELS or weights.startswith(RANDOM)
    source = like or (None if bare else Path(weights))
    return changed(None if source is None else input_of(source), changes)


def _tell_features(found: "FeatureSet", out: Path, json: bool) -> None:
    sizes = {name: x.shape[1] for name, x in found.layers.items()}
    clips = 0 if found.clip_video is None else len(found.clip_video)
    missing, ends = found.meta["missing"], found.meta["incomplete"]
    unit = found.kind
    if json:
        facts = {"out": str(out), unit: len(found), "clip_rows": clips, "layers": sizes}
        say_json({**found.meta, **facts})
        return
    say(f"features\t{out}")
    say(f"{unit}\t{len(found)}" + (f", {clips} rows of clips" if clips else ""))
    for name, size in sizes.items():
        say(f"{name}\t{size} numbers")
    say(f"protocol\t{found.meta['protocol']}")
    for path, why in ends.items():
        note(f"warning: {path}: {why}")
    for path, why in missing.items():
        say(f"missing\t{path}\t{why}")


def linear(
    features: Annotated[Path, typer.Argument(help="What `p3d features` wrote.")],
    test: Annotated[
        Path | None, typer.Option(help="Score on this file instead of FEATURES' own split.")
    ] = None,
    leave_out: Annotated[
        Out | None, typer.Option(help="Score each group, or video, by all the others.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Score each of so many parts by the others.")
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Layers, side by side; default: the only one.")
    ] = None,
    fuse: Annotated[
        list[Path] | None,
        typer.Option(help="External features by path (.csv, .npz), a layer of the file's name."),
    ] = None,
    normalize: Annotated[
        str, typer.Option(help="ssqrt, l2, zscore in order, by comma; or none.")
    ] = "ssqrt,l2",
    pca: Annotated[
        list[int] | None, typer.Option(help="Dimensions that are left; repeatable.")
    ] = None,
    c: Annotated[
        str, typer.Option("--C", help="Penalty of errors; auto: chosen within the training part.")
    ] = "1",
    solver: Annotated[
        Solvers, typer.Option(help="libsvm as the paper; liblinear for many thousand videos.")
    ] = Solvers.libsvm,
    seed: Annotated[int, typer.Option(help="Of the folds.")] = 0,
    json: Json = False,
) -> None:
    """Judge features with a linear SVM: train and test, leave one out, or folds."""
    from pseudo3d.features.featureset import FeatureSet
    from pseudo3d.features.fusion import fuse as fused
    from pseudo3d.features.svm import Linear

    if sum(way is not None for way in (test, leave_out, folds)) > 1:
        raise typer.BadParameter("--test, --leave-out and --folds exclude each other")
    found, other = FeatureSet.load(features), None if test is None else FeatureSet.load(test)
    for table in fuse or []:
        found = fused(found, table, table.stem)
        other = None if other is None else fused(other, table, table.stem)
    layers = tuple(layer) if layer else None
    if fuse and layers is None:
        layers = tuple(found.layers)
    steps: Any = () if normalize in ("", "none") else tuple(normalize.split(","))
    scores = {}
    sizes: list[int | None] = list(pca) if pca else [None]
    for size in sizes:
        options = Linear(
            layers=layers, normalize=steps, pca=size, c=_penalty(c), solver=solver.value, seed=seed
        )
        scores[size] = _score(found, other, leave_out, folds, options)
    if json:
        tables = [{"pca": size, **score.to_dict()} for size, score in scores.items()]
        say_json(tables if pca else tables[0])
        return
    for size, score in scores.items():
        _tell_score(score, size)


def _penalty(text: str) -> Any:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as err:
        raise typer.BadParameter(f"--C is {text!r}; wanted a number or auto") from err


def _score(
    found: "FeatureSet",
    other: "FeatureSet | None",
    leave_out: Out | None,
    folds: int | None,
    options: "Linear",
) -> "LinearScore":
    from pseudo3d.features import linear as run

    if leave_out is not None:
        with progress_bar("leaving out") as progress:
            return run.leave_out(found, leave_out.value, options, progress)
    if folds is not None:
        with progress_bar("folds") as progress:
            return run.cross_validate(found, folds, options, progress)
    if other is not None:
        return run.train_test(found, other, options)
    return run.train_test(found.split("train"), found.split("test"), options)


def _tell_score(score: "LinearScore", size: int | None) -> None:
    low, high = score.interval
    dims = "" if size is None else f"\tPCA {size}"
    say(f"accuracy\t{score.accuracy:.1%}\t95 % interval {low:.1%} to {high:.1%}{dims}")
    for name, value in score.per_class().items():
        say(f"  {name}\t{value:.1%}")
    say(f"protocol\t{score.describe()}")
    for text in score.notes:
        say(f"note\t{text}")


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(features)
    app.command()(linear)
