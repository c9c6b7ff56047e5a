"""A worker: does partitions, in a process of its own that may die without harm.

What a partition gives is written first; then its note (`done/`) is put in place, and who comes
first with that counts. Files that no note names count for nothing.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from pseudo3d.cluster.fetch import fetch
from pseudo3d.cluster.inputs import Row, read_part
from pseudo3d.cluster.job import TABLES, Task
from pseudo3d.cluster.place import Place
from pseudo3d.cluster.tables import quarantine, results
from pseudo3d.data.isolation.isolated import Isolated
from pseudo3d.data.limits import Limits
from pseudo3d.errors import Pseudo3dError

DONE, QUARANTINE = "done", "quarantine"
LOOK = "pseudo3d.cluster.eyes:look"
_CALLS = 10_000  # videos a process looks at: each new one opens the network anew
_WAIT = 0.5  # s before something that may be back is tried again
Note = dict[str, Any]
Looker = Callable[[Row, bytes | None], dict[str, Any]]  # found, or why not; see eyes.look


class Stopped(Exception):
    """Nobody wants the rest of a partition."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """All that a worker is told; plain values, for it may be on another machine."""

    place: str  # address of the run
    job: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)  # of the network, into every table
    seconds: float = 300.0  # that a video may take
    memory_bytes: int = 2**32  # that the network and a video may take
    attempts: int = 2  # for a video that ends the process, or cannot be reached

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; wanted 1 or more")


def note_of(part: int) -> str:
    """Name of a partition's note."""
    return f"{DONE}/part-{part:08d}.json"


def read_note(place: Place, part: int) -> Note | None:
    """What became of a partition; None where it is not done."""
    try:
        return json.loads(place.read(note_of(part)))
    except FileNotFoundError:
        return None
    except ValueError:  # damaged: done again
        place.remove(note_of(part))
        return None


class Worker:
    """Does one partition after the other.

    Args:
        look: looks at a video, in place of a process that does.
        stop: set from outside to leave a partition in the middle.
    """

    def __init__(
        self, ticket: Ticket, *, look: Looker | None = None, stop: Event | None = None
    ) -> None:
        self.ticket, self.place = ticket, Place(ticket.place)
        limits = Limits(seconds=ticket.seconds, memory_bytes=ticket.memory_bytes)
        self.process = Isolated(limits, calls=_CALLS)
        self.look = look or self._in_process
        self.stop = stop or Event()

    def _in_process(self, row: Row, data: bytes | None) -> dict[str, Any]:
        job = dict(self.ticket.job)
        return self.process.call(LOOK, job=job, row=row, path=row["name"], data=data)

    def close(self) -> None:
        """End its process."""
        self.process.close()

    def do(self, part: int, seen: Callable[[int], None] | None = None) -> Note:
        """Do a partition, unless it is done.

        Args:
            seen: told the number of videos that have been looked at, now and then.
        Raises:
            Pseudo3dError: the weights cannot be used, or the results not be written.
        """
        if (note := read_note(self.place, part)) is not None:
            return note
        began = time.monotonic()
        good: list[tuple[Row, Row]] = []
        bad: list[tuple[Row, str, int]] = []
        rows = read_part(self.place, part)
        for row in rows:
            found, why, attempt = self._tried(row)
            if found is None:
                bad.append((row, why, attempt))
            else:
                good.append((row, found))
            if seen is not None:
                seen(1)
        task: Task = self.ticket.job["task"]
        about = {**self.ticket.about, "task": task}
        tables: dict[str, Any] = {TABLES[task]: good and results(good, about)}
        tables[QUARANTINE] = bad and quarantine(bad, about)
        return self._keep(part, len(rows), len(bad), tables, time.monotonic() - began)

    def _keep(self, part: int, rows: int, bad: int, tables: dict[str, Any], seconds: float) -> Note:
        """Write the tables, then the note; who has been faster counts.

        A table is called after its content: two workers write the same file, or different ones.
        """
        files: dict[str, str] = {}
        for folder, data in tables.items():
            if data:
                digest = hashlib.sha256(data).hexdigest()
                name = f"{folder}/part-{part:08d}-{digest[:12]}.parquet"
                self.place.claim(name, data)
                files[name] = digest
        note = {
            "part": part,
            "rows": rows,
            "bad": bad,
            "files": files,
            "seconds": round(seconds, 3),
            "worker": f"{socket.gethostname()}:{os.getpid()}",
        }
        mine = self.place.claim(note_of(part), json.dumps(note).encode())
        return note if mine else read_note(self.place, part) or note

    def _tried(self, row: Row) -> tuple[Row | None, str, int]:
        """What is seen in a video; or why nothing, after so many attempts."""
        for attempt in range(1, self.ticket.attempts + 1):
            if self.stop.is_set():
                raise Stopped
            try:
                answer = self.look(row, fetch(row))
            except FileNotFoundError as err:
                answer = {"why": str(err), "again": False}
            except (Pseudo3dError, OSError) as err:  # out of reach, a limit, the process's end
                answer = {"why": str(err), "again": True}
            if self.stop.is_set():  # the process was ended, the video is not at fault
                raise Stopped
            if "fault" in answer:
                raise Pseudo3dError(answer["fault"])
            if "found" in answer:
                return answer["found"], "", attempt
            if not answer["again"]:
                break
            if attempt < self.ticket.attempts:
                self.stop.wait(_WAIT * attempt)
        return None, str(answer["why"]), attempt
