"""Read every byte of packed shards and name what is not as it was packed."""

import hashlib
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pseudo3d.data.shards.layout import VIDEO, Shard
from pseudo3d.data.shards.read import Home, item_of, load_contents
from pseudo3d.data.shards.storage import Storage, address_of, open_storage
from pseudo3d.errors import Pseudo3dError, VideoError

_CHUNK = 2**20  # bytes read at a time


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was read, and what is wrong with it."""

    shards: int
    samples: int
    bytes: int
    damaged: dict[str, str]  # shard, or shard/sample -> what is wrong
    lost: int  # samples that cannot be read as they were packed


def verify(address: str | Path, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Compare every shard with its checksum; where it differs, sample by sample.

    Members of a tar that the index does not know are named, too: they are never read here, but
    another program may unpack them.

    Args:
        progress: called with (shards done, shards in all).

    Raises:
        ManifestError: there is no index, or it is damaged.
    """
    storage = open_storage(address_of(address))
    contents = load_contents(storage)
    home = Home(storage, {shard.tar: shard.bytes for shard in contents.shards})
    damaged: dict[str, str] = {}
    lost = 0
    for done, shard in enumerate(contents.shards, start=1):
        if fault := _fault(storage, shard):
            damaged[shard.tar] = fault
            bad = _bad_samples(home, shard)
            damaged |= bad
            lost += len(bad)
        if progress is not None:
            progress(done, len(contents.shards))
    return Verified(
        shards=len(contents.shards),
        samples=sum(len(shard.samples) for shard in contents.shards),
        bytes=sum(shard.bytes for shard in contents.shards),
        damaged=damaged,
        lost=lost,
    )


def _fault(storage: Storage, shard: Shard) -> str | None:
    """What is wrong with a shard as a whole."""
    try:
        with storage.stream(shard.tar) as file:
            reader = _Hashing(file)
            strange = _strange(reader, shard)
            while reader.read(_CHUNK):
                pass
    except FileNotFoundError:
        return "missing"
    except Exception as err:  # connections fail in the way of the library that holds them
        return f"cannot be read: {type(err).__name__}: {str(err)[:160]}"
    if reader.bytes != shard.bytes:
        return f"{reader.bytes} bytes, the index says {shard.bytes}"
    if reader.digest() != shard.sha256:
        return "its checksum differs from the index"
    return strange


def _bad_samples(home: Home, shard: Shard) -> dict[str, str]:
    found = {}
    for sample in shard.samples:
        try:
            item_of(home, shard, sample).fetch()
        except VideoError as err:
            found[f"{shard.tar}/{sample.key}{VIDEO}"] = str(err).rpartition(f"{VIDEO}: ")[2]
    return found


class _Hashing:
    """A file whose bytes are counted and hashed as they pass."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.bytes = 0

    def read(self, size: int) -> bytes:
        """Some bytes."""
        data = self._file.read(size)
        self._hash.update(data)
        self.bytes += len(data)
        return data

    def digest(self) -> str:
        """Checksum so far."""
        return self._hash.hexdigest()


def _strange(reader: Any, shard: Shard) -> str | None:
    """A member that the index does not know, or that is more than a plain file."""
    wanted = {f"{s.key}{end}" for s in shard.samples for end in (VIDEO, ".json")}
    try:
        with tarfile.open(fileobj=reader, mode="r|", bufsize=_CHUNK) as archive:
            for member in archive:
                if not member.isreg():
                    return f"holds {member.name[:99]!r}, which is no plain file"
                if member.name not in wanted:
                    return f"holds {member.name[:99]!r}, which the index does not list"
    except (tarfile.TarError, EOFError) as err:
        return f"is no tar any more: {err}"
    except Pseudo3dError:
        raise
    except (ValueError, OverflowError) as err:  # numbers of a bent header
        return f"is no tar any more: {err}"
    return None
