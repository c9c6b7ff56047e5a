"""Miniature sets, rendered once a session, and tiny networks with random weights."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.models import create_model
from pseudo3d.models.network import Network
from pseudo3d.protocols.miniature import write_miniature
from pseudo3d.weights import Card, save

PRE = {"frames": 4, "sampling": "dense", "resize": 32, "size": (32, 32), "scale": 255.0}


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Root of the miniature copy of a set."""

    @cache
    def make(name: str) -> Path:
        return write_miniature(name, tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(scope="session")
def net() -> Callable[..., Network]:
    """A tiny network of random weights with these classes."""

    @cache
    def make(*classes: str, color: str = "rgb", seed: int = 0) -> Network:
        channels = 2 if color == "flow" else 3
        torch.manual_seed(seed)
        made = create_model(
            "p3d_nano",
            widths=(4, 8, 8, 8),
            stem_width=4,
            in_channels=channels,
            num_classes=len(classes),
        ).eval()
        with torch.no_grad():  # or all answers are alike
            made.head.weight.mul_(30)
        values: dict[str, Any] = {**PRE, "color": color}
        pre = Preprocessing(**values, mean=(0.4,) * channels, std=(0.2,) * channels)
        made.card = Card(name="p3d_nano", config={}, classes=classes, preprocessing=pre)
        return made

    return make


@pytest.fixture(scope="session")
def weights(
    tmp_path_factory: pytest.TempPathFactory, net: Callable[..., Network]
) -> Callable[..., Path]:
    """The same as a file."""

    @cache
    def make(*classes: str, seed: int = 0) -> Path:
        made = net(*classes, seed=seed)
        path = tmp_path_factory.mktemp("weights") / f"{seed}.safetensors"
        save(made, path, classes=classes, preprocessing=made.card.preprocessing)
        return path

    return make
