"""A few very small videos, a network for them, and an engine that works right here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.conftest import film
from engine.conftest import films as films
from engine.conftest import listed as listed
from pseudo3d.cluster.eyes import look
from pseudo3d.cluster.job import Job, make_job
from pseudo3d.cluster.worker import Worker
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.models import create_model
from pseudo3d.weights import save

PRE = Preprocessing(frames=3, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)


class Here:
    """Does partitions in this process; `after` ends it like a machine that is switched off."""

    workers = 1

    def __init__(self, after: int | None = None, error: BaseException | None = None) -> None:
        self.after, self.error = after, error or KeyboardInterrupt()
        self.looks = 0

    def run(self, ticket: Any, parts: Any, heard: Any, seen: Any) -> None:
        def one(row: dict[str, Any], data: bytes | None) -> dict[str, Any]:
            if self.looks == self.after:
                raise self.error
            self.looks += 1
            return look(dict(ticket.job), row, row["name"], data)

        for part in parts:
            heard(Worker(ticket, look=one).do(part, seen))

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of seven videos and one that is none."""
    home = tmp_path_factory.mktemp("clips")
    for i in range(7):
        film(home / f"v{i}.mp4", 30.0 + 30 * i, seed=i, frames=6 + i)
    (home / "v7.mp4").write_bytes(b"no video at all" * 40)
    return home


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells three labels apart, in its own way."""
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=3)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save(net, path, classes=("bright", "dark", "middle"), preprocessing=PRE)
    return path


@pytest.fixture(scope="session")
def job(weights: Path) -> Callable[..., Job]:
    """Makes a job with these weights."""

    def make(task: Any = "predict", **options: Any) -> Job:
        return make_job(task, weights, **options)

    return make
