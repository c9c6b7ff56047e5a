"""`p3d models`, `p3d scan`, `p3d doctor`: what there is, what a data set holds, what works here."""

from pathlib import Path
from typing import Annotated

import typer

from pseudo3d.cli.common import Json, progress_bar, say, say_json


def models(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of names.")] = "*",
    frames: Annotated[
        int, typer.Option(min=1, help="Frames of the clip MACs are counted for.")
    ] = 16,
    size: Annotated[int, typer.Option(min=1, help="Side of that clip, pixels.")] = 160,
    memory: Annotated[
        bool, typer.Option("--memory", help="Say what training and a forward pass need instead.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Clips per batch, for --memory.")] = 8,
    precision: Annotated[str, typer.Option(help="fp32 or bf16, for --memory.")] = "fp32",
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute blocks twice, for --memory.")
    ] = False,
    json: Json = False,
) -> None:
    """List networks: parameters, multiply-adds of a clip, field of view (frames, height, width)."""
    from dataclasses import asdict

    import torch

    from pseudo3d.errors import Pseudo3dError, unknown
    from pseudo3d.models import create_model, list_models
    from pseudo3d.models.profile import profile

    names = list_models(pattern)
    if not names:
        raise Pseudo3dError(unknown("model", pattern, list_models()))
    if memory:
        _memory(names, (batch, frames, size), precision, checkpointing, json)
        return
    with torch.device("meta"):
        found = {name: profile(create_model(name), frames, size) for name in names}
    if json:
        clip = {"clip": [frames, size, size]}
        say_json([{"name": name, **clip, **asdict(row)} for name, row in found.items()])
        return
    say(f"name\tparameters\tMACs at {frames}x{size}x{size}\tfield of view")
    for name, row in found.items():
        view = "x".join(map(str, row.field_of_view))
        say(f"{name}\t{row.parameters / 1e6:.2f} M\t{row.macs / 1e9:.2f} G\t{view}")


def _memory(
    names: list[str], clips: tuple[int, int, int], precision: str, checkpointing: bool, json: bool
) -> None:
    """Print the forecast for AdamW with averaged weights, as the recipe `cpu` trains."""
    from dataclasses import asdict

    import torch

    from pseudo3d.models import create_model
    from pseudo3d.models.memory import forecast

    if precision not in ("fp32", "bf16"):
        raise typer.BadParameter(f"{precision!r}; wanted fp32 or bf16", param_hint="--precision")
    rows = []
    for name in names:
        with torch.device("meta"):
            net = create_model(name)
        for train in (True, False):
            need = forecast(
                net,
                *clips,
                precision,  # type: ignore[arg-type]  # checked above
                train,
                checkpointing=checkpointing and train,
            )
            what = "training" if train else "forward"
            rows.append({"name": name, "for": what, **asdict(need), "total": need.total})
    if json:
        say_json(rows)
        return
    batch, frames, size = clips
    say(f"MiB at {batch}x{frames}x{size}x{size}, {precision}\t" + "\t".join(list(rows[0])[2:]))
    for row in rows:
        sizes = [f"{row[key] / 2**20:.0f}" for key in list(row)[2:]]
        say(f"{row['name']} {row['for']}\t" + "\t".join(sizes))


def scan(
    data: Annotated[
        Path, typer.Argument(help="Manifest, folder per class, or a folder of videos.")
    ],
    json: Json = False,
) -> None:
    """Decode every file of a data set and say what it holds and what is wrong with it."""
    from pseudo3d.data.survey import survey_data

    with progress_bar("scanning") as progress:
        found = survey_data(data, progress)
    if json:
        say_json(found.to_dict())
        return
    say(f"files\t{found.files}\nframes\t{found.frames}")
    for what in ("classes", "groups", "splits", "lengths", "sizes"):
        counts = getattr(found, what)
        if counts:
            say(f"{what}\t" + ", ".join(f"{name} {count}" for name, count in counts.items()))
    say(f"rotated\t{found.rotated}\nvariable rate\t{found.variable_rate}")
    say(f"problems\t{len(found.problems)}")
    for file, problem in found.problems.items():
        say(f"  {file}\t{problem}")
    if found.skipped:
        say(f"skipped\t{len(found.skipped)} files: no videos by their suffix, or in no class")


def doctor(json: Json = False) -> None:
    """Say what works on this machine, what is missing and how to get it."""
    from pseudo3d.cli import doctor as checks

    raise typer.Exit(checks.run(as_json=json))


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(models)
    app.command()(scan)
    app.command()(doctor)
