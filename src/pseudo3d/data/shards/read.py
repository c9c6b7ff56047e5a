"""Packed shards as a list of labeled videos: any sample by its place, checked by its checksum."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import intern

from pseudo3d.data.decode import Blob
from pseudo3d.data.item import Item
from pseudo3d.data.manifest import Manifest, listed
from pseudo3d.data.shards.cache import SampleCache, cache_of_environment
from pseudo3d.data.shards.layout import (
    INDEX,
    VIDEO,
    Contents,
    Sample,
    Shard,
    is_sealed,
    read_contents,
    unseal,
)
from pseudo3d.data.shards.storage import Storage, address_of, is_remote, open_storage
from pseudo3d.data.there import is_file
from pseudo3d.errors import ManifestError, Pseudo3dError, VideoError


@dataclass(eq=False)
class Home:
    """Where the samples of one set of shards come from."""

    storage: Storage
    sizes: dict[str, int]  # bytes of each tar
    cache: SampleCache | None = None
    _faults: dict[str, str] = field(default_factory=dict, repr=False)  # tar -> "" or what is wrong

    def check(self, tar: str) -> None:
        """See once that a shard is there and as long as it should be.

        Raises:
            VideoError: it is not.
        """
        if tar not in self._faults:
            self._faults[tar] = self._fault(tar)
        if fault := self._faults[tar]:
            raise VideoError(fault)

    def _fault(self, tar: str) -> str:
        where, wanted = f"{self.storage.address}/{tar}", self.sizes[tar]
        try:
            size = self.storage.size(tar)
        except FileNotFoundError:
            return f"{where} is missing; copy it again"
        except (Pseudo3dError, OSError) as err:
            return str(err)
        if size == wanted:
            return ""
        return f"{where}: {size} bytes, the index says {wanted}: changed or cut; copy it again"


@dataclass(frozen=True, kw_only=True)
class ShardItem(Item):
    """A video in a shard; `path` is where it would lie if the shard were a folder."""

    home: Home = field(repr=False, compare=False)
    shard: str  # name of the tar
    offset: int
    length: int  # bytes
    sha256: str
    frames: int
    height: int  # pixels, upright
    width: int
    seconds: float

    def fetch(self, *, verify: bool = True) -> Blob:
        """Read the video's bytes, and see that they are those that were packed.

        Raises:
            VideoError: the shard is missing, damaged, changed or out of reach.
        """
        home = self.home
        data = home.cache.get(self.sha256) if home.cache is not None else None
        if data is not None:
            return Blob(self.path, data)
        data = self._read()
        if verify and not self._is_right(data):
            data = self._read()  # what was bent on its way comes whole the second time
            if not self._is_right(data):
                raise VideoError(
                    f"{self.path}: checksum differs: the shard was damaged or changed since it was "
                    "packed; `p3d pack --verify` names all such samples. Copy the shard again"
                )
        if home.cache is not None and verify:
            home.cache.put(self.sha256, data)
        return Blob(self.path, data)

    def _read(self) -> bytes:
        home = self.home
        try:
            return home.storage.part(self.shard, self.offset, self.length, home.sizes[self.shard])
        except FileNotFoundError as err:
            raise VideoError(f"{self.path}: {self.shard} is missing; copy it again") from err
        except (Pseudo3dError, OSError) as err:
            raise VideoError(f"{self.path}: {err}") from err

    def _is_right(self, data: bytes) -> bool:
        return len(data) == self.length and hashlib.sha256(data).hexdigest() == self.sha256

    def stamp(self) -> tuple[object, ...]:
        """The checksum: the same sample elsewhere is the same."""
        return (self.sha256,)

    def size(self) -> int:
        """Bytes."""
        return self.length

    def check(self) -> None:
        """See that the shard is there; its samples were read when they were packed."""
        self.home.check(self.shard)

    def extent(self) -> tuple[int, int, int]:
        """Frames, and upright height and width in pixels."""
        end = self.seconds if self.end is None else min(self.end, self.seconds)
        share = (end - (self.start or 0.0)) / self.seconds if self.seconds else 1.0
        return max(round(share * self.frames), 1), self.height, self.width


def is_shards(address: str | Path) -> bool:
    """Whether a folder or an address of fsspec holds shards that `p3d pack` has completed.

    Raises:
        Pseudo3dError: a remote address cannot be read.
    """
    if not is_remote(address):
        path = Path(address) / INDEX
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_sealed(file.read(16))
    try:
        with open_storage(address).stream(INDEX) as file:
            return is_sealed(file.read(16))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def load_contents(storage: Storage) -> Contents:
    """The index of completed shards.

    Raises:
        ManifestError: there is none, or it is damaged.
    """
    where = f"{storage.address}/{INDEX}"
    try:
        return read_contents(unseal(storage.read(INDEX), where), where)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as err:
        raise ManifestError(
            f"{storage.address} holds no {INDEX}: give a folder or address that `p3d pack "
            "--shard-size` has completed"
        ) from err


def read_shards(
    address: str | Path,
    classes: Sequence[str] | None = None,
    *,
    cache: SampleCache | None = None,
) -> Manifest:
    """Packed shards as a list of labeled videos; `read_manifest` finds them by itself, too.

    Args:
        classes: as for `read_manifest`.
        cache: as for `shard_items`.

    Raises:
        ManifestError: there are none, or they contradict themselves.
        Pseudo3dError: the address cannot be read.
    """
    return listed(address, shard_items(address, cache), classes)


def shard_items(address: str | Path, cache: SampleCache | None = None) -> tuple[ShardItem, ...]:
    """Every sample of completed shards, shard by shard.

    Args:
        cache: keeps samples of a remote address; None takes what the environment says.
    """
    storage = open_storage(address_of(address))
    if cache is None and is_remote(address):
        cache = cache_of_environment()
    contents = load_contents(storage)
    home = Home(storage, {shard.tar: shard.bytes for shard in contents.shards}, cache)
    return tuple(item_of(home, shard, s) for shard in contents.shards for s in shard.samples)


def item_of(home: Home, shard: Shard, sample: Sample) -> ShardItem:
    """One sample as an item."""
    return ShardItem(
        path=Path(f"{home.storage.address}/{shard.tar}/{sample.key}{VIDEO}"),
        label=intern(sample.label),  # a million samples share a few hundred words
        group=None if sample.group is None else intern(sample.group),
        split=None if sample.split is None else intern(sample.split),
        home=home,
        shard=shard.tar,
        offset=sample.offset,
        length=sample.length,
        sha256=sample.sha256,
        frames=sample.frames,
        height=sample.height,
        width=sample.width,
        seconds=sample.seconds,
    )


def find_samples(items: Iterable[Item]) -> list[Item]:
    """Items of a table with those that name a sample (SHARDS/part-00001.tar/KEY.mp4) read there.

    Raises:
        ManifestError: the shards have no such sample.
    """
    found: list[Item] = []
    known: dict[Path, dict[Path, ShardItem]] = {}
    for item in items:
        tar = item.path.parent
        if tar.suffix != ".tar" or is_file(item.path):
            found.append(item)
            continue
        if tar.parent not in known:
            known[tar.parent] = {sample.path: sample for sample in shard_items(tar.parent)}
        sample = known[tar.parent].get(item.path)
        if sample is None:
            raise ManifestError(f"{item.path}: {tar.parent} holds no such sample")
        facts = {name: getattr(item, name) for name in ("label", "group", "split", "start", "end")}
        found.append(replace(sample, **facts))
    return found
