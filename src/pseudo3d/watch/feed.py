"""The watcher's end of a source: starts the process that captures, and starts it again."""

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any

from pseudo3d.watch.capture import capture
from pseudo3d.watch.opening import OPEN_LIMIT, READ_LIMIT
from pseudo3d.watch.slot import LARGEST, Frame, Slot
from pseudo3d.watch.sources import Source

_SILENT = OPEN_LIMIT + READ_LIMIT + 5.0  # s without a sign of life: the decoder hangs
_FIRST, _LONGEST = 1.0, 60.0  # s between two processes that died
_GRACE = 2.0  # s a process gets to end by itself


class Feed:
    """One source: its newest frame, and what has become of it."""

    def __init__(self, source: Source, room: int = LARGEST) -> None:
        self.source, self.ended = source, False
        self.slot = Slot.create(room)
        self.seen = 0  # number of the frame that was read last
        self.connection: Connection | None = None
        self._process: SpawnProcess | None = None
        self._again, self._wait = 0.0, _FIRST  # when a process that died is started anew, s
        self._begun = 0.0

    def start(self) -> None:
        """Start to capture, in a process of its own."""
        ours, theirs = get_context("spawn").Pipe(duplex=False)
        self.slot.pending, self.slot.beat = False, time.monotonic()
        arguments = (self.slot.name, self.slot.room, self.source, theirs)
        name = f"capture {self.source.name}"
        process = get_context("spawn").Process(
            target=capture, args=arguments, name=name, daemon=True
        )
        with _alone():
            process.start()
        theirs.close()
        self.connection, self._process, self._begun = ours, process, time.monotonic()

    def messages(self) -> list[dict[str, Any]]:
        """What the process has said since the last call; notes of new frames are no news."""
        found: list[dict[str, Any]] = []
        try:
            while self.connection is not None and self.connection.poll():
                if text := self.connection.recv_bytes():
                    found.append(json.loads(text))
        except (EOFError, OSError):
            self._hang_up()
        self.ended = self.ended or any(message["state"] == "ended" for message in found)
        return found

    def read(self) -> Frame | None:
        """The newest frame, if it has not been read before."""
        self.slot.pending = False  # before reading: a frame that comes now is told of again
        if self.slot.newest == self.seen:
            return None
        frame = self.slot.read()
        if frame is not None:
            self.seen = frame.number
        return frame

    def supervise(self) -> dict[str, Any] | None:
        """End a process that hangs, start anew one that died; a message where that was needed."""
        now, process = time.monotonic(), self._process
        if process is None:
            if not self.ended and self._again <= now:
                self.start()
            return None
        if self.ended:
            return None
        if process.is_alive() and now - self.slot.beat <= _SILENT:
            return None
        died = not process.is_alive()
        code = process.exitcode
        why = f"the decoder died (exit code {code})" if died else "the decoder hangs"
        self._end()
        if now - self._begun > 10 * _FIRST:
            self._wait = _FIRST
        retry, self._wait = self._wait, min(2 * self._wait, _LONGEST)
        self._again = now + retry
        return {"state": "lost", "why": why, "retry": retry}

    def close(self) -> None:
        """End the process and give its memory back."""
        self.ended = True
        self._end()
        self.slot.close()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self.slot.stop = True
            process.join(_GRACE if time.monotonic() - self.slot.beat < 1 else 0)
            for end in (process.terminate, process.kill):
                if process.is_alive():
                    end()
                    process.join(_GRACE)
            process.close()
            self.slot.stop = False
        self._hang_up()

    def _hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


@contextmanager
def _alone() -> Iterator[None]:
    """Processes started in here know nothing of the program: they neither run its script, which
    would cost a second and the memory of torch, nor are they ended by its Ctrl-C.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with _interrupts_ignored():
            yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process inherits that, before it can say so itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        with suppress(TypeError):  # a handler that was not set from Python cannot be restored
            signal.signal(signal.SIGINT, before)
