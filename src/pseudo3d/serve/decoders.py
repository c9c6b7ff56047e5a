"""The decoders of a service: lent to one job at a time, called off, replaced when they end."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from time import monotonic
from typing import Any

from pseudo3d.data.isolation.isolated import environment
from pseudo3d.serve.problems import INTERNAL, STATUS, Problem
from pseudo3d.serve.wire import Gone, Message, pack, receive

_START = 120.0  # s that a process may take to import its libraries on a busy machine
_STARTS = 3  # that may fail in a row before those who wait are told
_NOTICE = 0.01  # s between two looks at whether an end has been noticed
_STOP = 2.0  # s to leave a job that was called off
_MOST = 2**28  # bytes of one message
_LIMIT = 2**22  # bytes waiting in a pipe's buffer
_LAST = ("end", "error", "off", "picture")  # types of the message that ends a job
_TOLD = 2000  # letters of an error
_JOBS = 500  # after which a decoder is replaced: libraries of video leak


class Child:
    """One process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.jobs = 0

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return self.process.returncode is None

    @classmethod
    async def start(cls, first: dict[str, Any]) -> "Child":
        """Start a process and wait until it is ready.

        Raises:
            Gone: it does not come up.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "pseudo3d.serve.child",
            stdin=PIPE, stdout=PIPE, env=environment() | {"P3D_DECODER": "1"}, limit=_LIMIT,
            start_new_session=True,
        )  # fmt: skip
        child = cls(process)
        try:
            await child.send(Message(first))
            async with asyncio.timeout(_START):
                await child.receive()
        except BaseException as err:
            await child.kill()
            if isinstance(err, TimeoutError):
                raise Gone from err
            raise
        return child

    async def send(self, message: Message) -> None:
        """Pass a message to it.

        Raises:
            Gone: it has ended.
        """
        if (pipe := self.process.stdin) is None:
            raise Gone
        try:
            pipe.write(pack(message))
            await pipe.drain()
        except (BrokenPipeError, ConnectionResetError) as err:
            raise Gone from err

    async def receive(self) -> Message:
        """The next message from it."""
        if self.process.stdout is None:
            raise Gone
        return await receive(self.process.stdout, _MOST)

    async def kill(self) -> None:
        """End it, whatever it does."""
        self._signal(signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()

    def _signal(self, number: int) -> None:
        """Directly: the way through `process` takes its end away from whoever waits for it."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def call_off(self, job: int) -> None:
        """Have it leave a job; end it if it does not."""
        self._signal(signal.SIGUSR1)
        try:
            async with asyncio.timeout(_STOP):
                while True:
                    facts = (await self.receive()).facts
                    if facts.get("job") == job and facts.get("type") in _LAST:
                        return
        except (TimeoutError, Gone, Problem):
            await self.kill()


class _Slot:
    """A place that always holds a running decoder, or one that is starting."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.first = first
        self.replaced = 0
        self.current: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self.keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Start a process, wait for its end, start the next one."""
        failed = 0
        while True:
            try:
                child = await Child.start(self.first)
            except (Gone, OSError, Problem):
                failed += 1
                if failed < _STARTS:  # killed while it started
                    continue
                self.current.set_exception(Problem("internal", INTERNAL))
                self.current.exception()  # seen: nobody may be waiting for it
                await asyncio.sleep(min(2.0**failed, 30.0))
            else:
                failed = 0
                self.current.set_result(child)
                try:
                    await child.process.wait()
                finally:
                    await child.kill()
                self.replaced += 1
            self.current = asyncio.get_running_loop().create_future()

    @property
    def ready(self) -> bool:
        """Whether its process can take a job at once."""
        done = self.current.done() and not self.current.cancelled()
        return done and self.current.exception() is None and self.current.result().alive

    async def child(self) -> Child:
        """The running process, once it is ready."""
        while not (child := await asyncio.shield(self.current)).alive:
            await asyncio.sleep(_NOTICE)
        return child

    async def close(self) -> None:
        self.keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self.keeper
        self.current.cancel()


class Decoders:
    """Processes that read untrusted files; to be made in a running event loop.

    Args:
        first: what each is told at its start.
        count: how many there are.
        seconds: that a job may keep the service waiting.
    """

    def __init__(self, first: dict[str, Any], count: int, seconds: float) -> None:
        self.seconds = seconds
        self.busy = 0
        self._slots = [_Slot(first) for _ in range(count)]
        self._free: asyncio.Queue[_Slot] = asyncio.Queue()
        self._settling: set[asyncio.Task[None]] = set()
        self._jobs = 0
        for slot in self._slots:
            self._free.put_nowait(slot)

    @property
    def replaced(self) -> int:
        """How many processes have ended and been replaced."""
        return sum(slot.replaced for slot in self._slots)

    async def pids(self) -> list[int]:
        """Process numbers, once all run."""
        return [(await slot.child()).process.pid for slot in self._slots]

    async def run(self, facts: dict[str, Any], data: bytes = b"") -> AsyncGenerator[Message]:
        """Have a decoder do a job; gives its messages, without the last one's mark of the end.

        Leaving early calls the job off; the next job does not wait for that.

        Raises:
            Problem: what is wrong with the file, or that it takes too long.
            Gone: the decoder has ended in the middle.
        """
        self._jobs += 1
        job, slot = self._jobs, await self._take()
        child: Child | None = None
        over = False
        self.busy += 1
        try:
            child = await slot.child()
            await child.send(Message({**facts, "job": job}, data))
            left = self.seconds
            while not over:
                began = monotonic()
                message = await self._next(child, job, left)
                left -= monotonic() - began
                over = message.facts.get("type") in _LAST
                if over and not message.facts.get("fit"):
                    child.jobs = _JOBS  # it ends after this one
                if message.facts.get("type") == "error":
                    raise _problem(message.facts)
                yield message
        finally:
            self.busy -= 1
            settle = asyncio.create_task(self._settle(slot, child, job, over))
            self._settling.add(settle)
            settle.add_done_callback(self._settling.discard)

    async def _take(self) -> _Slot:
        """A free place, one with a running process if there is any."""
        slot = await self._free.get()
        for _ in range(self._free.qsize()):
            if slot.ready:
                break
            self._free.put_nowait(slot)
            slot = self._free.get_nowait()
        return slot

    async def _next(self, child: Child, job: int, left: float) -> Message:
        try:
            async with asyncio.timeout(left):
                while True:
                    message = await child.receive()
                    if message.facts.get("job") == job:
                        return message
        except TimeoutError as err:
            await child.kill()
            raise Problem(
                "timeout",
                f"reading the file takes more than {self.seconds:g} s; send a shorter or smaller "
                "one",
            ) from err

    async def _settle(self, slot: _Slot, child: Child | None, job: int, over: bool) -> None:
        """Make a decoder ready for the next job."""
        try:
            if child is not None and child.alive:
                child.jobs += 1
                if not over:
                    await child.call_off(job)
                if child.jobs >= _JOBS:
                    await child.kill()
        finally:
            self._free.put_nowait(slot)

    async def close(self) -> None:
        """End all processes."""
        for task in list(self._settling):
            task.cancel()
        await asyncio.gather(*(slot.close() for slot in self._slots))


def _problem(facts: dict[str, Any]) -> Problem:
    """What a decoder says is wrong; an error of its own is not shown."""
    code = facts.get("code")
    if code not in STATUS or code == "internal":
        return Problem("internal", INTERNAL)
    return Problem(code, str(facts.get("message", ""))[:_TOLD])
