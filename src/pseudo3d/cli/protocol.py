"""`p3d protocol`: the benchmarks, each with its paper's protocol."""

from pathlib import Path
from typing import Annotated

import typer

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

group = typer.Typer(no_args_is_help=True, help="Benchmarks, each with its paper's protocol.")
Name = Annotated[str, typer.Argument(help="Protocol, for example ucf101; see `p3d protocol list`.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Option of the protocol, KEY=VALUE; repeatable. See describe."),
]


@group.command("list")
def list_protocols(json: Json = False) -> None:
    """Name all protocols."""
    from pseudo3d.protocols import get, names

    found = {name: get(name).title for name in names()}
    if json:
        say_json(found)
        return
    for name, title in found.items():
        say(f"{name}\t{title}")


@group.command()
def describe(name: Name, options: Set = None) -> None:
    """Say what is read, sampled and scored, and what has been published."""
    from pseudo3d.protocols import get

    say(get(name, **key_values(options or [])).describe())


@group.command()
def run(
    name: Name,
    root: Annotated[Path, typer.Option(help="Folder of the set; see describe.")],
    weights: Annotated[
        str,
        typer.Option(
            help="Checkpoint; {split} in it stands for the split's name. For features also "
            "'pixels' or 'random:NAME', the yardsticks."
        ),
    ],
    options: Set = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on where counts are not the published ones.")
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for features, so that a broken run goes on.")
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Score a network by a protocol; deviations and missing videos stand beside the score."""
    from pseudo3d.protocols import get

    protocol = get(name, **key_values(options or []))
    use_threads(threads)
    with progress_bar(name) as progress:
        score = protocol.run(root, weights, partial=partial, keep=keep, progress=progress)
    if json:
        say_json(score.to_dict())
        return
    for line in score.lines():
        say(line)


@group.command()
def manifest(
    name: Name,
    root: Annotated[Path, typer.Option(help="Folder of the set; see describe.")],
    out: Annotated[Path, typer.Option(help="CSV to write.")],
    split: Annotated[
        str | None, typer.Option(help="Name of the split; default: the only one.")
    ] = None,
    options: Set = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on where counts are not the published ones.")
    ] = False,
) -> None:
    """Write a split's lists as a manifest, to train on it with `p3d train`."""
    from pseudo3d.data.manifest import write_manifest
    from pseudo3d.errors import unknown
    from pseudo3d.protocols import get
    from pseudo3d.protocols.base import admit

    listing = get(name, **key_values(options or [])).read(root)
    for text in [*admit(listing, partial), *listing.notes]:
        note(text)
    splits = {part.name: part for part in listing.splits}
    chosen = split if split is not None or len(splits) > 1 else next(iter(splits))
    if chosen not in splits:
        raise ValueError(unknown("split", str(chosen), splits))
    found = splits[chosen].manifest(listing.classes)
    write_manifest(found, out)
    note(f"{len(found.items)} videos in {out}; {len(listing.missing)} listed are not on the disk")


@group.command()
def miniature(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
) -> None:
    """Write a tiny rendered copy of a set in its layout, to try a protocol on."""
    from pseudo3d.protocols.miniature import write_miniature

    root = write_miniature(name, out)
    note(f"p3d protocol run {name} --root {root} --weights WEIGHTS --partial")


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.add_typer(group, name="protocol")
