"""A recipe with everything random that there is."""

from pseudo3d.data.transforms import Augment
from pseudo3d.engine.training.recipes import Recipe

LIVELY = Recipe(
    epochs=3,
    batch=4,
    accumulate=2,
    lr=5e-3,
    dropout=0.3,
    ema=0.5,
    precision="fp32",
    augment=Augment(rotate=10, zoom=(0.8, 1.2), shift=0.1, brightness=0.2, flip=True),
    input={"frames": 3, "sampling": "uniform", "resize": 18, "size": (16, 16)},
)
