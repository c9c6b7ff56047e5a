"""Prove that a run lost nothing and has nothing twice; forget what is to be done again."""

import hashlib
import json
from pathlib import Path

import numpy as np

from pseudo3d.cluster.job import TABLES
from pseudo3d.cluster.place import Place
from pseudo3d.cluster.tables import rows_in
from pseudo3d.cluster.worker import DONE, QUARANTINE, Note, note_of, read_note
from pseudo3d.errors import Pseudo3dError

RUN = "run.json"


class Damaged(Pseudo3dError):
    """Tables are not, or no longer, what was written."""


def finished(place: Place) -> set[int]:
    """Numbers of the partitions that are done."""
    names = (name.removeprefix("part-").partition(".")[0] for name in place.names(DONE))
    return {int(name) for name in names if name.isdigit()}


def check(out: str | Path, *, tidy: bool = True) -> dict[str, int]:
    """Prove that a finished run has just one row for every video; gives the counts.

    Args:
        tidy: remove files of workers that died or came late, which no note names.
    Raises:
        Damaged: a partition is missing, or its tables are not what was written; the same command
            does it again.
    """
    place = Place(out)
    plan = json.loads(place.read(RUN))
    good, bad, wrong = 0, 0, list[int]()
    named: set[str] = set()
    for part in range(plan["partitions"]):
        first = part * plan["size"]
        rows = range(first, min(first + plan["size"], plan["input"]["rows"]))
        numbers = _numbers(place, read_note(place, part))
        if sorted(row for found in numbers.values() for row in found.tolist()) != list(rows):
            wrong.append(part)
            for name in (note_of(part), *numbers):
                place.remove(name)
            continue
        outside = sum(len(x) for name, x in numbers.items() if name.startswith(QUARANTINE))
        good, bad = good + len(rows) - outside, bad + outside
        named |= set(numbers)
    if wrong:
        raise Damaged(
            f"{place.address}: {len(wrong)} partitions are missing or damaged, the first is number "
            f"{wrong[0]}; repeat the command, it does them again"
        )
    if tidy:
        for folder in (TABLES[plan["job"]["task"]], QUARANTINE):
            for name in {f"{folder}/{n}" for n in place.names(folder)} - named:
                place.remove(name)
    return {"rows": good + bad, "good": good, "bad": bad}


def _numbers(place: Place, note: Note | None) -> dict[str, np.ndarray]:
    """Rows by file; none of a file that is not what its note says."""
    found = {}
    for name, digest in ({} if note is None else note["files"]).items():
        try:
            data = place.read(name)
        except FileNotFoundError:
            data = b""
        whole = hashlib.sha256(data).hexdigest() == digest
        found[name] = rows_in(data) if whole else np.empty(0, np.int64)
    return found


def forget_quarantine(place: Place) -> None:
    """Have the partitions with videos in quarantine done again by the run that goes on."""
    for part in finished(place):
        note = read_note(place, part)
        if note is not None and note["bad"]:
            place.remove(note_of(part))
