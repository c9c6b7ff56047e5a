"""What packed shards look like: their names, and an index that is checked before it is believed.

A folder holds `part-00001.tar`, ... in webdataset's layout (KEY.json and KEY.mp4 side by side),
beside each its own small index `part-00001.json`, and when all is packed `index.json`, which says
where every sample lies. An index carries its own checksum, so that no damage to it goes unseen.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pseudo3d.errors import ManifestError

INDEX = "index.json"
FORMAT = "pseudo3d shards 1"
VIDEO = ".mp4"
BLOCK = 512  # bytes; everything in a tar starts at a multiple

_SEAL = '{"sha256": "'  # an index starts so; then the checksum of what follows it
_KEY, _HASH = re.compile(r"[A-Za-z0-9_-]{1,90}"), re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"part-[0-9]{5,8}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One video in a shard."""

    key: str
    offset: int  # of the video's first byte in the shard
    length: int  # bytes
    sha256: str  # of these bytes
    label: str
    group: str | None
    split: str | None
    source: str  # what the original was called
    start: float | None  # s, where it was cut out of the original
    end: float | None
    frames: int
    height: int  # pixels, upright
    width: int
    seconds: float  # from the first frame to the end of the last


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar file."""

    name: str  # without suffix
    bytes: int
    sha256: str
    samples: tuple[Sample, ...]
    unreadable: Mapping[str, str]  # originals that were left out, and why
    shortened: Mapping[str, str]  # originals that are damaged: packed as far as they go

    @property
    def tar(self) -> str:
        """Name of the file."""
        return f"{self.name}.tar"

    @property
    def note(self) -> str:
        """Name of its own small index."""
        return f"{self.name}.json"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All shards of a data set, and what they were packed from."""

    plan: Mapping[str, Any]
    listing: str  # sha256 of the list of originals
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    unreadable: Mapping[str, str]  # after the last shard


_COLUMNS = tuple(field.name for field in fields(Sample))


def shard_name(number: int) -> str:
    """`part-00001`, counted from 1."""
    return f"part-{number:05d}"


def write_shard(shard: Shard) -> dict[str, Any]:
    """A shard as plain values, its samples column by column: half the size of rows."""
    rows = [asdict(sample) for sample in shard.samples]
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    told = {"unreadable": dict(shard.unreadable), "shortened": dict(shard.shortened)}
    facts = {"name": shard.name, "bytes": shard.bytes, "sha256": shard.sha256}
    return {**facts, **told, "samples": columns}


def read_shard(value: Any, where: str) -> Shard:
    """A shard out of plain values.

    Raises:
        ManifestError: something in it cannot be.
    """
    table = _table(_field(value, "samples", dict, where), where)
    shard = Shard(
        name=_field(value, "name", str, where),
        bytes=_field(value, "bytes", int, where),
        sha256=_field(value, "sha256", str, where),
        samples=table,
        unreadable=_texts(value, "unreadable", where),
        shortened=_texts(value, "shortened", where),
    )
    if not _NAME.fullmatch(shard.name) or not _HASH.fullmatch(shard.sha256):
        raise _wrong(where, f"a shard is called {shard.name[:99]!r}, checksum {shard.sha256[:99]}")
    for sample in shard.samples:
        if wrong := _fault(sample, shard.bytes):
            raise _wrong(where, f"{shard.name}, {str(sample.key)[:99]!r}: {wrong}")
    return shard


def write_contents(contents: Contents) -> dict[str, Any]:
    """All shards as plain values, with the counts that a reader may want to know first."""
    shards, samples = contents.shards, [s for shard in contents.shards for s in shard.samples]
    counts = dict.fromkeys(contents.classes, 0)
    for sample in samples:
        counts[sample.label] += 1
    return {
        "count": len(samples),
        "bytes": sum(shard.bytes for shard in shards),
        "classes": counts,
        "plan": dict(contents.plan),
        "list": contents.listing,
        "unreadable": dict(contents.unreadable),
        "shards": [write_shard(shard) for shard in shards],
    }


def read_contents(value: Any, where: str) -> Contents:
    """All shards out of plain values.

    Raises:
        ManifestError: something in it cannot be.
    """
    shards = tuple(read_shard(v, where) for v in _field(value, "shards", list, where))
    classes = tuple(_field(value, "classes", dict, where))
    for what, names in (
        ("shard", [shard.name for shard in shards]),
        ("sample", [sample.key for shard in shards for sample in shard.samples]),
    ):
        if len(names) != len(set(names)):
            raise _wrong(where, f"a {what} is listed twice")
    known = set(classes)
    if strange := {s.label for shard in shards for s in shard.samples} - known:
        raise _wrong(where, f"unlisted classes: {sorted(strange)[:5]}")
    return Contents(
        plan=_field(value, "plan", dict, where),
        listing=_field(value, "list", str, where),
        classes=classes,
        shards=shards,
        unreadable=_texts(value, "unreadable", where),
    )


def seal(value: Mapping[str, Any]) -> bytes:
    """JSON with the checksum of itself in front."""
    rest = json.dumps({"format": FORMAT, **value}, ensure_ascii=False, allow_nan=False)[1:].encode()
    return f'{_SEAL}{hashlib.sha256(rest).hexdigest()}", '.encode() + rest


def is_sealed(start: bytes) -> bool:
    """Whether a file that begins so is an index of ours."""
    return start.startswith(_SEAL.encode())


def unseal(data: bytes, where: str) -> dict[str, Any]:
    """Plain values of an index whose checksum is right.

    Raises:
        ManifestError: it is damaged, or none of ours.
    """
    head = len(_SEAL) + 64 + len('", ')
    if not is_sealed(data):
        raise ManifestError(f"{where} is no index of `p3d pack --shard-size`; name another folder")
    digest, rest = data[len(_SEAL) : len(_SEAL) + 64], data[head:]
    if hashlib.sha256(rest).hexdigest().encode() != digest or data[head - 3 : head] != b'", ':
        raise ManifestError(
            f"{where}: damaged, its checksum does not fit its content; copy it again, or remove it "
            "and repeat `p3d pack`, which keeps the shards that are complete"
        )
    try:
        value = json.loads(b"{" + rest)
    except (ValueError, RecursionError) as err:
        raise _wrong(where, str(err)[:160]) from err
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else value
        raise _wrong(where, f"format {str(found)[:99]!r}, wanted {FORMAT!r}")
    return value


def _table(columns: Mapping[str, Any], where: str) -> tuple[Sample, ...]:
    lists = [_field(columns, name, list, where) for name in _COLUMNS]
    if len({len(values) for values in lists}) != 1:
        raise _wrong(where, "columns of different length")
    return tuple(Sample(**dict(zip(_COLUMNS, r, strict=True))) for r in zip(*lists, strict=True))


def _fault(sample: Sample, size: int) -> str | None:
    """What cannot be true of a sample; its key becomes part of names and must stay one."""
    s = sample
    if not isinstance(s.key, str) or not _KEY.fullmatch(s.key):
        return "a key holds more than letters, digits, - and _"
    if not isinstance(s.sha256, str) or not _HASH.fullmatch(s.sha256):
        return "its checksum is no sha256"
    whole = (s.offset, s.length, s.frames, s.height, s.width)
    if any(type(number) is not int or number < 1 for number in whole):
        return f"offset, length, frames, height, width are {whole}"[:200]
    if s.offset % BLOCK or s.offset + s.length > size:
        return f"bytes {s.offset} to {s.offset + s.length} of a shard of {size}"
    times = [t for t in (s.seconds, s.start, s.end) if t is not None]
    if s.seconds is None or not all(_is_time(t) for t in times):
        return "its times are no seconds"
    texts, maybe = (s.label, s.source), (s.group, s.split)
    if not all(isinstance(t, str) for t in (*texts, *(m for m in maybe if m is not None))):
        return "label, source, group or split are no text"
    return None


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]  # number


def _field(value: Any, name: str, kind: type, where: str) -> Any:
    found = value.get(name) if isinstance(value, Mapping) else None
    if type(found) is not kind:
        raise _wrong(where, f"{name} is a {type(found).__name__}, wanted {kind.__name__}")
    return found


def _texts(value: Any, name: str, where: str) -> dict[str, str]:
    found = _field(value, name, dict, where)
    if not all(isinstance(text, str) for text in found.values()):
        raise _wrong(where, f"{name} holds more than text")
    return found


def _wrong(where: str, why: str) -> ManifestError:
    return ManifestError(f"{where} is no index that `p3d pack` writes: {why}; get it again")


def all_unreadable(shards: Iterable[Shard]) -> dict[str, str]:
    """Originals that no shard holds, and why."""
    return {source: why for shard in shards for source, why in shard.unreadable.items()}
