"""How to train on scans: what a clip's recipe says, with the third axis and masks put in."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.volumes.augment import VolumeAugment
from pseudo3d.engine.volumes.losses import MaskLoss
from pseudo3d.errors import unknown

Keep = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class VolumeRecipe(Recipe):
    """A recipe for scans; `input` holds fields of `ScanPreprocessing`."""

    augment: VolumeAugment = field(default_factory=VolumeAugment)
    keep: Keep = "best"  # the epoch with the best validation score, where one is watched
    loss: MaskLoss = "dice_ce"  # masks only
    near: float = 0.5  # masks only: share of the patches that lie around a label
    patches: int = 1  # masks only: how often an epoch visits every scan
    margin: float = 1.0  # patches: how much larger than `size` they are read, to be turned

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep is {self.keep!r}; wanted 'best' or 'last'")
        if self.loss not in get_args(MaskLoss):
            raise ValueError(
                f"loss is {self.loss!r}; wanted one of {', '.join(get_args(MaskLoss))}"
            )
        if not 0 <= self.near <= 1:
            raise ValueError(f"near is {self.near!r}; wanted 0 <= near <= 1")
        if self.patches < 1 or self.margin < 1:
            raise ValueError(
                f"patches is {self.patches!r}, margin {self.margin!r}; wanted 1 or more"
            )
        for name in ("random_crop", "patience"):
            if getattr(self, name):
                raise ValueError(f"{name} is for clips; scans have patches, and keep='best'")

    def but(self, **changes: Any) -> "VolumeRecipe":
        """This recipe with other values.

        Raises:
            TypeError: no such field.
        """
        super().but(**changes)  # says what is unknown
        return replace(self, **changes)


_SHAPE = VolumeAugment(
    rotate=20,
    tilt=20,
    zoom=(0.85, 1.15),
    stretch=0.15,
    shift=0.08,
    flip=True,
    flip_height=True,
    flip_depth=True,
    brightness=0.3,
)
RECIPES: dict[str, VolumeRecipe] = {
    # Small crops on a CPU, such as MedMNIST: one cut around the middle, everything turned.
    "volume": VolumeRecipe(
        epochs=30, batch=32, lr=3e-3, ema=0.05, augment=_SHAPE, input={"view": "whole"}
    ),
    # Classes that tell left from right, or up from down: nothing is mirrored.
    "sides": VolumeRecipe(
        epochs=30,
        batch=32,
        lr=3e-3,
        augment=replace(_SHAPE, flip=False, flip_height=False, flip_depth=False),
        input={"view": "whole"},
    ),
    # Masks: patches, Dice and cross-entropy.
    "segment": VolumeRecipe(
        epochs=40,
        batch=4,
        lr=3e-3,
        label_smoothing=0.0,
        margin=1.15,
        augment=VolumeAugment(
            rotate=15,
            tilt=8,
            zoom=(0.85, 1.2),
            shift=0.03,
            brightness=0.1,
            contrast=0.15,
            noise=0.1,
            field=0.15,
        ),
        input={"view": "patch", "window": "auto"},
    ),
}
RECIPES["lesions"] = RECIPES["segment"].but(loss="tversky_focal", near=0.67)


def volume_recipe(name: str) -> VolumeRecipe:
    """A recipe for scans by name.

    Raises:
        ValueError: no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(unknown("recipe for scans", name, RECIPES))
    return RECIPES[name]
