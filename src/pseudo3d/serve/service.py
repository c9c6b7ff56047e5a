"""The service behind the routes: its network, decoders and queue, and one upload's way through."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pseudo3d.engine.predict import Prediction
from pseudo3d.serve.answers import Seen
from pseudo3d.serve.batching import Batcher
from pseudo3d.serve.cameras import Cameras
from pseudo3d.serve.decoders import Decoders
from pseudo3d.serve.films import Film, Reader, Window
from pseudo3d.serve.metrics import Metrics
from pseudo3d.serve.model import Model
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Settings
from pseudo3d.serve.upload import Folder, Upload


class Service:
    """Everything that lives as long as the service; started and ended in its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.model = Model(settings)
        self.inside = 0
        self.usual = 1.0  # s that a request took lately
        self.threads = ThreadPoolExecutor(1, "aside")  # explanations and features
        self.cameras = Cameras(settings)
        self.extractors: dict[str, Any] = {}
        self.started = False  # whether uploads can be taken
        self.first: dict[str, Any] = {}  # what decoders are told
        self.folder: Folder
        self.decoders: Decoders
        self.batcher: Batcher
        self.reader: Reader
        self._loading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load in the background; leave nothing behind."""
        self.folder = Folder()
        self._loading = asyncio.create_task(self._load())
        try:
            yield
        finally:
            await self._end()

    async def _load(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self.threads, self.model.load)
        if self.model.error is not None:
            return
        how = self.settings
        card = self.model.check_ready()
        first = {
            "input": self.model.input,
            **self.model.unchanged().facts,
            "preprocessing": card.preprocessing.to_dict(),
            "trained": list(self.model.trained),
            "window": how.window,
            "hop": how.hop,
            "limits": asdict(how.limits),
        }
        self.first = first
        self.batcher = Batcher(self.model, how.batch)
        self.decoders = Decoders(first, how.decoders, how.limits.decode_seconds)
        pre = card.preprocessing if self.model.input == "video" else None
        self.reader = Reader(self.decoders, pre)
        try:
            await self.decoders.pids()
        except Problem:
            self.model.error = "the processes that decode do not start; see the service's log"
            return
        self.started = True

    async def _end(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if hasattr(self, "decoders"):
            await self.decoders.close()
            await self.batcher.end()
        await self.cameras.close()
        self.threads.shutdown(cancel_futures=True)
        self.folder.remove()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue, from the first byte of an upload to its answer.

        Raises:
            Problem: all are taken, or the network is not ready.
        """
        self.model.check_ready()
        if not self.started:
            raise Problem("not_ready", "the service is starting; try again", retry=1)
        if self.inside >= self.settings.queue:
            wait = math.ceil(self.inside * self.usual / self.settings.decoders)
            raise Problem(
                "busy",
                f"{self.inside} requests are being answered, no more fit in the queue; try again",
                retry=min(max(wait, 1), 60),
            )
        self.inside += 1
        began = monotonic()
        try:
            yield
            self.usual += 0.1 * (monotonic() - began - self.usual)
        finally:
            self.inside -= 1

    async def look(
        self,
        upload: Upload,
        keep: Callable[[Window], None] | None = None,
        *,
        fine: bool = False,
    ) -> Seen:
        """What the network sees in a video.

        Args:
            keep: is shown every window.
            fine: in windows also where the video is no longer than one.
        Raises:
            Problem: the file cannot be read, or goes beyond a limit.
        """
        probs: list[asyncio.Future[Tensor]] = []
        counts: list[int] = []
        lane = self.batcher.lane()

        async def use(window: Window) -> None:
            if keep is not None:
                keep(window)
            probs.extend(await self.batcher.put(lane, list(window.clips)))
            counts.append(len(window.clips))

        def anew() -> None:
            probs.clear()
            counts.clear()

        try:
            film = await self.reader.cut(upload, use, anew, fine=fine)
            found = torch.stack(await asyncio.gather(*probs))
        finally:
            self.batcher.close(lane)
        rows = [part.mean(0).numpy() for part in torch.split_with_sizes(found, counts)]
        return _seen(upload.name, tuple(self.model.check_ready().classes or ()), film, rows)

    def state(self) -> dict[str, tuple[str, str, float]]:
        """For /metrics."""
        found: dict[str, tuple[str, str, float]] = {
            "ready": ("gauge", "Whether the network is loaded.", float(self.model.ready)),
            "requests_inside": ("gauge", "Requests in the queue.", float(self.inside)),
            "streams": ("gauge", "Cameras connected.", float(self.cameras.connected)),
        }
        if self.started:
            found |= {
                "decoders_busy": ("gauge", "Decoders at work.", float(self.decoders.busy)),
                "decoders_replaced_total": (
                    "counter", "Decoders that ended and were replaced.",
                    float(self.decoders.replaced),
                ),
                "clips_waiting": ("gauge", "Clips in line.", float(self.batcher.waiting)),
                "clips_total": ("counter", "Clips looked at.", float(self.batcher.clips)),
                "batches_total": ("counter", "Runs of the network.", float(self.batcher.batches)),
            }  # fmt: skip
        return found


def _seen(source: str, classes: tuple[str, ...], film: Film, rows: list[np.ndarray]) -> Seen:
    """What is told of a video, with a row of probabilities for each window."""
    starts, ends = np.array(film.spans, dtype=np.float64).T
    prediction = Prediction(
        source=source,
        classes=classes,
        starts=starts,
        ends=ends,
        window_probs=np.stack(rows),
        problem=film.problem,
    )
    return Seen(
        prediction=prediction,
        duration=film.duration,
        fps=film.fps,
        frames=film.frames,
        width=film.width,
        height=film.height,
    )
