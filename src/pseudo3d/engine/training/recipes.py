"""How to train: the paper's recipes by name, and one that a CPU finishes in minutes.

A recipe is data. `p3d train --recipe NAME` takes one, every field can be set beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from pseudo3d.data.transforms import Augment
from pseudo3d.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimizer, schedule, regularization and input of one training run."""

    epochs: int = 30
    steps: int | None = None  # optimizer steps; takes the place of `epochs`
    batch: int = 16  # clips
    accumulate: int = 1  # batches per optimizer step
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.05
    head_lr: float = 1.0  # times `lr`
    head_bias_lr: float = 1.0  # times `head_lr`
    schedule: Literal["cosine", "step"] = "cosine"
    warmup: float = 0.15  # share of the steps
    step_every: int = 0  # "step": divide the rate by ten every so many optimizer steps
    clip_norm: float = 5.0  # gradient norm; 0 switches clipping off
    label_smoothing: float = 0.1
    distill: float = 0.7  # share of the teacher in the loss, where there is one
    temperature: float = 3.0  # softens what the teacher says
    dropout: float | None = None  # None: the model's own
    freeze_norm: bool = False  # every batch norm but the first keeps its statistics and scale
    ema: float = 0.05  # weights are averaged over this share of the run; 0 switches it off
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where it is fast
    checkpointing: bool = False  # compute blocks twice instead of keeping what is inside them
    patience: int = 0  # epochs without a better validation score; 0 never stops early
    augment: Augment = field(default_factory=Augment)
    random_crop: bool = False
    least_span: float = 0.75
    input: Mapping[str, Any] = field(default_factory=dict)  # fields of Preprocessing

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch": 1, "accumulate": 1, "lr": 0, "clip_norm": 0, "patience": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted at least {low}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps!r}; wanted at least 1")
        if self.schedule == "step" and self.step_every < 1:
            raise ValueError("schedule 'step' needs step_every, the steps between two divisions")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}; wanted 'auto', 'fp32' or 'bf16'")
        if not 0 < self.distill <= 1 or self.temperature <= 0:
            raise ValueError(
                f"distill is {self.distill!r}, temperature {self.temperature!r}; wanted "
                "0 < distill <= 1 and a temperature above 0"
            )
        for name in ("ema", "label_smoothing", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted 0 <= {name} < 1")

    def but(self, **changes: Any) -> "Recipe":
        """This recipe with other values.

        Raises:
            TypeError: no such field.
        """
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(unknown("recipe field", name, known))
        return replace(self, **changes)


_PAPER_INPUT = {  # section 4.1: 16 consecutive frames of 182 x 242, cut to 160 x 160
    "frames": 16,
    "sampling": "dense",
    "step": 1,
    "resize": 182,
    "size": (160, 160),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_PAPER = Recipe(
    optimizer="sgd",
    lr=1e-3,
    weight_decay=5e-4,
    head_lr=10.0,  # as in the released network files, which give its bias 20
    head_bias_lr=2.0,
    schedule="step",
    step_every=3_000,
    warmup=0.0,
    batch=16,
    accumulate=8,  # 128 clips a step
    clip_norm=0.0,
    label_smoothing=0.0,
    freeze_norm=True,
    ema=0.0,
    precision="fp32",
    augment=Augment(flip=True),  # the paper's sets do not tell left from right
    random_crop=True,
    input=_PAPER_INPUT,
)

RECIPES: dict[str, Recipe] = {
    # Small sets on a CPU: whole actions at low resolution, averaged weights.
    "cpu": Recipe(
        augment=Augment(rotate=10, zoom=(0.85, 1.15), shift=0.08, brightness=0.25),
        input={"frames": 16, "sampling": "uniform", "resize": 72, "size": (64, 64)},
    ),
    # Qiu, Yao, Mei 2017, section 4.2: fine-tuning on UCF101 from an ImageNet ResNet-50.
    "ucf101": _PAPER.but(steps=7_500, dropout=0.9),
    # The same, section 5: Sports-1M from an ImageNet ResNet-152.
    "sports1m": _PAPER.but(steps=150_000, step_every=60_000, dropout=0.1),
    # The first author's code of 2021: Kinetics from an ImageNet ResNet, 256 clips a step.
    "kinetics": Recipe(
        optimizer="sgd",
        lr=0.04,
        weight_decay=1e-4,
        epochs=128,
        warmup=1 / 128,
        batch=16,
        accumulate=16,
        clip_norm=40.0,
        label_smoothing=0.0,
        dropout=0.5,
        ema=0.0,
        precision="fp32",
        augment=Augment(flip=True),
        random_crop=True,
        input={**_PAPER_INPUT, "resize": 256, "size": (224, 224)},
    ),
}


def recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        ValueError: no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return RECIPES[name]
