"""`p3d train`: labeled videos in, weights out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import (
    Cache,
    Threads,
    input_of,
    key_values,
    recipe_but,
    use_threads,
)
from pseudo3d.cli.given import SCANS, TRAIN, VIDEOS, given, refuse_idle
from pseudo3d.cli.spread import Devices, Nodes, Strategy, SyncNorm

if TYPE_CHECKING:
    from pseudo3d.data.preprocess import Preprocessing
    from pseudo3d.engine.training.recipes import Recipe


_MEASURED = ("color", "difference", "scale")  # with another one, mean and deviation are others


def train(
    ctx: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="CSV manifest, stack of volumes (npz), or a folder with one folder per class."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; it must not hold another one.")],
    model: Annotated[
        str | None,
        typer.Option(help="A name of `p3d models`; default: that of --weights, else p3d_tiny."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="cpu, ucf101, sports1m or kinetics; scans: volume, sides, segment or lesions."
        ),
    ] = "cpu",
    frames: Annotated[int | None, typer.Option(min=1, help="Frames in a clip.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the crop, pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch: Annotated[
        str | None, typer.Option(help="Clips per batch; auto: as many as memory holds.")
    ] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    seed: Annotated[int, typer.Option(help="Every random draw follows from it.")] = 0,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Group to leave out as the test part; repeatable.")
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(help="Group of the training part to watch as validation; repeatable."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Start from a checkpoint of ours or from a 2-D ResNet's weights."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Learn this network's answers, too; weights with the same classes."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Recipe field, KEY=VALUE (input.color=gray, ema=0); repeatable."
        ),
    ] = None,
    net: Annotated[
        list[str] | None,
        typer.Option("--net", help="Model option, KEY=VALUE (semantics=release); repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Loader processes.")] = None,
    report: Annotated[
        bool,
        typer.Option(
            help="Write OUT/report.html: scores, and whether it uses the order of frames."
        ),
    ] = True,
    strategy: Strategy = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    sync_norm: SyncNorm = True,
    cache: Cache = "auto",
    threads: Threads = None,
) -> None:
    """Train a network on labeled videos or scans.

    The `split` column decides what is trained on (train), watched (val) and left alone (test). A
    list without splits is cut by group: a fifth becomes the test part, written to OUT/manifest.csv.
    The same command again goes on with a run that was interrupted. Under torchrun or SLURM's srun,
    every process takes its share of every batch.
    """
    use_threads(threads)
    if out.exists() and data.exists() and out.samefile(data):
        raise typer.BadParameter(f"--out is the data themselves, {out}; name another folder")
    from pseudo3d.cli.scans.among import holds_scans

    scans = holds_scans(data)
    refuse_idle(ctx, TRAIN, SCANS if scans else VIDEOS)
    clips = _count(batch, scans)
    from pseudo3d.cli.spread import start_processes
    from pseudo3d.engine.training.distributed import Spread

    spread = Spread(strategy=strategy, devices=devices, nodes=nodes, sync_norm=sync_norm)  # type: ignore[arg-type]
    if start_processes(spread):
        return
    from pseudo3d.cli.scans.train import ScanTraining, train_scans
    from pseudo3d.cli.videos import VideoTraining, train_videos

    plain = {"epochs": epochs, "batch": clips, "lr": lr, "precision": precision}
    changes = {key: value for key, value in plain.items() if value is not None}
    if scans:
        train_scans(
            ScanTraining(
                data=data,
                out=out,
                model=model,
                recipe=recipe if "recipe" in given(ctx) else None,
                changes={**changes, **key_values(set_ or [])},
                net=key_values(net or []),
                size=size,
                seed=seed,
                hold_out=tuple(hold_out or ()),
                watch=tuple(watch or ()),
                weights=weights,
                cache=cache,
                report=report,
                spread=spread,
            )
        )
        return
    start = None if weights is None or "recipe" in given(ctx) else input_of(model, weights)
    changes |= key_values(set_ or [])
    train_videos(
        VideoTraining(
            data=data,
            out=out,
            model=model,
            recipe=recipe_with(recipe, changes, frames, size, start),
            input_taken=start is not None,
            fit_batch=batch == "auto",
            net=key_values(net or []),
            seed=seed,
            hold_out=hold_out or [],
            watch=watch or [],
            weights=weights,
            teacher=teacher,
            workers=workers,
            report=report,
            cache=cache,
            spread=spread,
        )
    )


def _count(batch: str | None, scans: bool) -> int | None:
    """A number of clips; None where it is not given or found later."""
    if batch is None or (batch == "auto" and not scans):
        return None
    if not batch.isdecimal() or int(batch) < 1:
        raise typer.BadParameter(
            f"{batch!r}; wanted a number of {'scans' if scans else 'clips, or auto'}",
            param_hint="--batch",
        )
    return int(batch)


def recipe_with(
    name: str,
    changes: dict[str, Any],
    frames: int | None,
    size: int | None,
    start: "Preprocessing | None" = None,
) -> "Recipe":
    """A recipe by name with the options of the command line put in.

    Args:
        start: the input of the weights that training starts from, in the place of the recipe's.
    Raises:
        Pseudo3dError: text for a switch or a number.
        TypeError: no such field.
    """
    from pseudo3d.data.preprocess import Preprocessing
    from pseudo3d.engine.training.recipes import recipe

    how = recipe(name)
    given = dict(how.input) if start is None else asdict(start)
    if any(f"input.{name}" in changes for name in _MEASURED):
        given = {k: v for k, v in given.items() if k not in ("mean", "std", "difference_std")}
    if frames is not None:
        given["frames"] = frames
    if size is not None:
        margin = given["resize"] / min(given["size"])
        given.update(size=(size, size), resize=round(size * margin))
    return recipe_but(how, changes, given, Preprocessing)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(train)
