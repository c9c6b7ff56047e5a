"""What several commands share: output, progress, options, opening a data set."""

import json as jsonlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.data.preprocess import Preprocessing
    from pseudo3d.engine.training.recipes import Recipe
    from pseudo3d.models.network import Network

R = TypeVar("R", bound="Recipe")
Progress = Callable[[int, int], None]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; default: all cores.")]
Cache = Annotated[
    str,
    typer.Option(
        help="Folder for decoded frames, 'auto' (the user's cache folder) or 'none' (decode anew)."
    ),
]


def say(text: str = "") -> None:
    """Print a result."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Tell the user something that is no result."""
    sys.stderr.write(text + "\n")


def say_json(value: Any) -> None:
    """Print a result for machines."""
    say(jsonlib.dumps(value, indent=2))


def use_threads(count: int | None) -> None:
    """Set torch's threads; waiting ones sleep, and freed memory is kept for the next layer."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from pseudo3d.runtime.process import keep_memory

    keep_memory()

    if count is not None:
        torch.set_num_threads(count)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar with rate and time left on a terminal, a line at each fifth elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: _line(what, done, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _line(what: str, done: int, total: int) -> None:
    if done == total or (total >= 20 and done % (total // 5) == 0):
        note(f"{what}: {done}/{total}")


def open_store(manifest: "Manifest", resize: int, gray: bool, cache: str) -> "FrameStore":
    """Decode the whole list once, if it fits, and say what cannot be read."""
    from pseudo3d.data.cache import FrameStore, default_folder, fits

    folder = None
    if cache != "none":
        folder = default_folder() if cache == "auto" else Path(cache)
    store = FrameStore(resize=resize, gray=gray, folder=folder)
    needed = 0
    if folder is not None:
        needed = store.bytes_needed(manifest.items)
        if not fits(folder, needed):
            note(
                f"decoded frames would take {needed / 1e9:.1f} GB, more than half of the free "
                f"space at {folder}; decoding anew at every use"
            )
            store.folder = None
    what = f"decoding ({needed / 1e6:.0f} MB cache)" if store.folder else "checking files"
    with progress_bar(what) as progress:
        store.fill(manifest.items, progress)
    for path, why in store.quarantined.items():
        note(f"quarantined: {path}: {why}")
    return store


def key_values(pairs: list[str]) -> dict[str, Any]:
    """`key=value` options; values are JSON where they can be, else text.

    Raises:
        typer.BadParameter: no `=` in a pair.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE")
        try:
            value = jsonlib.loads(text)
        except jsonlib.JSONDecodeError:
            value = text
        found[key.replace("-", "_")] = _tuples(value)
    return found


def recipe_but(recipe: "R", changes: dict[str, Any], given: dict[str, Any], shape: type) -> "R":
    """A recipe with the changes of the command line, of which `input.*` and `augment.*` are parts.

    Args:
        given: the input so far, fields of `shape`.
    Raises:
        Pseudo3dError: text for a switch or a number.
        TypeError: no such field.
    """
    from dataclasses import replace

    from pseudo3d.values import refuse_text

    plain: dict[str, Any] = {}
    lit: dict[str, Any] = {}
    for key, value in changes.items():
        part, dot, name = key.partition(".")
        into = {"input": given, "augment": lit}.get(part, plain) if dot else plain
        into[key if into is plain else name] = value
    refuse_text(type(recipe), plain)
    refuse_text(type(recipe.augment), lit, "augment.")
    refuse_text(shape, given, "input.")
    if "epochs" in plain:
        plain.setdefault("steps", None)  # a recipe's own would take the place of the epochs
    return cast("R", recipe.but(**plain, input=given, augment=replace(recipe.augment, **lit)))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def chosen(model: str | None, weights: Path | None) -> tuple[str | None, dict[str, Any]]:
    """Name and options of the network to train: those of the weights' own, unless it is named."""
    found = None if weights is None else _described(weights)
    if found is None or model not in (None, found[0]):
        return model, {}
    return found[:2]


def input_of(model: str | None, weights: Path) -> "Preprocessing | None":
    """The input that weights for videos name; None where another network is to be trained."""
    from pseudo3d.data import preprocess

    found = _described(weights)
    if found is None or model not in (None, found[0]):
        return None
    return found[2] if isinstance(found[2], preprocess.Preprocessing) else None


def _described(weights: Path) -> tuple[str, dict[str, Any], Any] | None:
    """The network that a file holds, but for what the data decide, and its input; or None."""
    from pseudo3d.recycle.files import read_file
    from pseudo3d.recycle.foreign.formats import has_head, recognize, understand
    from pseudo3d.recycle.foreign.kinds import Choices
    from pseudo3d.weights import Card

    state, text = read_file(weights)
    found: Any
    if text is not None:
        found = Card.from_json(text)
        name, options = found.name, found.config
    elif recognize(state, weights) == "resnet":
        return None
    else:
        classes = None if has_head(state) else 1
        found = understand(state, Choices(source=str(weights), num_classes=classes))
        name, options = found.model, found.config
    kept = {k: v for k, v in options.items() if k not in ("num_classes", "in_channels")}
    return name, kept, found.preprocessing


def start_from(net: "Network", weights: Path, classes: tuple[str, ...]) -> str:
    """Start from a checkpoint of ours, a published P3D, or a 2-D ResNet; says what was done."""
    from pseudo3d.recycle.foreign.formats import recognize
    from pseudo3d.recycle.inflate import inflate
    from pseudo3d.weights import load_backbone, read_state

    if recognize(read_state(weights), weights) == "resnet":
        return str(inflate(net, weights))
    return str(load_backbone(net, weights, classes=classes))


_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def memory_bytes(text: str | None) -> int | None:
    """`2GB`, `500M` or bytes as a number.

    Raises:
        Pseudo3dError: no amount of memory.
    """
    if text is None:
        return None
    plain = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = plain[-1:] if plain[-1:] in ("K", "M", "G") else ""
    number = plain.removesuffix(unit) if unit else plain
    try:
        found = float(number) * _UNITS[unit]
    except ValueError:
        found = 0
    if not 1 <= found < 2**63:
        raise Pseudo3dError(f"memory is {text!r}; wanted an amount such as 2GB or 500MB")
    return int(found)
