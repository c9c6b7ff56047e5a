"""The process that captures: opens a source, decodes it, keeps the newest frame in shared memory.

It lives on its own so that a decoder that hangs or crashes on a damaged stream takes nothing else
with it, and so that frames are fetched at the source's speed whatever the network's is. It imports
no torch and is ready in a moment.
"""

import errno
import json
import math
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import av
import numpy as np

from pseudo3d.data.decode import upright
from pseudo3d.errors import VideoError
from pseudo3d.watch.opening import OPEN_LIMIT, READ_LIMIT, opened
from pseudo3d.watch.slot import Slot
from pseudo3d.watch.sources import Source

_FIRST, _LONGEST = 0.5, 30.0  # s between two attempts
_PROVEN = 10.0  # s of frames after which the next loss is a new one
_MOST_PIXELS = 7680 * 4320
_TELL_EVERY = 10.0  # s between two messages about damage


class _Over(Exception):
    """The watcher wants no more frames, or is gone."""


def capture(name: str, room: int, source: Source, messages: Connection) -> None:
    """Capture until told to stop; the function of the process."""
    with suppress(ValueError):  # Ctrl-C goes to all; the watcher ends this process in its own time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    slot = Slot.attach(name, room)
    try:
        with suppress(_Over, BrokenPipeError, ConnectionResetError):
            Capture(slot, source, messages).run()
    finally:
        slot.close()
        messages.close()


class Capture:
    """Connects, decodes, and connects again."""

    def __init__(self, slot: Slot, source: Source, messages: Connection) -> None:
        self.slot, self.source, self.messages = slot, source, messages
        self._parent = os.getppid()
        self._shape: tuple[int, int] | None = None
        self._damaged, self._told = 0, -math.inf
        self._good = 0.0  # s of the monotonic clock, the newest good frame
        self._clock = 0.0  # s of the source, the newest frame

    def run(self) -> None:
        wait = _FIRST
        self._say("connecting")
        while True:
            began = time.monotonic()
            try:
                why = self._play()
            except (av.FFmpegError, OSError, VideoError) as err:
                why = _cause(err)
            self._beat()
            if self.source.kind == "file":  # trying again would show the same
                if self.source.loop and self._good > began:
                    continue
                self._say("ended", why=why)
                return
            if self._good - began > _PROVEN:
                wait = _FIRST
            self._say("lost", why=why or "the source ended the stream", retry=wait)
            self._sleep(wait)
            wait = min(2 * wait, _LONGEST)
            self._shape = None
            self._say("connecting")

    def _play(self) -> str | None:
        """Show frames until the stream ends; why it ended, where that is a fault."""
        with opened(self.source) as (container, stream):
            if stream is None:
                return "it holds no video, or is a playlist; watch the video that it names"
            if stream.codec_context is None:
                return "it is coded in a way unknown here"
            # a header that promises more than any camera has must not take the memory
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            return self._show_all(container, stream)

    def _show_all(self, container: Any, stream: Any) -> str | None:
        began = time.monotonic()
        pace = _Pace(stream, self._clock) if self.source.kind == "file" else None
        for packet in container.demux(stream):
            self._beat()
            taken = time.monotonic()
            try:
                frames = packet.decode()
            except av.FFmpegError as err:
                self._note_damage(_cause(err))
                if taken - max(self._good, began) > READ_LIMIT:
                    return f"nothing but damaged data for {READ_LIMIT:.0f} s"
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._note_damage("damaged frame")
                clock = taken
                if pace is not None:
                    clock, due = pace.of(frame)
                    self._sleep(due - time.monotonic())
                    taken = time.monotonic()
                self._show(frame, clock, taken)
        if pace is not None:
            self._sleep(pace.end - time.monotonic())
        return None

    def _show(self, frame: Any, clock: float, taken: float) -> None:
        if frame.width * frame.height > _MOST_PIXELS:
            raise VideoError(
                f"frames of {frame.width} x {frame.height} pixels; at most 7680 x 4320 are taken"
            )
        shrink = math.sqrt(min(1.0, self.slot.room / (3 * frame.width * frame.height)))
        size = [max(1, math.floor(side * shrink)) for side in (frame.width, frame.height)]
        image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1], threads=1)
        image = np.ascontiguousarray(upright(image, frame))
        self.slot.write(image, clock, taken)
        self._good, self._clock = taken, clock
        if self._shape != image.shape[:2]:
            self._shape = image.shape[:2]
            self._say("live", height=image.shape[0], width=image.shape[1])
        if not self.slot.pending:
            self.slot.pending = True
            self.messages.send_bytes(b"")

    def _note_damage(self, what: str) -> None:
        self._damaged += 1
        now = time.monotonic()
        if now - self._told > _TELL_EVERY:
            self._say("damaged", why=what, packets=self._damaged)
            self._damaged, self._told = 0, now

    def _say(self, state: str, **about: Any) -> None:
        self._beat()
        self.messages.send_bytes(json.dumps({"state": state, **about}).encode())

    def _beat(self) -> None:
        self.slot.beat = time.monotonic()
        if self.slot.stop or os.getppid() != self._parent:
            raise _Over

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self._beat()


class _Pace:
    """When the frames of a file are due, at its own speed."""

    def __init__(self, stream: Any, clock: float) -> None:
        self.step = 1 / float(stream.average_rate or 25)
        self.tick = float(stream.time_base or 0)
        self.start = time.monotonic()
        self.base = clock + self.step if clock else 0.0  # a file that loops runs on
        self.first: float | None = None
        self.last = -self.step

    @property
    def end(self) -> float:
        """When the newest frame has been shown for long enough, on the monotonic clock."""
        return self.start + self.last + self.step

    def of(self, frame: Any) -> tuple[float, float]:
        """Time of a frame on the clock of the source, and on the monotonic one."""
        stamp = self.last + self.step if frame.pts is None else frame.pts * self.tick
        if self.first is None:
            self.first = stamp if frame.pts is not None else 0.0
        at = stamp - self.first if frame.pts is not None else stamp
        if not 0 < at - self.last <= 10:  # no time stamp, or one that damage has put out of order
            self.first -= self.last + self.step - at
            at = self.last + self.step
        self.last = at
        return self.base + at, self.start + at


def _cause(err: BaseException) -> str:
    if isinstance(err, VideoError):
        return str(err)
    if isinstance(err, av.error.ExitError | TimeoutError):
        return f"no answer within {OPEN_LIMIT:.0f} s"
    if isinstance(err, av.error.InvalidDataError):
        return "its data make no sense (not a video, or damaged)"
    if getattr(err, "errno", None) == errno.EIO:
        return "the connection broke"
    return getattr(err, "strerror", None) or type(err).__name__
