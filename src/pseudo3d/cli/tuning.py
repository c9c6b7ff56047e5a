"""Fine-tune a network that was cut down: as it was trained, but shorter and slower."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cli.common import note

if TYPE_CHECKING:
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.engine.training.job import Job, Parts
    from pseudo3d.engine.training.recipes import Recipe
    from pseudo3d.models.network import Network

_SLOWER = 0.01  # of the learning rate of the training; a tenth loses points (guides/factorize.md)


def shorter(
    net: "Network", pre: Any, epochs: int, lr: float | None, changes: dict[str, Any]
) -> "Recipe":
    """The recipe the network was trained with, slower and shorter; `cpu` if it does not say.

    Raises:
        Pseudo3dError: a change is text for a switch or a number.
        TypeError: no such field.
    """
    from dataclasses import fields

    from pseudo3d.data.transforms import Augment
    from pseudo3d.engine.training.recipes import Recipe, recipe
    from pseudo3d.values import refuse_text

    refuse_text(Recipe, changes)
    how, told = recipe("cpu"), net.card.training.get("recipe")
    if told is not None:
        names = {f.name for f in fields(Recipe)} - {"augment", "input"}
        lit: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in told["augment"].items()
        }
        how = Recipe(**{k: told[k] for k in names & set(told)}, augment=Augment(**lit))
    given: dict[str, Any] = {
        "epochs": epochs,
        "steps": None,
        "lr": _SLOWER * how.lr if lr is None else lr,
        "schedule": "cosine",
        "patience": 0,
        "input": {f.name: getattr(pre, f.name) for f in fields(pre)},
    }
    return how.but(**{**given, **changes})


def tune(net: "Network", parts: "Parts", store: "FrameStore", job: "Job") -> Path:
    """Fine-tune on the train part; a finished run is not repeated, an interrupted one goes on."""
    from dataclasses import replace

    from pseudo3d.cli.bars import TrainingBar
    from pseudo3d.engine.training.train import WEIGHTS, train
    from pseudo3d.engine.training.trainer import LAST

    resume = (job.out / LAST).exists()
    if (job.out / WEIGHTS).is_file() and not resume:
        return job.out / WEIGHTS
    note(f"{'resuming' if resume else 'fine-tuning'}: {job.recipe.epochs} epochs")
    return train(net, parts, store, replace(job, resume=resume), [TrainingBar()])
