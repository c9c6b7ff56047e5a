"""Where what happens is told: JSON lines in a file, and POST requests to a web hook."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pseudo3d.errors import Pseudo3dError

Report = dict[str, Any]
Note = Callable[[str], None]
_TIMEOUT = 5.0  # s for one request
_ATTEMPTS, _FIRST = 4, 0.5  # per report; s before the second
_WAITING = 256  # reports that wait for the web hook; the oldest are given up


def iso(wall: float) -> str:
    """A time of the wall clock, UTC, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def line(report: Report) -> str:
    """A report as one line."""
    return json.dumps(report, ensure_ascii=False, allow_nan=False)


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


class Webhook:
    """Posts reports as JSON from a thread of its own; a slow or dead server delays nothing.

    Raises:
        Pseudo3dError: no web address.
    """

    def __init__(self, url: str, note: Note) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise Pseudo3dError(f"{url!r} is no web address; wanted http:// or https://")
        self.url, self._note, self.lost = url, note, 0
        self._place = f"web hook at {urlsplit(url).hostname}"  # the rest may hold a key
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
        """Give what waits a last chance, `patience` seconds long."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)
        self._stop.set()
        self._thread.join(_TIMEOUT)

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
                with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                    answer.read(1024)
                return
            except urllib.error.HTTPError as err:
                why = f"it answers {err.code}"
                err.close()
                if err.code < 500 and err.code != 429:  # the same request will not do better
                    break
            except (OSError, ValueError) as err:
                why = str(getattr(err, "reason", None) or err)
        self._lose(why)

    def _lose(self, why: str) -> None:
        self.lost += 1
        if self.lost & (self.lost - 1) == 0:  # at 1, 2, 4, 8 ...: a dead server fills no log
            self._note(f"{self._place}: {why}; {self.lost} reports lost so far")


def wall(taken: float) -> float:
    """Time of day, s since 1970, of a moment on the monotonic clock; the former may be set."""
    return time.time() - (time.monotonic() - taken)
