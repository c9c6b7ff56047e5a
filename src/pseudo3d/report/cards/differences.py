"""What differs between two runs, or between a run and this place now, by their cards."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.scans.manifest import holds_scans, read_scans
from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.cards.provenance import describe_data, describe_file, provenance

# When a run was, and how far it came, says nothing about what it was made with.
_MOMENT = {"state", "error", "started", "ended", "seconds", "earlier", "format", "folder"}
_MISSING = "not there"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Facts of two cards that are not the same, by dotted name: (of one, of the other)."""
    first, second = dict(_flat(one)), dict(_flat(other))
    names = [*first, *(name for name in second if name not in first)]
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if not prefix and key in _MOMENT:
            continue
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def differences_here(card: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is another here and now than when a run was made: (then, now).

    Code, packages, machine, and whether the files and data that went in are unchanged.
    """
    now: dict[str, Any] = {
        key: value for key, value in provenance().items() if key in card and key != "command"
    }
    home = Path(str(card.get("folder", ".")))  # addresses are as they were typed there
    if inputs := card.get("inputs"):
        now["inputs"] = {name: _file(told, home) for name, told in inputs.items()}
    if data := card.get("data"):
        now["data"] = _data(data, home)
    then = {key: card[key] for key in now}
    return differences(then, now)


def _file(told: dict[str, Any], home: Path) -> dict[str, Any]:
    if "sha256" not in told:
        return told
    found = describe_file(home / str(told.get("path")))
    return {**told, "bytes": found.get("bytes"), "sha256": found.get("sha256", _MISSING)}


def _data(told: dict[str, Any], home: Path) -> dict[str, Any]:
    """The data that are now where they were; of a part, or of loose videos, nothing is said."""
    address = told.get("address")
    if not isinstance(address, str) or told.get("part") or not told.get("classes"):
        return told
    place = address if "://" in address else home / address
    try:
        read = read_scans if holds_scans(place) else read_manifest
        return describe_data(read(place), address)
    except (Pseudo3dError, OSError):
        return {**told, "sha256": _MISSING, "content_sha256": _MISSING}
