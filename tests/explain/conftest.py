"""Videos that get brighter or darker, and networks that are known to mind order or not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.models.network import Network
from pseudo3d.weights import Card

CLASSES = ("down", "up")


@pytest.fixture(scope="session")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.csv of 24 videos: each ramp of brightness upward once, once downward."""
    home = tmp_path_factory.mktemp("ramps")
    rows = ["path,label,group,split"]
    rng = torch.Generator().manual_seed(0)
    for i in range(12):
        start = 20 + 10 * i
        ramp = torch.linspace(start, start + 80, 12).view(1, 12, 1, 1)
        film = ramp + 6 * torch.randn(3, 12, 18, 22, generator=rng)
        for label, frames in (("up", film), ("down", film.flip(1))):
            write_video(home / f"{label}{i}.mp4", frames.clamp(0, 255).byte(), fps=10)
            rows.append(f"{label}{i}.mp4,{label},g{i % 3},{'test' if i % 3 == 2 else 'train'}")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n")
    return home / "manifest.csv"


@pytest.fixture(scope="session")
def films(ramps: Path) -> Manifest:
    """The 24 videos."""
    return read_manifest(ramps)


class Judged(Network):
    """Answers by a function of the clip (N, C, T, H, W) that gives one number for each clip."""

    def __init__(self, upward: Callable[[torch.Tensor], torch.Tensor], **pre: Any) -> None:
        super().__init__()
        values = {"frames": 8, "resize": 18, "size": (16, 16), "scale": 1.0, **pre}
        gray = values.get("color") == "gray"
        channels = 1 if gray else 3
        values = {"mean": (0.0,) * channels, "std": (1.0,) * channels, **values}
        card = {"name": "judged", "config": {}, "classes": CLASSES}
        self.card = Card(**card, preprocessing=Preprocessing(**values))
        self.upward, self.seen = upward, 0
        self.eval()  # what is in training is copied

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        up = self.upward(x) / 10
        return torch.stack([-up, up], dim=1)


def later_minus_earlier(x: torch.Tensor) -> torch.Tensor:
    """How much brighter the second half is than the first."""
    half = x.shape[2] // 2
    return x[:, :3, half:].mean((1, 2, 3, 4)) - x[:, :3, :half].mean((1, 2, 3, 4))


def mean_frame(x: torch.Tensor) -> torch.Tensor:
    """Brightness of the mean frame."""
    return x.mean((1, 2, 3, 4)) - 115


@pytest.fixture
def minds_order() -> Judged:
    """Right about every ramp, wrong about every ramp that is shown backwards."""
    return Judged(later_minus_earlier)


@pytest.fixture
def minds_no_order() -> Judged:
    """Knows the mean frame only, which a ramp and its reversal share."""
    return Judged(mean_frame)


@pytest.fixture
def judged() -> type[Judged]:
    """Makes a network of a function."""
    return Judged
