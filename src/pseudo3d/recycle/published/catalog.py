"""Published weights as data: where they are, what they are, and what they are said to score.

Nothing here is downloaded or measured by this library; every record names its source. A digest is
what the publisher, or several independent users of the file, give for it; where nobody does it is
None, never computed from a copy nobody can compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pseudo3d.errors import WeightsError, unknown

if TYPE_CHECKING:
    from pseudo3d.data.preprocess import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Published:
    """One score as its source states it; nothing about this library's own runs."""

    metric: str
    value: float  # a fraction, as all scores of ours
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One file of published weights."""

    name: str  # network.data[_variant]
    network: str  # of ours, as in `create_model`; options as `load` finds them
    file: str  # its usual name; "" where nobody wrote it down
    address: str  # of the file, or of the page that leads to it
    direct: bool = True  # the address is the file
    sha256: str | None = None  # whole, or the first digits, which some publishers put in the name
    sha1: str | None = None
    license: str
    classes: int | None = None  # None: no classifier
    label_set: str | None = None  # whose classes, in whose order; their names are not in here
    prepare: Mapping[str, Any] | None = None  # fields of Preprocessing
    scores: tuple[Published, ...] = ()
    source: str  # where the scores and the preprocessing stand
    notes: str = ""

    @property
    def preprocessing(self) -> "Preprocessing | None":
        """What the publisher says the network takes."""
        from pseudo3d.data.preprocess import Preprocessing

        return None if self.prepare is None else Preprocessing(**self.prepare)

    @property
    def told_scores(self) -> list[dict[str, Any]]:
        """The scores as plain values."""
        return [vars(score) for score in self.scores]


def all_records() -> tuple[Record, ...]:
    """Every record, in the order of the families."""
    from pseudo3d.recycle.published.records import RECORDS

    return RECORDS


def record(name: str) -> Record:
    """The record of a name.

    Raises:
        WeightsError: no such record; the message gives the nearest.
    """
    found = {r.name: r for r in all_records()}
    if name not in found:
        raise WeightsError(unknown("weights", name, found))
    return found[name]


def of_file(path: Path, network: str, classes: int | None) -> Record | None:
    """The record whose file has this name and fits what the file turned out to hold."""
    for known in all_records():
        names = (known.file, known.address.rpartition("/")[2] if known.direct else "")
        if path.name in names and (known.network, known.classes) == (network, classes):
            return known
    return None


def host(address: str) -> str:
    """Where an address leads."""
    return urlsplit(address).hostname or address
