"""Cameras on the loopback that show brightness, and a network that reads it."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.live import Live
from pseudo3d.models.network import Network
from pseudo3d.recycle.card import Card
from pseudo3d.watch import feed
from pseudo3d.watch.camera import Camera

LIGHTS = {"dark": 40.0, "light": 200.0}


class Meter(Network):
    """Logits fall with the distance from each class's brightness."""

    def __init__(self) -> None:
        super().__init__()
        values = {"frames": 4, "resize": 16, "size": (16, 16), "scale": 1.0}
        pre = Preprocessing(**values, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.card = Card(
            name="meter",
            config={},
            classes=tuple(LIGHTS),
            preprocessing=pre,
            training={"clip_seconds": 0.4},
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        light = x.mean((1, 2, 3, 4))
        return -((light[:, None] - torch.tensor(list(LIGHTS.values()))) / 30).square()


@pytest.fixture
def live() -> Live:
    """Decides often over windows of 0.4 s."""
    return Live.open(Meter(), every=0.05)


class _Thread:
    """Stands for a process that captures: as quick to start as a thread."""

    exitcode = 0

    def __init__(self, target: Any, args: Any, **about: Any) -> None:
        *rest, messages = args
        own = Connection(os.dup(messages.fileno()), readable=False)  # as a process would have it
        self.thread = threading.Thread(target=target, args=(*rest, own), daemon=True)
        self.start, self.is_alive = self.thread.start, self.thread.is_alive

    def join(self, _: float) -> None:
        self.thread.join(20)

    terminate = kill = None  # a thread has to end by itself

    def close(self) -> None:
        assert not self.thread.is_alive()


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are captured in threads, where nothing depends on the process."""
    made = SimpleNamespace(Process=_Thread, Pipe=multiprocessing.Pipe)
    monkeypatch.setattr(feed, "get_context", lambda _: made)


@pytest.fixture
def scenes() -> Callable[..., Callable[[], Iterator[Any]]]:
    """Makes a film at 25 Hz: (brightness, seconds) one after another."""

    def make(*parts: tuple[float, float]) -> Callable[[], Iterator[Any]]:
        def play() -> Iterator[Any]:
            lights = [light for light, seconds in parts for _ in range(round(25 * seconds))]
            for i, light in enumerate(lights):
                yield i / 25, np.full((48, 64, 3), light, np.uint8)

        return play

    return make


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Camera]]:
    """Starts cameras, and ends them with the test."""
    opened: list[Camera] = []

    def start(film: Any) -> Camera:
        opened.append(Camera(film).__enter__())
        return opened[-1]

    yield start
    for camera in opened:
        camera.__exit__(None, None, None)
