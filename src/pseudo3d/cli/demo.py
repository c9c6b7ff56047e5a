"""`p3d demo`: render, train, compare, recognize, report."""

from pathlib import Path
from typing import Annotated

import typer

from pseudo3d.cli.common import Threads, note, progress_bar, say, use_threads


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for all it makes: new, empty or a demo's.")
    ] = Path("demo"),
    quick: Annotated[
        bool, typer.Option(help="A minute instead of several; scores are lower.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the films and of the training.")] = 0,
    threads: Threads = None,
) -> None:
    """Render small films of actions, train a P3D network and its 2-D twin on them, and compare.

    Ends with OUT/report.html, which opens offline.
    """
    use_threads(threads)
    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.demo.run import FULL, QUICK, run

    page = run(
        out, QUICK if quick else FULL, seed, progress=progress_bar, bar=TrainingBar, say=note
    )
    say(str(page))


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(demo)
