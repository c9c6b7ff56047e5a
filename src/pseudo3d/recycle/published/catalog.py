"""Published weights by name.

Nothing here is downloaded or measured by this library; every record names its source.
"""

from pathlib import Path
from urllib.parse import urlsplit

from pseudo3d.errors import WeightsError, unknown
from pseudo3d.recycle.published.record import Record
from pseudo3d.recycle.published.records import RECORDS


def all_records() -> tuple[Record, ...]:
    """Every record, in the order of the families."""
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
