"""`p3d card`: what a result was made with, and what is another here or in another run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pseudo3d.cli.common import Json, say, say_json

_TOLD = ("task", "state", "error", "started", "seconds", "command", "python", "system", "machine")


def card(
    run: Annotated[Path, typer.Argument(help="Folder or file of a run, or its card.json.")],
    other: Annotated[
        Path | None, typer.Argument(help="Another run: print only what differs between the two.")
    ] = None,
    json: Json = False,
) -> None:
    """Say how a result was made: code, versions, machine, seeds, data, command.

    Of one run also what is another here and now: packages, code, the weights and data it read. Of
    two runs what differs. A difference is no failure: the exit code stays 0.
    """
    from pseudo3d.report.cards.card import read_card
    from pseudo3d.report.cards.differences import differences, differences_here

    found = read_card(run)
    differ = differences_here(found) if other is None else differences(found, read_card(other))
    if json:
        told = {name: list(pair) for name, pair in differ.items()}
        say_json({"differs": told, **({} if other is not None else {"card": found})})
        return
    if other is None:
        _tell(found)
    for name, (one, two) in differ.items():
        say(f"{'differs' if other else 'other here'}\t{name}\t{_short(one)}\t{_short(two)}")
    if not differ:
        say("differs\tnothing" if other else "other here\tnothing")


def _tell(found: dict[str, Any]) -> None:
    for key in _TOLD:
        if found.get(key) is not None:
            say(f"{key}\t{found[key]}")
    code = found.get("pseudo3d") or {}
    commit = code.get("revision") or {}
    changed = ", changed" if commit.get("changed") else ""
    say(f"pseudo3d\t{code.get('version')}\t{commit.get('commit') or 'a release'}{changed}")
    say(f"torch\t{(found.get('packages') or {}).get('torch')}")
    for name, value in (found.get("seeds") or {}).items():
        say(f"seed\t{name}\t{value}")
    data = found.get("data")
    if data:
        say(f"data\t{data.get('address')}\t{data.get('items')} items\tsha256 {data.get('sha256')}")
    for name, told in (found.get("inputs") or {}).items():
        say(f"input\t{name}\t{told.get('path')}\tsha256 {told.get('sha256')}")
    for before in found.get("earlier") or ():
        state, when = before.get("state", found.get("state")), before.get("started", "")
        say(f"earlier\t{state}\t{when}\t{before.get('error') or ''}".rstrip("\t"))


def _short(value: Any) -> str:
    return "nothing" if value is None else str(value)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(card)
