"""Where what happens is told: JSON lines in a file, and POST requests to a web hook."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pseudo3d.errors import Pseudo3dError
from pseudo3d.watch.sources import printable

Report = dict[str, Any]
Note = Callable[[str], None]
_TIMEOUT = 5.0  # s for one request
_ATTEMPTS, _FIRST = 4, 0.5  # per report; s before the second
_WAITING = 256  # reports that wait for the web hook; the oldest are given up


def iso(wall: float) -> str:
    """A time of the wall clock, UTC, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def line(report: Report) -> str:
    """A report as one line; a file name that is not UTF-8 keeps its bytes, escaped as in JSON."""
    return printable(json.dumps(report, ensure_ascii=False, allow_nan=False))


class Lines:
    """Appends reports to a file, each whole and at once, so that others can follow it.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, note: Note) -> None:
        self.path, self._note, self._silent = Path(path), note, False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def __call__(self, report: Report) -> None:
        try:
            self._file.write(line(report) + "\n")
            self._silent = False
        except OSError as err:  # a full disk must not end the watch
            if not self._silent:
                self._note(f"{self.path}: {err.strerror}; reports are lost until there is room")
            self._silent = True

    def close(self) -> None:
        """Nothing is waiting to be written."""
        try:
            self._file.close()
        except OSError as err:
            self._note(f"{self.path}: {err.strerror}; the last reports are lost")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: following it would ask for a page instead of posting the report."""

    def redirect_request(self, *about: Any) -> None:
        return None


class Webhook:
    """Posts reports as JSON from a thread of its own; a slow or dead server delays nothing.

    Raises:
        Pseudo3dError: no web address, or one that no request can be sent to.
    """

    def __init__(self, url: str, note: Note) -> None:
        # nothing that is said quotes the address: its path or query may hold a key
        self._place = f"web hook at {_checked_host(url)}"
        self.url, self._note, self.lost = url, note, 0
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._waiting: deque[Report] = deque()
        self._changed, self._closing = threading.Condition(), False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Webhook":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, report: Report) -> None:
        with self._changed:
            if len(self._waiting) == _WAITING:
                self._waiting.popleft()
                self._lose("too many reports wait")
            self._waiting.append(report)
            self._changed.notify()

    def close(self, patience: float = _TIMEOUT) -> None:
        """Give what waits a last chance, `patience` seconds long; the rest counts as lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)
        self._stop.set()
        self._thread.join(_TIMEOUT)
        with self._changed:
            left = len(self._waiting) + self._thread.is_alive()  # one may be on its way for ever
            self._waiting.clear()
        if left:
            self._lose(f"{left} still waited at the end", left, aloud=True)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting or self._stop.is_set():
                    return
                report = self._waiting.popleft()
            self._post(line(report).encode())

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "pseudo3d"}
        for attempt in range(_ATTEMPTS):
            if attempt and self._stop.wait(_FIRST * 2 ** (attempt - 1)):
                break
            request = urllib.request.Request(self.url, body, headers, method="POST")
            try:
                gone = suppress(OSError, HTTPException)  # after its yes: the report is there
                with self._open(request, timeout=_TIMEOUT) as answer, gone:
                    answer.read(1024)
                return
            except urllib.error.HTTPError as err:
                why = f"it answers {err.code}"
                err.close()
                if 300 <= err.code < 400:
                    why += ", a redirect, which is not followed; give the address it leads to"
                if err.code < 500 and err.code != 429:  # the same request will not do better
                    break
            except OSError as err:
                why = str(getattr(err, "reason", None) or err)
            except (HTTPException, ValueError) as err:  # their words may quote the address
                why = f"what came back is no HTTP ({type(err).__name__})"
        self._lose(why)

    def _lose(self, why: str, count: int = 1, *, aloud: bool = False) -> None:
        with self._changed:
            before, self.lost = self.lost, self.lost + count
        # at 1, 2, 4, 8 ...: a dead server fills no log
        if aloud or before.bit_length() != self.lost.bit_length():
            self._note(f"{self._place}: {why}; {self.lost} reports lost so far")


def _checked_host(url: str) -> str:
    """The host of a web hook's address.

    Raises:
        Pseudo3dError: what is wrong with the address, which is not quoted.
    """
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise Pseudo3dError(
            "the web hook's address holds a space, a control character or a letter beyond ASCII; "
            "write it as %20 and the like"
        )
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        raise Pseudo3dError(
            "the web hook's address has a wrong port or host; wanted https://HOST:PORT/PATH with "
            "a port from 1 to 65535"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Pseudo3dError(
            f"what was given as web hook is no web address (scheme {parts.scheme!r}); wanted "
            "http://HOST/PATH or https://HOST/PATH"
        )
    if "@" in parts.netloc:
        raise Pseudo3dError(
            f"the web hook at {parts.hostname} has a user or a password before its host, which is "
            "never sent; leave it out and put a key where the server wants it, in path or query"
        )
    return parts.hostname


def wall(taken: float) -> float:
    """Time of day, s since 1970, of a moment on the monotonic clock; the former may be set."""
    return time.time() - (time.monotonic() - taken)
