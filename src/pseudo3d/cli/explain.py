"""`p3d timecheck`, `p3d map`, `p3d neighbors`, `p3d imagine`: what a network has learned."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pseudo3d.cli.common import (
    Cache,
    Json,
    Threads,
    note,
    open_store,
    progress_bar,
    say,
    say_json,
    use_threads,
)
from pseudo3d.cli.names import check_suffix
from pseudo3d.cli.running import Precision, Runtime, Runtimes, Weights, open_model

if TYPE_CHECKING:
    from pseudo3d.explain.timecheck import TimeCheck

Features = Annotated[Path, typer.Argument(help="What `p3d features` wrote (.npz or .parquet).")]
Layer = Annotated[
    str | None, typer.Option(help="Layer of the file; default: pool5, or the only one.")
]
Normalize = Annotated[
    list[str] | None,
    typer.Option(help="ssqrt, l2 or zscore, in the order given; repeatable."),
]
Seed = Annotated[int, typer.Option(help="Every random draw follows from it.")]


class Methods(StrEnum):
    """Ways into the plane."""

    tsne = "tsne"
    pca = "pca"


class Colors(StrEnum):
    """What the points of a map are colored by."""

    label = "label"
    group = "group"
    part = "split"


def timecheck(
    weights: Weights,
    data: Annotated[
        Path, typer.Argument(help="CSV manifest, or a folder with one folder per class.")
    ],
    split: Annotated[str, typer.Option(help="Part of the data: train, val, test or all.")] = "test",
    group: Annotated[
        list[str] | None, typer.Option(help="Only these groups, whatever the split; repeatable.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, help="Clips per video, averaged.")] = 5,
    shuffles: Annotated[int, typer.Option(min=1, help="Random orders of each clip.")] = 3,
    batch: Annotated[int, typer.Option(min=1, help="Clips per batch.")] = 16,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Save the bars as a picture (PNG).")] = None,
    cache: Cache = "auto",
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Say whether a network uses time: accuracy with frames in order, shuffled, reversed, frozen.

    Also at half and double speed; with 95 % intervals, per class, and a verdict in words. With
    scans, the slices across the network's depth axis are put into these orders.
    """
    use_threads(threads)
    check_suffix("--out", out, ".png")
    from pseudo3d.cli.scans.among import holds_scans

    if holds_scans(data):
        how = Shuffling(
            split=split, group=tuple(group or ()), batch=batch, shuffles=shuffles, seed=seed
        )
        _report(_check_scans(weights, data, how), out, json)
        return
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.engine.evaluate import Protocol, known
    from pseudo3d.explain.timecheck import timecheck as run

    model = open_model(weights, runtime, precision, threads)
    pre, classes = known(model)
    manifest, part = read_manifest(data, classes), split
    if group:
        manifest, part = manifest.hold_out(group)[1], "groups " + ", ".join(group)
    elif split != "all":
        manifest = manifest.split(split)
    store = open_store(manifest, pre.resize, pre.color == "gray", cache)
    protocol = Protocol(views=views, batch=batch, split=part)
    with progress_bar("checking time") as progress:
        found = run(
            model, manifest, store, protocol, shuffles=shuffles, seed=seed, progress=progress
        )
    _report(found, out, json)


@dataclass(frozen=True, kw_only=True)
class Shuffling:
    """The options of `p3d timecheck` that scans know."""

    split: str
    group: tuple[str, ...]
    batch: int
    shuffles: int
    seed: int


def _check_scans(weights: Path, data: Path, how: Shuffling) -> "TimeCheck":
    """The same question of the slices of scans."""
    from pseudo3d.cli.scans.among import part_of
    from pseudo3d.data.scans.manifest import read_scans
    from pseudo3d.engine.evaluate import Protocol
    from pseudo3d.engine.volumes.ready import ready
    from pseudo3d.explain.timecheck import timecheck_scans

    run = ready(weights)
    part, name = part_of(read_scans(data, run.classes), how.split, how.group)
    protocol = Protocol(batch=how.batch, split=name)
    with progress_bar("checking the order of slices") as progress:
        return timecheck_scans(
            run, part, None, protocol, shuffles=how.shuffles, seed=how.seed, progress=progress
        )


def _report(found: "TimeCheck", out: Path | None, json: bool) -> None:
    """Print what was found, and draw it where a picture is wanted."""
    from pseudo3d.explain.verdict import draw

    if out is not None:
        note(f"picture: {draw(found, out)}")
    if json:
        say_json(found.to_dict())
    else:
        _tell(found)


def _tell(found: "TimeCheck") -> None:
    """Print the verdict, every condition with its interval, the classes, and the protocol."""
    say(found.sentence)
    say(f"condition\t{found.unit}_hit@1\tlow\thigh\tloss\tlow\thigh\tchanged answers")
    for name in found.conditions:
        shares = (*found.accuracy(name), *found.drop(name), found.changed(name))
        say("\t".join([name, *(f"{share:.1%}" for share in shares)]))
    say("\t".join(["class", *found.conditions]))
    for label, row in found.per_class().items():
        say("\t".join([f"  {label}", *(f"{row[name]:.1%}" for name in found.conditions)]))
    say(f"protocol\t{found.describe()}")
    for path, why in found.missing.items():
        say(f"missing\t{path}\t{why}")


def map_(
    features: Features,
    out: Annotated[Path, typer.Option(help="Picture to write (PNG).")],
    method: Annotated[Methods, typer.Option(help="How to get into the plane.")] = Methods.tsne,
    layer: Layer = None,
    normalize: Normalize = None,
    color: Annotated[Colors, typer.Option(help="What the color says.")] = Colors.label,
    perplexity: Annotated[float, typer.Option(min=1, help="Of t-SNE.")] = 30.0,
    seed: Seed = 0,
) -> None:
    """Draw the videos of a feature file as points: PCA, or PCA and then t-SNE."""
    from pseudo3d.explain.embed import plane, rows_of
    from pseudo3d.features.featureset import FeatureSet
    from pseudo3d.report.maps import map_png

    found = FeatureSet.load(features)
    made = plane(
        rows_of(found, layer, normalize or ()), method.value, seed=seed, perplexity=perplexity
    )
    names = {"label": found.labels, "group": found.groups, "split": found.splits}[color.value]
    if color is not Colors.label and not any(names):
        raise typer.BadParameter(f"no video has a {color.value}", param_hint="--color")
    title = f"{len(found)} videos by {color.value}"
    say(str(map_png(made.points, names, out, axes=made.axes, title=title, note=made.how)))
    note(made.how)


def neighbors(
    features: Features,
    out: Annotated[Path, typer.Option(help="Picture to write (PNG).")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbors of each video.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Videos asked about, over all labels.")] = 8,
    query: Annotated[
        list[str] | None,
        typer.Option(help="Ask about this video, by the end of its path; repeatable."),
    ] = None,
    other_groups: Annotated[
        bool, typer.Option("--other-groups", help="Only neighbors of other groups (people).")
    ] = False,
    layer: Layer = None,
    normalize: Normalize = None,
    root: Annotated[Path | None, typer.Option(help="Where relative paths start.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each video shown.")] = 3,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw videos beside those with the most similar features, right and wrong labels marked."""
    from pseudo3d.explain import sheet
    from pseudo3d.explain.embed import nearest, rows_of
    from pseudo3d.features.featureset import FeatureSet
    from pseudo3d.report.maps import sheet_png

    found = FeatureSet.load(features)
    x = rows_of(found, layer, normalize or ())
    near = nearest(x, k, found.groups if other_groups else None)
    share, labeled = sheet.same_label(found, near)
    chosen = sheet.find(found.paths, query) if query else sheet.choose(found.labels, queries, seed)
    cells = sheet.rows(found, near, chosen, root=root, frames=frames)
    where = " of other groups" if other_groups else ""
    title = f"nearest video{where} has the same label: {share:.1%} of {labeled}" if labeled else ""
    sheet_png(cells, out, title=title)
    if json:
        rows = {found.paths[i]: [found.paths[j] for j in near.index[i].tolist()] for i in chosen}
        scores = {"same_label@1": share if labeled else None, "videos": labeled}
        say_json({**scores, "other_groups": other_groups, "neighbors": rows, "picture": str(out)})
        return
    if labeled:
        say(f"same_label@1\t{share:.1%}\t{labeled} videos{where}")
    say(f"picture\t{out}")


def imagine(
    weights: Annotated[Path, typer.Argument(help="A checkpoint.")],
    label: Annotated[str, typer.Option("--class", help="The class to draw.")],
    out: Annotated[Path, typer.Option(help="Video to write (MP4).")],
    sheet: Annotated[
        Path | None, typer.Option(help="Save frames side by side as a picture, too (PNG).")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps at each of three sizes.")] = 120,
    fps: Annotated[float, typer.Option(help="Frames per second of the video.")] = 8.0,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw the clip a class answers to most, from noise, by following its gradient."""
    use_threads(threads)
    from pseudo3d.explain.visualize import Drawing, write_clip
    from pseudo3d.explain.visualize import imagine as run
    from pseudo3d.report.maps import frames_png
    from pseudo3d.weights import load

    net = load(weights)
    with progress_bar(f"drawing {label}") as progress:
        made = run(net, label, Drawing(steps=steps, seed=seed), progress)
    write_clip(made.frames, out, fps)
    if sheet is not None:
        frames_png(
            {f"{label}, {made.probability:.0%} sure": made.frames.permute(1, 2, 3, 0).numpy()},
            sheet,
        )
        note(f"frames: {sheet}")
    if json:
        say_json({"class": label, "probability": made.probability, "video": str(out)})
    else:
        say(f"{label}\t{made.probability:.1%}\t{out}")


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(timecheck)
    app.command("map")(map_)
    app.command()(neighbors)
    app.command()(imagine)
