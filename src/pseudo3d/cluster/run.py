"""Run one job over one list: begin or go on, have all partitions done, prove that nothing is lost.

OUT holds `run.json` (the job), `input.parquet` (the list), a folder of results, `quarantine/`,
`done/` (a note per partition) and in the end `summary.json`.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pseudo3d.cluster.inputs import TABLE, Listing, write_table
from pseudo3d.cluster.job import Job
from pseudo3d.cluster.place import Place
from pseudo3d.cluster.proof import RUN, Damaged, check, finished, forget_quarantine
from pseudo3d.cluster.ray import Lost
from pseudo3d.cluster.worker import Note, Ticket, read_note
from pseudo3d.errors import Pseudo3dError
from pseudo3d.lock import sole, sweep

SUMMARY = "summary.json"
MOST = 256  # videos of a partition, where nothing else is said
_SHARES = 16  # partitions per worker of a short list
_IDLE = 3  # rounds without any progress after which a run is given up
_PAUSE = 5.0  # s before such a round


class Engine(Protocol):
    """What has partitions done; see `local` and `ray`."""

    @property
    def workers(self) -> int: ...

    def run(
        self,
        ticket: Ticket,
        parts: Sequence[int],
        heard: Callable[[Note], None],
        seen: Callable[[int], None],
    ) -> None: ...

    def close(self) -> None: ...


@dataclass
class Progress:
    """How far a run is; `changed` is called whenever it is farther."""

    total: int = 0
    before: int = 0  # videos that were done when this run began
    seen: int = 0  # looked at since then
    bad: int = 0  # in quarantine
    changed: Callable[["Progress"], None] = field(default=lambda _: None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a finished run has."""

    out: str
    task: str
    rows: int  # of the input; each has one row in just one of the tables
    good: int
    bad: int  # in quarantine
    partitions: int
    fresh: int  # videos this call looked at; the others were done before
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a job is done; nothing of it changes a row.

    Args:
        seconds, memory_bytes, attempts: as in `Ticket`.
        size: videos of a partition; None takes 256, of short lists fewer.
        retry: do the partitions with videos in quarantine again.
    """

    seconds: float = Ticket.seconds
    memory_bytes: int = Ticket.memory_bytes
    attempts: int = Ticket.attempts
    size: int | None = None
    retry: bool = False


def run(
    listing: Listing,
    job: Job,
    out: str | Path,
    engine: Engine,
    way: Way | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Do a job over a list of videos, or go on with it; one row for each, whatever dies.

    Args:
        out: folder or address that every worker reaches by this name.
    Raises:
        Pseudo3dError: OUT holds another run or something else, the weights are not fit for the
            task, a worker cannot go on.
    """
    began, place, way = time.monotonic(), Place(out), way or Way()
    progress = progress or Progress()
    with closing(engine), _alone(place):
        plan = _begun(place, listing, job, engine, way.size)
        if way.retry:
            forget_quarantine(place)
        limits = {k: v for k, v in asdict(way).items() if k not in ("size", "retry")}
        ticket = Ticket(place=place.address, job=job.to_dict(), about=plan["about"], **limits)
        notes = [note for k in finished(place) if (note := read_note(place, k)) is not None]
        progress.total = listing.count
        progress.before = sum(note["rows"] for note in notes)
        progress.bad = sum(note["bad"] for note in notes)
        with _card(place, plan):
            counts = _proven(place, ticket, plan["partitions"], engine, progress)
        summary = Summary(
            out=str(out),
            task=job.task,
            **counts,
            partitions=plan["partitions"],
            fresh=listing.count - progress.before,
            seconds=round(time.monotonic() - began, 1),
        )
        place.write(SUMMARY, json.dumps(asdict(summary), indent=2).encode())
    return summary


def _proven(
    place: Place, ticket: Ticket, partitions: int, engine: Engine, progress: Progress
) -> dict[str, int]:
    """Have everything done; the counts, once nothing is missing."""
    _all_done(place, ticket, partitions, engine, progress)
    try:
        return check(place.address)
    except Damaged:  # by a disk, since they were written: once more
        _all_done(place, ticket, partitions, engine, progress)
        return check(place.address)


@contextmanager
def _card(place: Place, plan: dict[str, Any]) -> Iterator[None]:
    """Keep `card.json`; in an object store, when all is done."""
    from pseudo3d.report.cards.card import CARD, recorded
    from pseudo3d.report.cards.provenance import provenance

    job, listed = plan["job"], plan["input"]
    data = {"address": listed["source"], "items": listed["rows"], "sha256": listed["sha256"]}
    weights = {"path": job["weights"], "sha256": job["identity"]}
    facts = {"data": data, "inputs": {"weights": weights}, "options": job["options"]}
    task = f"batch {job['task']}"
    if place.path is not None:
        with recorded(place.path / CARD, task, **facts):
            yield
        return
    yield
    told = {"task": task, "state": "finished", **provenance(**facts)}
    place.write(CARD, json.dumps(told, indent=2).encode())


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Be the only one that runs there; on an object store nobody can tell."""
    if place.path is None:
        yield
        return
    with sole(place.path):
        sweep(place.path, deep=True)
        yield


def _size(count: int, workers: int) -> int:
    return max(1, min(MOST, -(-count // (workers * _SHARES))))


def _begun(
    place: Place, listing: Listing, job: Job, engine: Engine, size: int | None
) -> dict[str, Any]:
    """The plan of the run that was begun there, or a new one."""
    digest = listing.digest()
    try:
        plan = json.loads(place.read(RUN))
    except FileNotFoundError:
        size = size or _size(listing.count, engine.workers)
        return _begin(place, listing, job, size, digest)
    except ValueError as err:
        raise Pseudo3dError(f"{place.address}/{RUN} is damaged ({err}); write elsewhere") from err
    differ = job.differences(plan["job"])
    if plan["input"]["sha256"] != digest:
        differ.append(f"another list ({plan['input']['source']}, {plan['input']['rows']} videos)")
    if size not in (None, plan["size"]):
        differ.append(f"partitions of {plan['size']}")
    if differ:
        raise Pseudo3dError(
            f"{place.address} holds a run with {', '.join(differ)}; repeat that, or write elsewhere"
        )
    return plan


def _begin(place: Place, listing: Listing, job: Job, size: int, digest: str) -> dict[str, Any]:
    """Take a place that is empty, or where a run was killed before it had begun."""
    from pseudo3d.cluster.eyes import open_eyes

    if other := [name for name in place.names("") if name != TABLE]:
        raise Pseudo3dError(
            f"{place.address} holds something else ({other[0]}); name a new or an empty folder"
        )
    about = open_eyes(job).about  # first of all: is the network fit for the task?
    write_table(listing, size, place)
    plan = {
        "job": job.to_dict(),
        "about": about,
        "input": {"source": listing.source, "rows": listing.count, "sha256": digest},
        "size": size,
        "partitions": -(-listing.count // size),
    }
    place.write(RUN, json.dumps(plan, indent=2).encode())
    return plan


def _all_done(
    place: Place, ticket: Ticket, partitions: int, engine: Engine, progress: Progress
) -> None:
    """Give out what is missing until nothing is."""

    def heard(note: Note) -> None:
        progress.bad += note["bad"]
        progress.changed(progress)

    def seen(count: int) -> None:
        progress.seen += count
        progress.changed(progress)

    idle, lost = 0, ""
    while todo := sorted(set(range(partitions)) - (done := finished(place))):
        if idle == _IDLE:
            raise Pseudo3dError(
                f"{len(todo)} of {partitions} partitions are not done, and {_IDLE} attempts "
                f"brought nothing more{lost and f' ({lost})'}; repeat the command when the "
                "machines are back, it goes on"
            )
        if idle:
            time.sleep(_PAUSE)
        try:
            engine.run(ticket, todo, heard, seen)
        except Lost as err:
            lost = str(err)
        idle = idle + 1 if finished(place) == done else 0
