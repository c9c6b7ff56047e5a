"""Clips of several users share a batch; each user gets a turn before another gets a second one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_ROOM = 2  # batches of one job that wait for the network; its decoder waits beyond that


@dataclass(eq=False)
class Lane:
    """The clips of one job."""

    waiting: deque[tuple[Tensor, "asyncio.Future[Tensor]"]] = field(default_factory=deque)
    closed: bool = False


class Batcher:
    """Runs the network in a thread of its own; to be made in a running event loop.

    Args:
        run: probabilities of clips.
        size: clips of a full batch; fewer are run one by one, so that the first is not held up.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], size: int) -> None:
        self.run, self.size = run, size
        self.clips = self.batches = 0  # done so far
        self.lanes: deque[Lane] = deque()
        self._pool = ThreadPoolExecutor(1, "network")
        self._more, self._room = asyncio.Event(), asyncio.Condition()
        self._task = asyncio.create_task(self._serve())

    @property
    def waiting(self) -> int:
        """Clips that wait for the network."""
        return sum(len(lane.waiting) for lane in self.lanes)

    def lane(self) -> Lane:
        """A place for the clips of one job."""
        lane = Lane()
        self.lanes.append(lane)
        return lane

    def close(self, lane: Lane) -> None:
        """Forget a job; clips of it that wait are not looked at."""
        lane.closed = True
        for _, answer in lane.waiting:
            answer.cancel()
        lane.waiting.clear()
        self.lanes.remove(lane)

    async def put(
        self, lane: Lane, clips: Sequence[UInt8[Tensor, "c t h w"]]
    ) -> list["asyncio.Future[Float[Tensor, ' k']]"]:
        """Have clips looked at; waits while too many of the job are in line."""
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in clips]
        async with self._room:
            await self._room.wait_for(lambda: len(lane.waiting) < _ROOM * self.size)
        lane.waiting.extend(zip(clips, answers, strict=True))
        self._more.set()
        return answers

    def _take(self) -> list[tuple[Tensor, "asyncio.Future[Tensor]"]]:
        """A full batch, one clip of each job in turn; one clip where there are fewer."""
        count = self.size if self.waiting >= self.size else 1
        taken: list[tuple[Tensor, asyncio.Future[Tensor]]] = []
        while len(taken) < count and any(lane.waiting for lane in self.lanes):
            lane = self.lanes[0]
            if lane.waiting:
                taken.append(lane.waiting.popleft())
            self.lanes.rotate(-1)
        return taken

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            taken = self._take()
            if not taken:
                self._more.clear()
                continue
            clips = torch.stack([clip for clip, _ in taken])
            try:
                found = await loop.run_in_executor(self._pool, self.run, clips)
            except Exception as err:  # it is raised again where the answers are taken
                for _, answer in taken:
                    if not answer.done():
                        answer.set_exception(err)
                continue
            finally:
                async with self._room:
                    self._room.notify_all()
            self.clips += len(taken)
            self.batches += 1
            for (_, answer), probs in zip(taken, found, strict=True):
                if not answer.done():
                    answer.set_result(probs)

    async def end(self) -> None:
        """Stop; what still waits is not answered."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown(cancel_futures=True)
