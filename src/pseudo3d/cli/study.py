"""`p3d study`: several networks, one budget, several seeds, one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pseudo3d.cli.cards import card_of
from pseudo3d.cli.common import (
    Cache,
    Json,
    Threads,
    key_values,
    note,
    open_store,
    progress_bar,
    say,
    say_json,
    use_threads,
)
from pseudo3d.cli.train import recipe_with
from pseudo3d.cli.videos import divide

if TYPE_CHECKING:
    from pseudo3d.explain.standings import Standing
    from pseudo3d.explain.study import Study


def study(
    data: Annotated[
        Path, typer.Argument(help="CSV manifest, or a folder with one folder per class.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the study; run again to go on with it.")],
    model: Annotated[
        str, typer.Option(help="P3D network whose blocks, 2-D and full 3-D twin are compared.")
    ] = "p3d_tiny",
    models: Annotated[
        list[str] | None, typer.Option(help="Compare these networks instead; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network.")] = 3,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="Train each as long; default: as many steps, by --epochs."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="cpu, ucf101, sports1m or kinetics.")] = "cpu",
    frames: Annotated[int | None, typer.Option(min=1, help="Frames in a clip.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the crop, pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Group to leave out as the test part; repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Recipe field, KEY=VALUE (input.color=gray); repeatable."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw accuracy against time (PNG).")] = None,
    cache: Cache = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Compare blocks A, B, C, their mix, full 3-D and 2-D on your videos, as the paper does.

    All are trained by one recipe with several seeds and scored on the part held out.
    """
    use_threads(threads)
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.explain.study import Study, Variant, block_study
    from pseudo3d.models import default_config

    for name in (*(models or ()), model):
        default_config(name)  # refuses an unknown one now, not after the training of others
    changes = {**key_values(set_ or []), **({"epochs": epochs} if epochs else {})}
    whole = read_manifest(data)
    parts = divide(whole, hold_out or [], [], 0)
    chosen = Study(
        variants=tuple(Variant(title=n, model=n) for n in models) if models else block_study(model),
        recipe=recipe_with(recipe, changes, frames, size),
        seeds=tuple(range(seeds)),
        parts=parts,
        out=out,
        seconds=seconds,
    )
    with card_of(out, "study", data=(whole, data, None), seed=list(range(seeds))):
        rows = _run(chosen, cache)
    _tell(chosen, rows, picture, json)


def _run(chosen: "Study", cache: str) -> "list[Standing]":
    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.explain.standings import standings
    from pseudo3d.explain.study import run_study

    train, held = chosen.parts.train, chosen.parts.held
    items = (*train.items, *(held.items if held is not None else ()))
    given = chosen.recipe.input
    listed = type(train)(items, train.classes)
    store = open_store(listed, given["resize"], given.get("color") == "gray", cache)
    trials = run_study(chosen, store, tell=note, bar=TrainingBar)
    with progress_bar("timing") as progress:
        return standings(chosen, trials, progress=progress)


def _tell(chosen: "Study", rows: "list[Standing]", picture: Path | None, json: bool) -> None:
    from pseudo3d.explain.standings import COLUMNS, draw, findings

    if picture is not None:
        note(f"picture: {draw(rows, picture)}")
    if json:
        plan = {key: value for key, value in chosen.plan().items() if key != "groups"}
        found = {"rows": [row.to_dict() for row in rows], "findings": findings(rows), "plan": plan}
        say_json(found)
        return
    say("\t".join(COLUMNS))
    for row in rows:
        say("\t".join(row.cells()))
    for text in findings(rows):
        say(f"finding\t{text}")


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(study)
