"""`p3d compare`: is one network better than another on the same scans, or is it luck?"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pseudo3d.cli.common import Json, note, say, say_json


class Scores(StrEnum):
    """What is compared."""

    auc = "auc"
    accuracy = "accuracy"
    brier = "brier"


_WHAT = "Predictions (CSV, as `p3d evaluate` writes them): a file, a folder, or a quoted pattern."


def compare(
    first: Annotated[str, typer.Argument(help=_WHAT)],
    second: Annotated[str, typer.Argument(help="The same of the other network.")],
    score: Annotated[Scores, typer.Option(help="What is compared.")] = Scores.auc,
    draws: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    json: Json = False,
) -> None:
    """Compare two networks on the same scans by a paired bootstrap over scans and seeds."""
    from pseudo3d.scores.bootstrap import Draws, unit_numbers
    from pseudo3d.scores.compare import Rival
    from pseudo3d.scores.compare import compare as measure
    from pseudo3d.scores.predictions import SCORES, check_same, read_all, statistics_of

    sets = [read_all(first), read_all(second)]
    check_same(*sets)
    names = [_name(first), _name(second)]
    if names[0] == names[1]:
        names = [first, second]
    one, two = (
        Rival(name, statistics_of(found, score.value))
        for name, found in zip(names, sets, strict=True)
    )
    units = unit_numbers(len(sets[0].scans), sets[0].units)
    how, better = Draws(count=draws, seed=seed), SCORES[score.value]
    found = measure(score.value, one, two, units, how, better)
    if json:
        say_json(found.to_dict())
        return
    for name, value, count in zip(names, (found.first, found.second), found.seeds, strict=True):
        say(f"{name}\t{value}\t{count} seed{'s'[: count > 1]}")
    say(found.sentence)
    note(found.difference.method)
    if found.caution:
        note(f"caution: {found.caution}")


def _name(given: str) -> str:
    """File or folder name without its ending."""
    return Path(given).stem.rstrip("*_- ") or given


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(compare)
