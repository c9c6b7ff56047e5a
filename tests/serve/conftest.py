"""A tiny network, a few films, and one service that most tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.models import create_model
from pseudo3d.weights import save

if TYPE_CHECKING:
    from serve.serving import Running


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with weights as drawn, whose answers differ from film to film."""
    torch.manual_seed(3)
    net = create_model("p3d_nano", widths=(8, 8, 16, 16), stem_width=8, num_classes=4).eval()
    with torch.no_grad():
        net.head.weight.mul_(8)
    path = tmp_path_factory.mktemp("net") / "weights.safetensors"
    pre = Preprocessing(frames=6, resize=30, size=(24, 24), mean=(0.4,) * 3, std=(0.3,) * 3)
    training = {"clip_seconds": 1.5, "longest_seconds": 2.0, "items": 8}
    scores = {"video_hit@1": 0.5, "protocol": "4 videos, 1 view"}
    classes = ("up", "down", "left", "right")
    save(net, path, classes=classes, preprocessing=pre, training=training, scores=scores)
    return path


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Short ones, and a long one that is cut into windows."""
    from serve.serving import film

    home = tmp_path_factory.mktemp("films")
    lengths = (20, 20, 14, 60)
    return [film(home / f"f{i}.mp4", i, n) for i, n in enumerate(lengths)]


@pytest.fixture(scope="session")
def running(weights: Path) -> Iterator["Running"]:
    """A service with small limits."""
    from pseudo3d.serve.settings import Limits, Settings
    from serve.serving import serving

    limits = Limits(upload_bytes=2_000_000, seconds=20, frames=600, pixels=1_000_000)
    with serving(Settings(weights=weights, port=0, limits=limits, idle=2.0, decoders=1)) as found:
        yield found
