"""One frame in memory that two processes share: the newest one, whoever is faster.

Three places are written in turn, and the number of the newest frame is published only when all of
it is there. There is no lock, so a process that is killed in the middle leaves nothing locked; the
reader notices when a place was overwritten under its hands, and reads again.
"""

import struct
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import cast

import numpy as np
from jaxtyping import UInt8

LARGEST = 1920 * 1080 * 3  # bytes; larger frames are made smaller
_PLACES, _HEAD, _ABOUT = 3, 64, 64  # bytes before all places, and before each
_NEWEST, _BEAT, _PENDING, _STOP = 0, 8, 16, 24  # where they are in the head
_FACTS = struct.Struct("=qddii")  # number, time, taken, height, width


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame of a source."""

    image: UInt8[np.ndarray, "h w 3"]
    number: int  # counts every frame the source has shown
    time: float  # s on the clock of the source
    taken: float  # s on the monotonic clock of this machine


class Slot:
    """The memory; made by the watcher, attached to by the process that captures."""

    def __init__(self, memory: SharedMemory, room: int, *, owner: bool) -> None:
        self._memory, self.room, self._owner = memory, room, owner

    @classmethod
    def create(cls, room: int = LARGEST) -> "Slot":
        size = _HEAD + _PLACES * (_ABOUT + room)
        memory = SharedMemory(create=True, size=size)
        slot = cls(memory, room, owner=True)
        slot._bytes[:_HEAD] = bytes(_HEAD)
        return slot

    @classmethod
    def attach(cls, name: str, room: int) -> "Slot":
        return cls(SharedMemory(name), room, owner=False)

    @property
    def _bytes(self) -> memoryview:
        return cast(memoryview, self._memory.buf)  # None only after it is closed

    @property
    def name(self) -> str:
        """For `attach`."""
        return self._memory.name

    def close(self) -> None:
        """Give the memory back; the owner's close is the end of it."""
        self._memory.close()
        if self._owner:
            with suppress(FileNotFoundError):
                self._memory.unlink()

    def _number(self, at: int) -> int:
        return int(struct.unpack_from("=q", self._bytes, at)[0])

    def _set(self, at: int, number: int) -> None:
        struct.pack_into("=q", self._bytes, at, number)

    @property
    def newest(self) -> int:
        """Number of the newest frame; 0 before there is one."""
        return self._number(_NEWEST)

    @property
    def pending(self) -> bool:
        """Whether the reader has been told of a frame that it has not fetched."""
        return bool(self._number(_PENDING))

    @pending.setter
    def pending(self, value: bool) -> None:
        self._set(_PENDING, int(value))

    @property
    def stop(self) -> bool:
        """Whether capturing is to end."""
        return bool(self._number(_STOP))

    @stop.setter
    def stop(self, value: bool) -> None:
        self._set(_STOP, int(value))

    @property
    def beat(self) -> float:
        """When the capturing process was last seen at work, s on the monotonic clock."""
        return float(struct.unpack_from("=d", self._bytes, _BEAT)[0])

    @beat.setter
    def beat(self, value: float) -> None:
        struct.pack_into("=d", self._bytes, _BEAT, value)

    def write(self, image: UInt8[np.ndarray, "h w 3"], time: float, taken: float) -> None:
        """Publish a frame that fits into `room` bytes."""
        number = self.newest + 1
        at = _HEAD + (number % _PLACES) * (_ABOUT + self.room)
        height, width = image.shape[:2]
        _FACTS.pack_into(self._bytes, at, number, time, taken, height, width)
        target = np.frombuffer(self._bytes, np.uint8, image.size, at + _ABOUT)
        np.copyto(target.reshape(image.shape), image)
        del target  # a view would keep the memory open
        self._set(_NEWEST, number)

    def read(self) -> Frame | None:
        """A copy of the newest frame; None before there is one."""
        while number := self.newest:
            at = _HEAD + (number % _PLACES) * (_ABOUT + self.room)
            told, time, taken, height, width = _FACTS.unpack_from(self._bytes, at)
            size = height * width * 3
            if told == number and 0 < size <= self.room:
                view = np.frombuffer(self._bytes, np.uint8, size, at + _ABOUT)
                image = view.reshape(height, width, 3).copy()
                del view
                # the writer is at most in the place after the newest one's, unless it overtook
                if self.newest < number + _PLACES - 1:
                    return Frame(image=image, number=number, time=time, taken=taken)
        return None
