"""What cameras need: the network on streams, and a decoder for their pictures."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from pseudo3d.serve.decoders import Decoders
from pseudo3d.serve.original import Original
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Settings
from pseudo3d.serve.wire import Gone

if TYPE_CHECKING:
    from pseudo3d.engine.live import Live

_PICTURE = 10.0  # s that opening a camera's frame may take
_TRIES = 2  # decoders that may end over one frame


class Cameras:
    """Made ready when the first camera comes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connected = 0
        self.pool = ThreadPoolExecutor(1, "cameras")
        self._decoders: Decoders | None = None
        self._live: asyncio.Task[Live] | None = None

    async def live(self, first: dict[str, Any]) -> "Live":
        """The network on cameras.

        Args:
            first: what decoders are told at their start.
        Raises:
            Problem: the weights file was changed since.
        """
        if self._decoders is None:
            self._decoders = Decoders({**first, "input": "picture"}, 1, _PICTURE)
        if self._live is None or (self._live.done() and self._live.exception()):
            self._live = asyncio.create_task(self._open_live(Original.told(first)))
        return await asyncio.shield(self._live)

    async def _open_live(self, original: Original) -> "Live":
        from pseudo3d.engine.live import Live

        how = self.settings
        open_it = partial(
            Live.open,
            how.weights,
            runtime=how.runtime,
            precision=how.precision,
            threads=how.threads,
        )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, original.read, open_it)

    async def picture(self, data: bytes) -> UInt8[np.ndarray, "h w 3"]:
        """A camera's frame, decoded where a bad one does no harm.

        Raises:
            Problem: it is no picture, or too large.
        """
        for _ in range(_TRIES):
            if self._decoders is None:
                break
            with suppress(Gone):
                async with aclosing(self._decoders.run({"type": "picture"}, data)) as messages:
                    async for message in messages:
                        height, width = (int(n) for n in message.facts["shape"][:2])
                        pixels = np.frombuffer(bytearray(message.data), dtype=np.uint8)
                        return pixels.reshape(height, width, 3)
        raise Problem("unreadable", "the decoder ended twice over a frame; send JPEG")

    async def close(self) -> None:
        """End its decoder."""
        if self._decoders is not None:
            await self._decoders.close()
        self.pool.shutdown(cancel_futures=True)
