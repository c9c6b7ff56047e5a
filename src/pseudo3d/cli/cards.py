"""The card of a command's run (`report.card`), by what the command knows."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cli.common import note

if TYPE_CHECKING:
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.report.cards.card import RunCard

    # Labeled files, where they are listed, and which part of that list they are (None: all).
    Data = tuple[Manifest, Path, str | None]

SCORES = "scores.json"
Seed = int | list[int] | None


def card_of(
    folder: Path, task: str, *, data: "Data | None" = None, seed: Seed = None, **inputs: Any
) -> "AbstractContextManager[RunCard]":
    """Keep the card of a run whose results are in a folder.

    Args:
        inputs: files that go in, such as weights, by what they are; None is left out.
    """
    from pseudo3d.report.cards.card import CARD, recorded

    return recorded(folder / CARD, task, **_given(data, seed, inputs))


def card_beside(
    file: Path, task: str, *, data: "Data | None" = None, seed: Seed = None, **inputs: Any
) -> "AbstractContextManager[RunCard]":
    """Keep the card of a run whose result is one file, beside it."""
    from pseudo3d.report.cards.card import beside, recorded

    return recorded(beside(file), task, **_given(data, seed, inputs))


def _given(data: "Data | None", seed: Seed, inputs: dict[str, Any]) -> dict[str, Any]:
    from pseudo3d.report.cards.provenance import describe_data, describe_file

    given: dict[str, Any] = {"seeds": {} if seed is None else {"seed": seed}}
    if data is not None:
        given["data"] = describe_data(*data)
    given["inputs"] = {name: describe_file(p) for name, p in inputs.items() if p is not None}
    return given


@contextmanager
def kept_scores(
    out: Path | None, data: "Data | None", **inputs: Any
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that keeps scores, and a card beside them; None keeps nothing."""
    if out is None:
        yield lambda scores: None
        return
    folder = out
    from pseudo3d.report.files import save_bytes

    def keep(scores: dict[str, Any]) -> None:
        text = json.dumps(scores, indent=2) + "\n"
        note(f"scores: {save_bytes(folder / SCORES, text.encode())}")

    with card_of(folder, "evaluate", data=data, **inputs):
        yield keep
