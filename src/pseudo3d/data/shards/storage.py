"""Where shards lie: a folder, or any address that fsspec knows (`s3://`, `https://`, ...)."""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from pseudo3d.errors import Pseudo3dError, require

Answer = TypeVar("Answer")
WAITS = (0.2, 1.0, 4.0)  # s before each further attempt
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]+):/{1,3}(?=[^/])")  # a path has lost one slash
_GIVE_UP = {408, 425, 429}  # refusals of HTTP after which asking again helps


class Storage(Protocol):
    """What reading and writing shards needs of a place."""

    @property
    def address(self) -> str:
        """What a user calls it."""

    def read(self, name: str) -> bytes:
        """A whole file."""

    def part(self, name: str, offset: int, length: int, size: int) -> bytes:
        """Some bytes of a file of `size` bytes; fewer where it ends before."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def names(self) -> list[str]:
        """Files and folders; none where the place is not there yet."""

    def stream(self, name: str) -> BinaryIO:
        """A file, to read from its beginning to its end."""

    def create(self, name: str) -> Any:
        """Context in which a file is written; it appears under its name when complete."""


def is_remote(text: str | Path) -> bool:
    """Whether this names a place on another machine."""
    found = _SCHEME.match(str(text))
    return found is not None and found[1].lower() != "file" and len(found[1]) > 1


def address_of(text: str | Path) -> str:
    """The address as fsspec wants it, also of a `Path`, which takes one slash from `s3://`."""
    if not is_remote(text):
        return str(text)
    return _SCHEME.sub(r"\1://", str(text), count=1)


def open_storage(text: str | Path) -> Storage:
    """The place that an address names.

    Raises:
        Pseudo3dError: nobody here knows such addresses.
    """
    if is_remote(text):
        return Remote(address_of(text).rstrip("/"))
    return Folder(Path(re.sub(r"^file:/*", "/", str(text))))


@dataclass(frozen=True)
class Folder:
    """A folder of this machine."""

    path: Path

    @property
    def address(self) -> str:
        """What a user calls it."""
        return str(self.path)

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self.path / name).read_bytes()

    def part(self, name: str, offset: int, length: int, size: int) -> bytes:
        """Some bytes of a file."""
        with (self.path / name).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self.path / name).stat().st_size

    def names(self) -> list[str]:
        """Files and folders."""
        return sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []

    def stream(self, name: str) -> BinaryIO:
        """A file, to read from its beginning to its end."""
        return (self.path / name).open("rb")

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write a file that survives a power cut once it is there."""
        part = self.path / f".{name}.{os.getpid()}.part"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path / name)
            _sync(self.path)
        except OSError as err:
            full = err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            cause = "the disk is full" if full else (err.strerror or str(err))
            raise Pseudo3dError(
                f"{self.path / name} cannot be written: {cause}; free some space, then repeat the "
                "command: complete shards are kept"
            ) from err
        finally:
            part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make a new name in a folder last; not every system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Remote:
    """A place that fsspec reaches; what fails for the moment is asked for again."""

    address: str
    waits: tuple[float, ...] = WAITS

    def __getstate__(self) -> dict[str, Any]:
        """Connections do not travel to other processes."""
        return {"address": self.address, "waits": self.waits}

    @cached_property
    def _fs(self) -> Any:
        fsspec = require("fsspec", "cluster")
        try:
            return fsspec.core.url_to_fs(self.address)[0]
        except (ImportError, ValueError) as err:
            raise Pseudo3dError(f"{self.address} cannot be opened: {err}") from err

    def _at(self, name: str) -> str:
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes:
        """A whole file."""
        return self._again(name, lambda: self._fs.cat_file(self._at(name)))

    def part(self, name: str, offset: int, length: int, size: int) -> bytes:
        """Some bytes of a file, in one request."""

        def ask() -> bytes:
            if self.address.startswith("http"):  # cat_file takes a whole file for a part of it
                with self._fs.open(self._at(name), size=size, cache_type="none") as file:
                    file.seek(offset)
                    found = file.read(length)
            else:
                found = self._fs.cat_file(self._at(name), start=offset, end=offset + length)
            if len(found) != length:
                raise ConnectionError(f"{len(found)} of {length} bytes came")
            return found

        return self._again(name, ask)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        found = self._again(name, lambda: self._fs.size(self._at(name)))
        if found is None:
            raise Pseudo3dError(f"{self._at(name)}: the server does not say how large it is")
        return int(found)

    def names(self) -> list[str]:
        """Files and folders; an object store has no folder before there is something in it."""
        try:
            found = self._again("", lambda: self._fs.ls(self.address, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def stream(self, name: str) -> BinaryIO:
        """A file, to read from its beginning to its end."""
        return self._again(name, lambda: self._fs.open(self._at(name), "rb"))

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write a file; object stores show it when it is closed."""
        try:
            file = self._fs.open(self._at(name), "wb")
        except NotImplementedError as err:
            raise Pseudo3dError(
                f"{self.address} cannot be written to; pack into a folder and upload it"
            ) from err
        try:
            yield file
        except BaseException:
            with suppress(Exception):  # half a shard without its note is not read, at worst
                file.discard()
            raise
        file.close()

    def _again(self, name: str, ask: Callable[[], Answer]) -> Answer:
        """Ask until an answer comes, a few times."""
        waits = iter(self.waits)
        while True:
            try:
                return ask()
            except (FileNotFoundError, NotADirectoryError, Pseudo3dError):
                raise
            except Exception as err:  # every library behind fsspec has errors of its own
                wait = next(waits, None)
                if wait is None or not _passes(err):
                    cause = f"{type(err).__name__}: {str(err)[:200]}"
                    raise Pseudo3dError(
                        f"{self._at(name)} cannot be read ({cause}); look at the connection, the "
                        "server and your right to read there, then repeat the command"
                    ) from err
                time.sleep(wait)


def _passes(err: Exception) -> bool:
    """Whether an error may be gone at the next attempt."""
    if isinstance(err, (PermissionError, ImportError, NotImplementedError, ValueError, TypeError)):
        return False
    status = getattr(err, "status", None)
    return not isinstance(status, int) or status >= 500 or status in _GIVE_UP
