"""The largest batch that memory holds."""

import json
from dataclasses import replace
from pathlib import Path

from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.trainer import in_bfloat16
from pseudo3d.models.memory import Precision, forecast, largest_batch
from pseudo3d.models.network import Network


def fit_batch(recipe: Recipe, net: Network, room: int, ranks: int = 1) -> Recipe:
    """The recipe with the largest batch that `room` bytes hold, and as many clips per step as it.

    A batch is a part of the recipe's clips per optimizer step; the rest is accumulated. `ranks`
    processes share it, each of which has so much room.

    Raises:
        Pseudo3dError: even one clip needs more.
    """
    h, w = recipe.input["size"]
    states = (2 if recipe.optimizer == "adamw" else 1) + bool(recipe.ema)

    def need(batch: int) -> int:
        frames, side = recipe.input["frames"], round((h * w) ** 0.5)
        precision: Precision = "bf16" if in_bfloat16(recipe) else "fp32"
        doubled = recipe.checkpointing
        return forecast(
            net, -(-batch // ranks), frames, side, precision, checkpointing=doubled, states=states
        ).total

    clips = recipe.batch * recipe.accumulate
    batch = largest_batch(need, clips, room)
    return recipe.but(batch=batch, accumulate=clips // batch)


def batch_of_run(recipe: Recipe, run: Path) -> Recipe:
    """The recipe with the batch that an interrupted run was begun with."""
    begun = json.loads(run.read_text())["recipe"]
    return replace(recipe, batch=begun["batch"], accumulate=begun["accumulate"])
