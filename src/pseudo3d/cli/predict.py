"""`p3d predict`: what happens in new videos."""

import sys
from collections.abc import Generator
from contextlib import closing, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, Threads, note, progress_bar, say, say_json, use_threads
from pseudo3d.cli.given import PREDICT, kind_of, refuse_idle
from pseudo3d.cli.names import check_suffix, refuse_over, unique_names
from pseudo3d.cli.running import (
    Precision,
    Runtime,
    Runtimes,
    Weights,
    open_model,
    precision_on_torch,
)
from pseudo3d.cli.segments import Cut, Cutting, Rule, Segments
from pseudo3d.errors import in_words

if TYPE_CHECKING:
    from pseudo3d.engine.predict import Prediction
    from pseudo3d.engine.windows import Windows
    from pseudo3d.runtime.runner import Runner


def predict(
    ctx: typer.Context,
    weights: Weights,
    videos: Annotated[list[Path], typer.Argument(help="Videos or scans, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to list.")] = 5,
    window: Annotated[float | None, typer.Option(min=0.01, help="Seconds per window.")] = None,
    hop: Annotated[float | None, typer.Option(min=0.01, help="Seconds between windows.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Clips per window, averaged.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Save a picture of the labels over time (PNG).")
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="Save the video with its label on every frame (MP4).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Save one row per window.")] = None,
    segments: Segments = None,
    rule: Rule = None,
    cut: Cut = None,
    out: Annotated[
        Path | None, typer.Option(help="Scans: folder for mask, map, pictures, page and JSON.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Scans: memory a mask may take, as 2GB.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Scans: of a DICOM folder with several, number or UID.")
    ] = None,
    index: Annotated[
        int | None, typer.Option(min=0, help="Scans: which volume of a 4-D file or a stack.")
    ] = None,
    allow_nonuniform: Annotated[
        bool, typer.Option(help="Scans: interpolate DICOM slices at uneven distances.")
    ] = False,
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Recognize what happens in videos; a file that cannot be read does not stop the others."""
    use_threads(threads)
    from pseudo3d.cli.scans.among import scans_among
    from pseudo3d.cli.scans.predict import predict_scans

    scans = scans_among(videos)
    refuse_idle(ctx, PREDICT, kind_of(videos, scans))
    check_suffix("--csv", csv, ".csv")
    check_suffix("--timeline", timeline, ".png")
    check_suffix("--annotate", annotate, ".mp4", ".mkv", ".mov", ".avi")
    if scans:
        options: dict[str, Any] = {
            "precision": precision_on_torch(runtime, precision),
            "series": series,
            "index": index,
            "allow_nonuniform": allow_nonuniform,
        }
        if predict_scans(weights, scans, out=out, memory=memory, json=json, **options):
            raise typer.Exit(1)
        return
    from pseudo3d.engine.windows import Windows

    cutting = Cutting.of(segments, rule, cut)
    files = _files(videos)
    names = unique_names(files)
    films = [_for(annotate, name, files) for name in names]
    model = open_model(weights, runtime, precision, threads)
    plan = Windows(seconds=window, hop=hop, views=views)
    if cutting is not None:
        plan = cutting.windows(model, plan)
    found: list[Prediction] = []
    rows: list[dict[str, Any]] = []  # one per file, in order
    bar = json or not sys.stdout.isatty()  # else the printed answers show the progress
    with closing(_answers(model, files, plan, bar=bar)) as answers:
        for (file, result), name, film in zip(answers, names, films, strict=True):
            if isinstance(result, Exception):
                rows.append({"source": str(file), "error": in_words(result)})
                note(f"error: {in_words(result)}")
                continue
            found.append(result)
            rows.append(result.to_dict(top))
            _tell(result, None if json or cutting is not None else top)
            picture = _for(timeline, name, files)
            if cutting is not None:
                rows[-1] |= cutting.take(file, result, name, picture, json=json)
                picture = None
            _pictures(result, file, picture, film)
    if csv is not None:
        _save_csv(found, csv)
    if cutting is not None:
        cutting.save()
    if json:
        say_json(rows)
    if len(found) < len(rows):
        raise typer.Exit(1)


def _answers(
    model: "Runner", files: list[Path], plan: "Windows", *, bar: bool
) -> Generator[tuple[Path, "Prediction | Exception"]]:
    """Each file with what is seen in it."""
    from pseudo3d.engine.predict import predict_many

    shown = progress_bar("recognizing") if bar and len(files) > 1 else nullcontext(None)
    results = sys.stdout
    with shown as progress, redirect_stdout(results):  # a bar would send them to stderr
        for done, answer in enumerate(predict_many(model, files, windows=plan), start=1):
            yield answer
            if progress is not None:
                progress(done, len(files))


def _tell(result: "Prediction", top: int | None) -> None:
    """Print one answer; None prints only what is wrong with the file."""
    if result.problem:
        note(f"warning: {result.source}: {result.problem}")
    if top is not None:
        names = ", ".join(f"{name} {prob:.1%}" for name, prob in result.top(top))
        say(f"{result.source}\t{result.label}\t{names}")


def _files(videos: list[Path]) -> list[Path]:
    from pseudo3d.data.video import VIDEO_SUFFIXES
    from pseudo3d.errors import VideoError

    files: list[Path] = []
    for path in videos:
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES]
            if not inside:
                raise VideoError(
                    f"{path} is a folder without videos; give files, or another folder"
                )
            files += inside
        else:
            files.append(path)
    return files


def _for(target: Path | None, name: str, files: list[Path]) -> Path | None:
    """With several videos, each gets its own picture: the video's name is put in front.

    Raises:
        Pseudo3dError: a video lies there.
    """
    if target is None:
        return None
    own = target if len(files) == 1 else target.with_name(f"{name}_{target.name}")
    refuse_over(own, files)
    return own


def _pictures(
    result: "Prediction", file: Path, timeline: Path | None, annotate: Path | None
) -> None:
    from pseudo3d.report.annotate import annotate as draw
    from pseudo3d.report.plots import timeline_png

    if timeline is not None:
        timeline_png(result.times, result.window_probs, result.classes, timeline, title=file.name)
        note(f"timeline: {timeline}")
    if annotate is not None:
        draw(file, result.times, result.window_probs, result.classes, annotate)
        note(f"annotated video: {annotate}")


def _save_csv(found: list["Prediction"], path: Path) -> None:
    from pseudo3d.report.files import save_bytes

    tables = [result.to_csv() for result in found]
    rest = [table.partition("\n")[2] for table in tables[1:]]
    save_bytes(path, "".join([*tables[:1], *rest]).encode())
    note(f"windows: {path}")


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(predict)
