"""Take one file out of a request as it comes in: to disk, never beyond the limit, and away."""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudo3d.serve.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

_PREFIX = "p3d-serve-"
_ENDING = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")  # readers of scans go by it
_NAME = 200  # letters of a file's name that are kept
_FRAME = 64 * 1024  # bytes that a request may hold around its file
_BOUNDARY = 256  # bytes between the parts of an upload; the parser takes no more


class Upload(NamedTuple):
    """A file on disk, and what the client calls it."""

    path: Path
    name: str
    size: int


class Folder:
    """Where uploads live for as long as they are looked at."""

    def __init__(self) -> None:
        sweep()
        self.path = _private()
        self._made = 0

    def fresh(self) -> Path:
        """A new folder in it; what tidies the temporary files may have taken the old one away."""
        self._made += 1
        try:
            path = self.path / str(self._made)
            path.mkdir()
        except FileNotFoundError:
            self.path = _private()  # under a new name: the old one may be somebody else's by now
            path = self.path / str(self._made)
            path.mkdir()
        return path

    def remove(self) -> None:
        """With all that is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _private() -> Path:
    """A new folder that only this user can look into."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def sweep() -> None:
    """Remove what a service that was killed has left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        number = path.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _runs(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@asynccontextmanager
async def uploaded(
    request: "Request", folder: Folder, most: int, idle: float
) -> AsyncIterator[Upload]:
    """The field `file` of a multipart request, on disk until the context is left.

    Args:
        most: bytes.
        idle: s without a byte.
    Raises:
        Problem: too large, no file, or a client that stops sending.
    """
    too_large = Problem(
        "too_large",
        f"the file has more than {most} bytes ({most / 2**20:.0f} MiB), the most this service "
        "takes; send a shorter or smaller one",
    )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most + _FRAME:
        raise too_large
    place = folder.fresh()
    try:
        sink = _Sink(request.headers.get("content-type", ""), place, most, too_large)
        try:
            await _fill(request, sink, idle)
        finally:
            sink.close()
        yield sink.result()
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _fill(request: "Request", sink: "_Sink", idle: float) -> None:
    from python_multipart.exceptions import FormParserError
    from starlette.requests import ClientDisconnect

    chunks = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(idle):
                chunk = await anext(chunks)
            sink.feed(chunk)
    except StopAsyncIteration:
        sink.end()
    except TimeoutError as err:
        raise Problem(
            "timeout", f"no byte of the upload for {idle:g} s; send it again", status=408
        ) from err
    except FormParserError as err:
        raise Problem("bad_request", f"the upload is damaged ({err}); send it again") from err
    except ClientDisconnect as err:
        raise Problem("bad_request", "the client has gone before the upload was complete") from err
    except OSError as err:
        raise Problem(
            "internal", "the service has no room for uploads; tell its operator", status=507
        ) from err


class _Sink:
    """Writes the field `file` of a multipart body to disk, other fields nowhere."""

    def __init__(self, kind: str, place: Path, most: int, too_large: Problem) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        form, options = parse_options_header(kind)
        if len(options.get(b"boundary", b"")) > _BOUNDARY:
            raise Problem("bad_request", f"the boundary is longer than {_BOUNDARY} bytes")
        if form != b"multipart/form-data" or b"boundary" not in options:
            raise Problem(
                "bad_request",
                f"the request is {form.decode('latin-1') or 'of no type'!r}; wanted "
                "multipart/form-data with a field 'file': curl -F file=@clip.mp4 URL",
            )
        self.place, self.most, self.too_large = place, most, too_large
        self.seen = self.size = 0
        self.name: str | None = None
        self.file: Any = None
        self.path = place / "upload"
        self.writing = False
        self._key, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(options[b"boundary"], {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": lambda d, a, b: self._key.extend(d[a:b]),
            "on_header_value": lambda d, a, b: self._value.extend(d[a:b]),
            "on_header_end": self._header,
            "on_headers_finished": self._open,
        })  # fmt: skip

    def feed(self, chunk: bytes) -> None:
        self.seen += len(chunk)
        if self.seen > self.most + _FRAME:
            raise self.too_large
        self._parser.write(chunk)

    def end(self) -> None:
        self._parser.finalize()

    def close(self) -> None:
        if self.file is not None:
            with suppress(OSError):
                self.file.close()

    def result(self) -> Upload:
        if self.name is None:
            raise Problem(
                "bad_request", "the request has no file in its field 'file'; send one there"
            )
        return Upload(self.path, self.name, self.size)

    def _begin(self) -> None:
        self._headers, self.writing = {}, False

    def _header(self) -> None:
        self._headers[bytes(self._key).lower()] = bytes(self._value)
        self._key.clear()
        self._value.clear()

    def _open(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != b"file":
            return
        if self.name is not None:
            raise Problem("bad_request", "the request has two files; send one at a time")
        given = options.get(b"filename", b"upload").decode("utf-8", "replace")
        self.name = _clean(given)
        ending = _ENDING.search(self.name)
        self.path = self.place / f"upload{ending[0].lower() if ending else ''}"
        self.file = self.path.open("wb")
        self.writing = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self.writing:
            return
        self.size += end - start
        if self.size > self.most:
            raise self.too_large
        self.file.write(data[start:end])

    def _end(self) -> None:
        self.writing = False


def _clean(name: str) -> str:
    """A file's name as the client gave it, without folders and control characters."""
    name = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in name if c.isprintable())[-_NAME:] or "upload"
