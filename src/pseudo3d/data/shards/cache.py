"""Samples of remote shards kept in a folder, named by their checksum, no more than it may hold."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from pseudo3d.errors import Pseudo3dError

FOLDER, BYTES = "PSEUDO3D_SHARDS_CACHE", "PSEUDO3D_SHARDS_CACHE_BYTES"
_SLACK = 0.1  # share of the room that is made at once, so that the folder is seldom listed


@dataclass
class SampleCache:
    """A folder that several processes, data sets and runs may share.

    What was used longest ago goes first. A file that has been damaged is as good as none.

    Args:
        room: bytes it may hold; each process that fills it may exceed that by a tenth for a while.
    """

    folder: Path
    room: int
    _left: int = field(default=0, repr=False)  # that this process may add before it looks again
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.room < 1:
            raise ValueError(f"room is {self.room}: wanted the bytes the folder may hold, above 0")

    def __getstate__(self) -> dict[str, Any]:
        """Locks do not travel to other processes."""
        return {"folder": self.folder, "room": self.room, "_left": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def get(self, sha256: str) -> bytes | None:
        """The bytes with this checksum, if they are here and whole."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        path.unlink(missing_ok=True)
        return None

    def put(self, sha256: str, data: bytes) -> None:
        """Keep bytes whose checksum is right; a folder that takes none is no reason to stop."""
        if len(data) > self.room:
            return
        with self._lock:
            if len(data) > self._left:
                self._make_room(len(data))
            self._left -= len(data)
        path = self._path(sha256)
        part = path.with_name(f".{sha256}.{os.getpid()}.part")
        with suppress(OSError):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(data)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def _make_room(self, wanted: int) -> None:
        """Remove what was used longest ago until the new fits, with some to spare."""
        there, spare = [], max(wanted, int(_SLACK * self.room))
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):  # another process may be making room, too
                stat = path.stat()
                there.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in there)
        for _, size, path in sorted(there):
            if total + spare <= self.room:
                break
            with suppress(OSError):
                path.unlink()
            total -= size
        self._left = spare


def cache_of_environment() -> SampleCache | None:
    """What the user has set: $PSEUDO3D_SHARDS_CACHE, a folder, and ..._BYTES, 100 GB by default.

    Raises:
        Pseudo3dError: the bytes are no number.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    text = os.environ.get(BYTES, "1e11")
    try:
        size = int(float(text))
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise Pseudo3dError(f"{BYTES} is {text!r}: wanted a number of bytes, such as 5e10")
    return SampleCache(Path(folder), size)
