"""Write a tar that depends on its content alone, and know where everything lies in it."""

import hashlib
import tarfile
from typing import Any

from pseudo3d.data.shards.layout import BLOCK
from pseudo3d.errors import Pseudo3dError

END = 2 * BLOCK  # bytes of zeros after the last member
_LARGEST = 8**11 - 1  # bytes of a member that the format can tell


class TarWriter:
    """Append members to a file; the names are plain, so every reader of tars takes it."""

    def __init__(self, file: Any) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.bytes = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member; tells where its first byte lies."""
        if len(data) > _LARGEST:
            raise Pseudo3dError(f"{name} has {len(data)} bytes: a tar takes {_LARGEST} at most")
        head = tarfile.TarInfo(name)  # no owner, time 0
        head.size = len(data)
        self._write(head.tobuf(tarfile.USTAR_FORMAT))
        offset = self.bytes
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
        return offset

    def close(self) -> str:
        """Write the end; gives the sha256 of the whole."""
        self._write(bytes(END))
        return self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)


def room_of(*members: bytes) -> int:
    """Bytes that members take in a tar."""
    return sum(BLOCK + len(data) + -len(data) % BLOCK for data in members)
