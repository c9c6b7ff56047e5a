"""What a training run is asked for: how, where, and on which items."""

from dataclasses import dataclass, field
from pathlib import Path

from pseudo3d.data.manifest import Manifest
from pseudo3d.engine.training.distributed import Spread
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.errors import ManifestError


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
