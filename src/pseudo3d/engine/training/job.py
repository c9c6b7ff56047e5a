"""What a training run is asked for: how, where, and on which items."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.engine.training.distributed import Spread
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.errors import ManifestError, WeightsError
from pseudo3d.models.network import Network


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    recipe: Recipe
    out: Path
    seed: int = 0
    workers: int | None = None  # loader processes; None: as many as help
    resume: bool = False
    checkpoint_every: int = 50  # optimizer steps
    teacher: Path | None = None  # weights of a network whose answers are learned, too
    spread: Spread = field(default_factory=Spread)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is trained on, what is watched, and the names it was read under."""

    train: Manifest
    val: Manifest | None = None
    held: Manifest | None = None  # neither trained on nor watched; written down for later

    def __post_init__(self) -> None:
        if len(set(self.train.labels)) < 2:
            raise ManifestError(
                "the training part holds fewer than two classes; label at least two, or change "
                "the split"
            )


def check_head(net: Network, classes: Sequence[str]) -> None:
    """Refuse a network whose answers are not the classes of the data, before the work is done.

    Raises:
        WeightsError: it gives another number of them, or its config says another.
    """
    said, gives, want = net.cfg.num_classes, net.head.out_features, len(classes)
    if (said, gives) != (want, want):
        named = ", ".join([*classes[:5], *(["..."] if want > 5 else [])])
        raise WeightsError(
            f"the head of {net.name} gives {gives} answers, and its config says {said}; the data "
            f"have {want} ({named}). Make the network with create_model({net.name!r}, "
            f"num_classes={want}); load_backbone takes over the weights of another"
        )


class Divided(Protocol):
    """`Parts` of videos or of scans."""

    @property
    def train(self) -> Manifest: ...
    @property
    def val(self) -> Manifest | None: ...
    @property
    def held(self) -> Manifest | None: ...


_FACTS = ("label", "group", "start", "end", "shard", "value", "array", "index")  # where it has them


def digests(parts: Divided) -> dict[str, str | None]:
    """A sha256 of the items of each part in their order; None of a part that there is not.

    Files count by their place under the folder that holds all of them, so that data may be moved
    as a whole, or named from another working folder.
    """
    named = {"train": parts.train, "val": parts.val, "test": parts.held}
    listed = {name: part.items for name, part in named.items() if part is not None}
    files = (file for items in listed.values() for item in items for file in _files(item))
    try:
        home = len(os.path.commonpath({file.parent for file in files}))
    except ValueError:  # some are named by absolute paths, others by relative ones
        home = 0
    return {name: _digest(listed[name], home) if name in listed else None for name in named}


def _files(item: Item) -> list[Path]:
    """The item's file, and its mask."""
    return [path for path in (item.path, getattr(item, "mask", None)) if path is not None]


def _digest(items: Sequence[Item], home: int) -> str:
    """Of the items, the first `home` characters of their files left out."""
    found = hashlib.sha256()
    for item in items:
        files = [str(path)[home:].lstrip("/\\") for path in _files(item)]
        facts = [getattr(item, fact, None) for fact in _FACTS]
        found.update(repr((files, facts)).encode())
    return found.hexdigest()
