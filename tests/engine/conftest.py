"""A few very small videos, a network that fits them, and one run of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import Augment
from pseudo3d.data.writer import write_video
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.train import train
from pseudo3d.models import create_model
from pseudo3d.models.network import Network
from pseudo3d.weights import Card

LIGHTS = {"bright": 210, "dark": 40, "middle": 125}
GROUPS = ("a", "b", "c", "d")


def film(path: Path, light: float, seed: int, frames: int = 10) -> None:
    """Write 18 x 22 pixels of one brightness with noise, at 10 Hz."""
    noise = torch.randn(3, frames, 18, 22, generator=torch.Generator().manual_seed(seed))
    write_video(path, (light + 12 * noise).clamp(0, 255).byte(), fps=10)


@pytest.fixture(scope="session")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.csv of 24 videos: 3 classes, 4 groups, the last one the test part."""
    home = tmp_path_factory.mktemp("films")
    rows = ["path,label,group,split"]
    for i, (label, light) in enumerate(LIGHTS.items()):
        for j, group in enumerate(GROUPS):
            for k in range(2):
                name = f"{label}_{group}{k}.mp4"
                film(home / name, light + 8 * (j - 1.5), 8 * i + 2 * j + k, frames=9 + k)
                rows.append(f"{name},{label},{group},{'test' if group == 'd' else 'train'}")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n")
    return home / "manifest.csv"


@pytest.fixture(scope="session")
def films(listed: Path) -> Manifest:
    """The 24 videos."""
    return read_manifest(listed)


@pytest.fixture(scope="session")
def parts(films: Manifest) -> Parts:
    """18 videos to train on, 6 to watch."""
    return Parts(train=films.split("train"), val=films.split("test"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Frames kept on disk for all tests."""
    return FrameStore(resize=18, folder=tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="session")
def small() -> Recipe:
    """Two passes in float32, every value given."""
    return Recipe(
        epochs=2,
        batch=6,
        lr=3e-3,
        warmup=0.2,
        clip_norm=5.0,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
        augment=Augment(shift=0.05),
        input={"frames": 4, "sampling": "uniform", "resize": 18, "size": (16, 16)},
    )


@pytest.fixture(scope="session")
def fresh() -> Callable[..., Network]:
    """Makes a tiny P3D; the same seed gives the same weights."""

    def make(seed: int = 0, classes: int = 3) -> Network:
        torch.manual_seed(seed)
        return create_model(
            "p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=classes, dropout=0.1
        )

    return make


class LightMeter(Network):
    """Knows each class by its brightness: logits fall with the square of the distance to it."""

    def __init__(self, lights: dict[str, float], pre: Preprocessing, training: dict) -> None:
        super().__init__()
        self.lights = torch.tensor(list(lights.values()))
        self.card = Card(
            name="meter",
            config={},
            classes=tuple(lights),
            preprocessing=pre,
            training=training,
        )
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        light = x.mean((1, 2, 3, 4))
        return -((light[:, None] - self.lights) / 20).square()


@pytest.fixture(scope="session")
def meter() -> Callable[..., LightMeter]:
    """Makes a network that measures brightness in bytes."""

    def make(lights: dict[str, float], *, training: dict | None = None, **pre: Any) -> LightMeter:
        values = {"frames": 1, "resize": 16, "size": (16, 16), "scale": 1.0, **pre}
        values = {"mean": (0.0,) * 3, "std": (1.0,) * 3, **values}
        return LightMeter(lights, Preprocessing(**values), training or {}).eval()

    return make


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    parts: Parts,
    store: FrameStore,
    small: Recipe,
    fresh: Callable[..., Network],
) -> Path:
    """Folder of a run that has learned to tell the videos apart."""
    out = tmp_path_factory.mktemp("run") / "trained"
    train(fresh(), parts, store, Job(recipe=small.but(epochs=16, lr=2e-2), out=out))
    return out
