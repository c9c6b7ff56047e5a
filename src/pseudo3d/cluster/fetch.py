"""The bytes of a video that is no file of this machine.

The process that decodes them knows no secrets and reaches no network by itself: they are fetched
for it.
"""

from functools import lru_cache
from pathlib import Path

from pseudo3d.cluster.inputs import Row
from pseudo3d.data.shards.read import Home, ShardItem
from pseudo3d.data.shards.storage import Storage, address_of, is_remote, open_storage
from pseudo3d.errors import VideoError

LARGEST = 2**30  # bytes of a video that is fetched; longer ones belong on a disk
_BLOCK = 2**22  # bytes read at once
_open = lru_cache(64)(open_storage)


def fetch(row: Row) -> bytes | None:
    """The bytes of a row's video; None where it is a file of this machine.

    Raises:
        Pseudo3dError: it cannot be reached, is too large or not what the list promises.
        OSError: it is not there, or its disk does not answer.
    """
    name = str(row["name"])
    if row["shard"] is not None:
        return _sample(row, address_of(name))
    if is_remote(name):
        return _download(address_of(name))
    if not Path(name).exists():
        raise FileNotFoundError(f"{name}: no such file")
    return None


class _Sizes(dict[str, int]):
    """Bytes of each tar, asked for when they are needed."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage = storage

    def __missing__(self, tar: str) -> int:
        self[tar] = self.storage.size(tar)
        return self[tar]


@lru_cache(64)
def _home(address: str) -> Home:
    storage = open_storage(address)
    return Home(storage, _Sizes(storage))


def _sample(row: Row, address: str) -> bytes:
    """A sample of a shard, verified; the row says all of it that is needed."""
    item = ShardItem(
        path=Path(address),
        label="",
        home=_home(address.rpartition(f"/{row['shard']}/")[0]),
        shard=row["shard"],
        offset=row["offset"],
        length=row["length"],
        sha256=row["sha256"],
        frames=0,  # its size is not needed, but to forecast a cache
        height=0,
        width=0,
        seconds=0.0,
    )
    return item.fetch().data


def _download(address: str) -> bytes:
    home, _, name = address.rpartition("/")
    parts, size = list[bytes](), 0
    with _open(home).stream(name) as file:
        while block := file.read(_BLOCK):
            parts.append(block)
            size += len(block)
            if size > LARGEST:
                raise VideoError(
                    f"{address} has more than {LARGEST >> 20} MiB; put it on a disk that the "
                    "workers share, or cut it down"
                )
    return b"".join(parts)
