"""`p3d pack`: a data set rewritten once, so that training reads it faster."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, memory_bytes, note, progress_bar, say, say_json

if TYPE_CHECKING:
    from pseudo3d.data.pack import Packed, Plan
    from pseudo3d.data.shards.verify import Verified
    from pseudo3d.data.speed import Speed


def pack(
    data: Annotated[
        Path,
        typer.Argument(help="CSV manifest, folder with one folder per class, or packed shards."),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="New folder, or one that was packed before; for shards also an address to write "
            "to, such as s3://BUCKET/NAME."
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Shorter side, pixels; not enlarged.")] = 256,
    transcode: Annotated[
        bool, typer.Option(help="Encode anew what is small with close key frames already, too.")
    ] = False,
    gop: Annotated[int, typer.Option(min=1, help="Most frames between two key frames.")] = 12,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of x264; 0 is best.")] = 20,
    lossless: Annotated[bool, typer.Option(help="Keep every RGB value; larger files.")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="Every frame a JPEG of its own; larger files.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Frames per second; default: all, as they are.")
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option(help="Pack into tars of at most this size, such as 1GB, with an index."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Shards: processes that encode; default: one per core."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every byte of the shards; DATA if no OUT.")
    ] = False,
    json: Json = False,
) -> None:
    """Rewrite a data set as small video with close key frames, and measure what that brings.

    The originals are not touched. The same command again goes on after an interruption. Shards
    (--shard-size) are few large files, in webdataset's layout, for many videos and for storage far
    away; every other command takes them in place of a manifest.
    """
    from pseudo3d.data.pack import Plan
    from pseudo3d.data.speed import compare

    if out is None:
        if not verify:
            raise typer.BadParameter("OUT is missing: name a folder to pack into, or --verify")
        _verify(data, json)
        return
    if shard_size is None and (workers is not None or verify):
        raise typer.BadParameter("--workers and --verify are for shards: give a --shard-size")
    plan = Plan(
        size=size, gop=gop, crf=crf, lossless=lossless, fps=fps, transcode=transcode, frames=frames
    )
    done = _run(data, out, plan, memory_bytes(shard_size), workers)
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
    if verify:
        _verify(out, json=False, quiet=json)
    if done.unreadable:
        raise typer.Exit(1)


def _run(data: Path, out: Path, plan: "Plan", shard: int | None, workers: int | None) -> "Packed":
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.data.pack import pack as run
    from pseudo3d.data.shards.storage import is_remote
    from pseudo3d.data.shards.write import Sharding, pack_shards
    from pseudo3d.report.cards.card import CARD, recorded
    from pseudo3d.report.cards.provenance import describe_data

    with ExitStack() as stack:
        card = None  # an object store has no place that one process holds
        if not is_remote(out):
            card = stack.enter_context(recorded(out / CARD, "pack", at_once=False))
        progress = stack.enter_context(progress_bar("packing"))
        if shard is None:
            done = run(data, out, plan, progress)
        else:
            done = pack_shards(data, out, plan, Sharding(size=shard, workers=workers), progress)
        if card is not None:
            card.add(data=describe_data(Manifest(done.items, ()), data))
    return done


def _verify(address: Path, json: bool, quiet: bool = False) -> None:
    """Say which shards and samples are damaged; exit code 1 when any is."""
    from dataclasses import asdict

    from pseudo3d.data.shards.verify import verify

    with progress_bar("verifying") as progress:
        found: Verified = verify(address, progress)
    if json:
        say_json(asdict(found))
    elif not quiet:
        say(f"verified\t{found.shards} shards, {found.samples} samples, {found.bytes / 1e6:.1f} MB")
        say(f"damaged\t{found.lost} samples" if found.damaged else "damaged\tnothing")
    for name, why in found.damaged.items() if not json else ():
        (note if quiet else say)(f"  {name}\t{why}")
    if found.damaged:
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
    ways = ("packed", "encoded", "copied", "kept")
    counts = ", ".join(f"{facts[how]} {how}" for how in ways if how in facts)
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
