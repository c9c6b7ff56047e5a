"""`p3d pack`: a data set rewritten once, so that training reads it faster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, note, progress_bar, say, say_json

if TYPE_CHECKING:
    from pseudo3d.data.pack import Packed
    from pseudo3d.data.speed import Speed


def pack(
    data: Annotated[
        Path, typer.Argument(help="CSV manifest, or a folder with one folder per class.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder, or one that was packed before.")],
    size: Annotated[int, typer.Option(min=16, help="Shorter side, pixels; not enlarged.")] = 256,
    transcode: Annotated[
        bool, typer.Option(help="Encode anew what is small with close key frames already, too.")
    ] = False,
    gop: Annotated[int, typer.Option(min=1, help="Most frames between two key frames.")] = 12,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of x264; 0 is best.")] = 20,
    lossless: Annotated[bool, typer.Option(help="Keep every RGB value; larger files.")] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Frames per second; default: all, as they are.")
    ] = None,
    json: Json = False,
) -> None:
    """Rewrite a data set as small video with close key frames, and measure what that brings.

    The originals are not touched. The same command again goes on after an interruption.
    """
    from pseudo3d.data.pack import Plan
    from pseudo3d.data.pack import pack as run
    from pseudo3d.data.speed import compare

    plan = Plan(size=size, gop=gop, crf=crf, lossless=lossless, fps=fps, transcode=transcode)
    with progress_bar("packing") as progress:
        done = run(data, out, plan, progress)
    for path, why in done.shortened.items():
        note(f"warning: {path}: {why}; packed as far as it goes")
    for why in done.unreadable.values():
        note(f"left out: {why}")
    note("measuring the loader before and after")
    facts = _facts(done, compare(done.items, done.packed, size))
    if json:
        say_json(facts)
    else:
        _tell(facts)
    if done.unreadable:
        raise typer.Exit(1)


def _facts(done: "Packed", speeds: list["Speed"]) -> dict[str, Any]:
    before, after = done.bytes()
    return {
        "manifest": str(done.manifest),
        "videos": len(done.packed),
        **done.counts,
        "unreadable": {str(path): why for path, why in done.unreadable.items()},
        "shortened": {str(path): why for path, why in done.shortened.items()},
        "bytes": {"before": before, "after": after},
        "clips_per_cpu_second": {
            s.sampling: {"before": round(s.before, 2), "after": round(s.after, 2)} for s in speeds
        },
    }


def _tell(facts: dict[str, Any]) -> None:
    say(f"manifest\t{facts['manifest']}")
    counts = ", ".join(f"{facts[how]} {how}" for how in ("encoded", "copied", "kept"))
    say(f"videos\t{facts['videos']} ({counts}), {len(facts['unreadable'])} unreadable left out")
    before, after = facts["bytes"].values()
    say(f"size\t{before / 1e6:.1f} MB -> {after / 1e6:.1f} MB")
    for kind, rate in facts["clips_per_cpu_second"].items():
        times = rate["after"] / max(rate["before"], 1e-9)
        say(
            f"loader, {kind} sampling\t{rate['before']:.1f} -> {rate['after']:.1f} clips per CPU "
            f"second ({times:.1f}x)"
        )


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(pack)
