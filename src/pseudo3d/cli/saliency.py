"""`p3d explain`: what a network looked at, frame by frame, and whether that can be believed."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, Threads, note, progress_bar, say, say_json, use_threads
from pseudo3d.cli.given import EXPLAIN, kind_of, refuse_idle
from pseudo3d.cli.names import refuse_over, unique_names
from pseudo3d.cli.results import EXPLAINED, FILMED, MARK, refuse_others
from pseudo3d.errors import Pseudo3dError, in_words

if TYPE_CHECKING:
    from pseudo3d.explain.asking import Asked
    from pseudo3d.explain.attribution import How
    from pseudo3d.explain.saliency import Attribution


class Methods(StrEnum):
    """Ways to a map."""

    gradcam = "gradcam"
    integrated = "integrated"
    occlusion = "occlusion"
    random = "random"


class Baselines(StrEnum):
    """What a clip with nothing in it is."""

    mean = "mean"
    blur = "blur"
    still = "still"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is wanted of every input."""

    method: Methods
    target: str | None
    at: float | None
    whole: bool
    out: Path | None
    how: "How"


def explain(
    ctx: typer.Context,
    weights: Annotated[
        Path, typer.Argument(help="A checkpoint; for occlusion what `p3d export` wrote, too.")
    ],
    inputs: Annotated[list[Path], typer.Argument(help="Videos or scans, or folders of them.")],
    method: Annotated[
        Methods, typer.Option(help="gradcam: fast, coarse; integrated, occlusion: slow, fine.")
    ] = Methods.gradcam,
    target: Annotated[
        str | None, typer.Option("--class", help="Class to explain; default: the answer.")
    ] = None,
    at: Annotated[
        float | None, typer.Option(min=0, help="Second of the video; default: where it is surest.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="All of the video, window after window.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for film, GIF, strip, curve, arrays and JSON.")
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Test the map: take away and put back what it points at.")
    ] = True,
    layer: Annotated[str | None, typer.Option(help="gradcam: read here, as res4.")] = None,
    baseline: Annotated[
        Baselines, typer.Option(help="Instead of what is hidden: mean color, blur, no movement.")
    ] = Baselines.mean,
    steps: Annotated[int, typer.Option(min=1, help="integrated: steps at first.")] = 24,
    seed: Annotated[int, typer.Option(help="Every random draw follows from it.")] = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Show what the answer to a video or scan rests on: heat per frame, and which moments matter.

    Every map is tested by deletion and insertion against copies of itself put elsewhere; a map that
    does not beat them is said to be no better than random.
    """
    use_threads(threads)
    from pseudo3d.cli.scans.among import scans_among
    from pseudo3d.explain.asking import opened
    from pseudo3d.explain.attribution import How

    scans = scans_among(inputs)
    now = (kind_of(inputs, scans), f"--method {method.value}", "--check" if check else "--no-check")
    refuse_idle(ctx, EXPLAIN, *now)
    if at is not None and whole:
        raise typer.BadParameter("give --at or --whole, not both")
    how = How(layer=layer, baseline=baseline.value, steps=steps, check=check, seed=seed)
    wish = Wish(method=method, target=target, at=at, whole=whole, out=out, how=how)
    if not (files := scans or _videos(inputs)):
        raise Pseudo3dError("no video and no scan among the inputs; give files, or other folders")
    model, told, failed, verdicts = opened(weights), [], {}, Counter[str]()
    for path, name in zip(files, unique_names(files), strict=True):
        try:
            if out is not None:
                _spare(path, out, name, EXPLAINED if scans else FILMED)
            row = (_scan if scans else _video)(model, path, name, wish)
        except (Pseudo3dError, OSError) as err:
            failed[path] = in_words(err)
            note(f"error: {in_words(err)}")
            continue
        told.append(row)
        if row["test"] is not None:
            verdicts[row["test"]["verdict"]] += 1
        if not json:
            say(f"{path}\t{row['target']}\t{row['answer']:.3f}\t{row['verdict']}")
    if json:
        say_json([*told, *({"source": str(p), "error": why} for p, why in failed.items())])
    _advise(verdicts, method)
    if failed:
        raise typer.Exit(1)


def _spare(path: Path, out: Path, name: str, endings: tuple[str, ...]) -> None:
    """Refuse a folder in which what is written would replace the input, or what is not ours."""
    for ending in endings:
        refuse_over(out / f"{name}{ending}", [path])
    refuse_others(out, name, endings)


def _advise(verdicts: "Counter[str]", method: Methods) -> None:
    """Sum up several maps, and say what to try where they do not hold."""
    tested = verdicts.total()
    if tested > 1:
        note(f"{verdicts['faithful']} of {tested} maps show what the answer rests on")
    finer = method is Methods.gradcam and tested > verdicts["faithful"] + verdicts["undecided"]
    if finer:
        note("hint: --method integrated or occlusion is slower and finer")
    if verdicts["undecided"]:
        note("hint: another --baseline may be emptier to the network")


def _video(model: "Asked", path: Path, name: str, wish: Wish) -> dict[str, Any]:
    """Explain one video and write what is wanted of it; what to print, as JSON."""
    from pseudo3d.explain.attribution import explain_video
    from pseudo3d.explain.overlay import write_film, write_pictures
    from pseudo3d.explain.whole import explain_whole

    asked: dict[str, Any] = {"target": wish.target, "method": wish.method.value, "how": wish.how}
    if wish.at is not None:
        _check_moment(wish.at, path)
    if wish.whole:
        with progress_bar(f"explaining {path.name}") as progress:
            prediction, found = explain_whole(model, path, **asked, progress=progress)
    else:
        prediction, found = explain_video(model, path, **asked, window=wish.at)
    for line in (*found.notes, *filter(None, [prediction.problem])):
        note(f"note: {path}: {line}")
    row = {"source": str(path), "label": prediction.label, **found.to_dict(), **MARK}
    if wish.out is not None:
        files = _plain(found, row, wish.out, name)  # first: see `refuse_others`
        files += write_pictures(path, found, wish.out, name)
        _written([*files, write_film(path, found, wish.out / f"{name}.mp4")])
    return row


def _check_moment(at: float, path: Path) -> None:
    """Refuse a moment that the video does not have, before anything is computed.

    Raises:
        Pseudo3dError: it is over by then.
    """
    from pseudo3d.data.annotations import seconds_of

    end = seconds_of(path)
    if at > end:
        raise Pseudo3dError(f"--at is {at:g} s, {path} ends at {end:.3f} s: give a moment of it")


def _scan(model: "Asked", path: Path, name: str, wish: Wish) -> dict[str, Any]:
    """The same of a scan."""
    from pseudo3d.explain.scan_attribution import explain_scan, write_scan

    found = explain_scan(model, path, target=wish.target, method=wish.method.value, how=wish.how)
    for line in found.notes:
        note(f"note: {path}: {line}")
    row = {"source": str(path), **found.to_dict()}
    if wish.out is not None:
        files = _plain(found.seen, row, wish.out, name)
        _written([*files, *write_scan(found, wish.out, name)])
    return row


def _plain(found: "Attribution", row: dict[str, Any], out: Path, name: str) -> list[Path]:
    """The numbers: arrays on the network's grid, and all the rest as JSON."""
    import json as jsonlib
    from io import BytesIO

    import numpy as np

    from pseudo3d.report.files import save_bytes

    arrays = BytesIO()
    np.savez_compressed(
        arrays,
        heat=found.heat,
        evidence=found.evidence,
        times=found.times,
        importance=found.importance,
    )
    return [
        save_bytes(out / f"{name}.json", jsonlib.dumps(row, indent=2).encode()),
        save_bytes(out / f"{name}.npz", arrays.getvalue()),
    ]


def _written(files: list[Path]) -> None:
    for file in files:
        note(f"written: {file}")


def _videos(inputs: list[Path]) -> list[Path]:
    """The files that are named, and the videos in folders."""
    from pseudo3d.data.video import VIDEO_SUFFIXES

    found: list[Path] = []
    for path in inputs:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [p for p in inside if not path.is_dir() or p.suffix.lower() in VIDEO_SUFFIXES]
    return found


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(explain)
