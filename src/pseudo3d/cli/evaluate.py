"""`p3d evaluate`: scores of a network on labeled videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pseudo3d.cli.cards import kept_scores
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
from pseudo3d.cli.given import EVALUATE, FOUND, SCANS, SEGMENTS, VIDEOS, refuse_idle
from pseudo3d.cli.running import (
    Precision,
    Runtime,
    Runtimes,
    Weights,
    open_model,
    precision_on_torch,
)
from pseudo3d.cli.segments import Aim, Aims, Pictures, Rule, SaveRule, Tune, VideoFolder

if TYPE_CHECKING:
    from pseudo3d.engine.evaluate import Evaluation


def evaluate(
    ctx: typer.Context,
    weights: Weights,
    data: Annotated[
        Path, typer.Argument(help="CSV manifest, or a folder with one folder per class.")
    ],
    split: Annotated[str, typer.Option(help="Part of the data: train, val, test or all.")] = "test",
    group: Annotated[
        list[str] | None, typer.Option(help="Only these groups, whatever the split; repeatable.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, help="Clips per video, averaged.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Clips per batch.")] = 16,
    confusion: Annotated[
        Path | None, typer.Option(help="Save the confusion matrix as a picture (PNG).")
    ] = None,
    mirrors: Annotated[
        bool, typer.Option(help="Scans: average over the mirror images that training drew.")
    ] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Scans: save the probabilities of every one, for `p3d compare` (CSV). Segments: "
            "save what was found (.json or .csv)."
        ),
    ] = None,
    segments: Annotated[
        bool,
        typer.Option(
            "--segments",
            help="Score what is found from when to when in long videos. DATA: a CSV of "
            "path,label,start,end, or ActivityNet's JSON.",
        ),
    ] = False,
    rule: Rule = None,
    tune: Tune = None,
    aim: Aim = Aims.f1,
    save_rule: SaveRule = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for scores.json and card.json: scores, made how.")
    ] = None,
    videos: VideoFolder = None,
    timelines: Pictures = None,
    window: Annotated[
        float | None, typer.Option(min=0.01, help="Segments: seconds per window.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(min=0.01, help="Segments: seconds between windows.")
    ] = None,
    cache: Cache = "auto",
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Score a network: clip and video accuracy, per class, with the protocol beside them."""
    use_threads(threads)
    kind = _kind(weights, data, segments)
    refuse_idle(ctx, EVALUATE, kind)
    if segments:
        from pseudo3d.cli.segment_scores import SegmentScoring, score_segments

        how = SegmentScoring(
            split=split,
            rule=tuple(rule or ()),
            tune=tune,
            aim=aim.value,
            save_rule=save_rule,
            videos=videos,
            window=window,
            hop=hop,
            predictions=predictions,
            timelines=timelines,
            out=out,
        )
        score_segments(weights, data, how, (runtime, precision, threads), json=json)
        return
    if kind == SCANS:
        from pseudo3d.cli.scans.evaluate import ScanScoring, evaluate_scans

        scoring = ScanScoring(
            split=split,
            group=tuple(group or ()),
            mirrors=mirrors,
            predictions=predictions,
            precision=precision_on_torch(runtime, precision),
            out=out,
        )
        evaluate_scans(weights, data, scoring, json=json)
        return
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.engine.evaluate import Protocol, known
    from pseudo3d.engine.evaluate import evaluate as run

    model = open_model(weights, runtime, precision, threads)
    pre, classes = known(model)
    manifest, part = read_manifest(data, classes), split
    if group:
        manifest, part = manifest.hold_out(group)[1], "groups " + ", ".join(group)
    elif split != "all":
        manifest = manifest.split(split)
    store = open_store(manifest, pre.resize, pre.color == "gray", cache)
    kept = kept_scores(out, (manifest, data, part), weights=weights)
    with kept as keep, progress_bar("evaluating") as progress:
        protocol = Protocol(views=views, batch=batch, split=part)
        found = run(model, manifest, store, protocol, progress)
        keep(found.to_dict())
    if confusion is not None:
        from pseudo3d.report.plots import confusion_png

        confusion_png(found.confusion().numpy(), classes, confusion, title=found.describe())
        note(f"confusion matrix: {confusion}")
    if json:
        say_json(found.to_dict())
    else:
        _tell(found)


def _kind(weights: Path, data: Path, segments: bool) -> str:
    """What is scored, in the words of `EVALUATE`."""
    from pseudo3d.cli.scans.among import holds_scans
    from pseudo3d.cli.segment_scores import holds_segments

    if segments:
        return FOUND if holds_segments(weights) else SEGMENTS
    return SCANS if holds_scans(data) else VIDEOS


def _tell(found: "Evaluation") -> None:
    """Print the scores, how they were measured, and what is missing from them."""
    say(f"video_hit@1\t{found.hit(1):.1%}")
    say(f"video_hit@5\t{found.hit(5):.1%}")
    say(f"clip_hit@1\t{found.clip_hit1:.1%}")
    for name, value in found.per_class().items():
        say(f"  {name}\t{value:.1%}")
    say(f"protocol\t{found.describe()}")
    for path, why in found.missing.items():
        say(f"missing\t{path}\t{why}")


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(evaluate)
