"""Pack a data set into shards: in parallel, going on where it was killed, same bytes every time.

Originals are taken in an order that looks random and depends on their names alone, so that every
shard holds all classes. A shard counts when the small index beside it is there.
"""

import json
import os
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.pack import NOTE, Packed, Plan, Progress, check_plan
from pseudo3d.data.shards.encode import Encoded, Work, encode_all
from pseudo3d.data.shards.layout import (
    INDEX,
    VIDEO,
    Contents,
    Sample,
    Shard,
    all_unreadable,
    read_shard,
    seal,
    shard_name,
    unseal,
    write_contents,
    write_shard,
)
from pseudo3d.data.shards.originals import Original, digest, in_order
from pseudo3d.data.shards.read import Home, item_of, load_contents
from pseudo3d.data.shards.storage import Folder, Storage, address_of, open_storage
from pseudo3d.data.shards.tar import END, TarWriter, room_of
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.lock import sole

_OURS = re.compile(r"(pack|index|card)\.json|part-[0-9]{5,8}\.(tar|json)|\..*")


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """How large the shards are, and how many processes make them."""

    size: int = 2**30  # bytes of a tar, at most, unless one video is larger
    workers: int | None = None  # 0: in this process; None: one per core

    def __post_init__(self) -> None:
        if self.size < 1 or (self.workers or 0) < 0:
            raise ValueError(
                f"size is {self.size}, workers {self.workers}: wanted bytes >= 1, processes >= 0"
            )


def pack_shards(
    data: str | Path,
    out: str | Path,
    plan: Plan,
    how: Sharding | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Pack every video of a manifest, folder or set of shards into shards at OUT.

    Spans are cut out. The same call again goes on after the last complete shard.

    Args:
        out: a folder, or an address of fsspec that can be written to.

    Raises:
        ManifestError: the list contradicts itself or the disk.
        Pseudo3dError: OUT holds something else, an original vanished, or nothing can be read.
    """
    how, storage = how or Sharding(), open_storage(address_of(out))
    manifest = read_manifest(data)
    root = Path(data)
    if isinstance(storage, Folder) and storage.path.resolve().is_relative_to(root.resolve()):
        raise Pseudo3dError(f"{out} is inside {data}: name a folder outside of the data")
    originals = in_order(manifest, root if root.is_dir() else root.parent)
    with ExitStack() as stack:
        if isinstance(storage, Folder):
            stack.enter_context(sole(storage.path))
        contents, kept = _claim(storage, originals, plan, how), len(originals)
        if contents is None:
            shards = _complete(storage, originals)
            kept = sum(len(shard.samples) + len(shard.unreadable) for shard in shards)
            made = _made(originals, kept, plan, how.workers, progress)
            with closing(made):
                lost = _pack(storage, made, shards, how.size)
            if not shards:
                raise Pseudo3dError(f"{data}: none of the {len(lost)} files can be read")
            contents = Contents(
                plan=asdict(plan),
                listing=digest(originals),
                classes=manifest.classes,
                shards=tuple(shards),
                unreadable=lost,
            )
            _write(storage, INDEX, write_contents(contents))
    return _packed(storage, contents, originals, kept)


def _claim(
    storage: Storage, originals: list[Original], plan: Plan, how: Sharding
) -> Contents | None:
    """Take the place, or go on with it; gives what is there already when it is complete."""
    names, listing, where = storage.names(), digest(originals), storage.address
    if strange := [name for name in names if not _OURS.fullmatch(name)]:
        raise Pseudo3dError(
            f"{where} already holds something else ({strange[0]}); name a new folder"
        )
    note = {"plan": asdict(plan), "shards": {"size": how.size}, "list": listing}
    if NOTE not in names:
        if any(not name.startswith((".", "card")) for name in names):
            raise Pseudo3dError(f"{where} holds shards without {NOTE}; name a new folder")
        with storage.create(NOTE) as file:
            file.write(json.dumps(note, indent=2).encode())
        return None
    try:
        before = json.loads(storage.read(NOTE))
        check_plan(before["plan"], plan, where)
        size, begun = before["shards"]["size"], before["list"]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise Pseudo3dError(
            f"{where}/{NOTE} is damaged or of a pack without shards; name a new folder"
        ) from err
    if size != how.size:
        raise Pseudo3dError(f"{where} was packed with shards of {size} bytes; repeat that")
    if listing != begun:
        raise Pseudo3dError(
            f"{where} was begun with other originals, or they have changed since; name a new folder"
        )
    return load_contents(storage) if INDEX in names else None


def _complete(storage: Storage, originals: list[Original]) -> list[Shard]:
    """The shards of an interrupted run that are whole, from the first on."""
    done: list[Shard] = []
    names, at = set(storage.names()), 0
    while True:
        name = shard_name(len(done) + 1)
        if not {f"{name}.tar", f"{name}.json"} <= names:
            return done
        try:
            where = f"{storage.address}/{name}.json"
            shard = read_shard(unseal(storage.read(f"{name}.json"), where), where)
        except ManifestError:  # it is packed again, and comes out the same
            return done
        taken = originals[at : at + len(shard.samples) + len(shard.unreadable)]
        keys = [o.key for o in taken if o.name not in shard.unreadable]
        if keys != [s.key for s in shard.samples] or storage.size(shard.tar) != shard.bytes:
            return done
        done.append(shard)
        at += len(taken)


class _Results:
    """What became of originals, with a look at the next one."""

    def __init__(self, found: Iterator[tuple[Original, Encoded | str]]) -> None:
        self._found = found
        self.next = next(found, None)

    def skip(self) -> None:
        """Go on to the one after the next."""
        self.next = next(self._found, None)

    def lost(self) -> dict[str, str]:
        """The unreadable ones that come next, and why."""
        found: dict[str, str] = {}
        while self.next is not None and isinstance(why := self.next[1], str):
            found[self.next[0].name] = why
            self.skip()
        return found


def _pack(
    storage: Storage,
    made: Iterator[tuple[Original, Encoded | str]],
    shards: list[Shard],
    size: int,
) -> dict[str, str]:
    """Shard after shard; gives the unreadable originals after the last one."""
    results = _Results(made)
    lost = results.lost()
    while results.next is not None:
        shards.append(_write_one(storage, shard_name(len(shards) + 1), results, lost, size))
        lost = results.lost()
    return lost


def _made(
    originals: list[Original], kept: int, plan: Plan, workers: int | None, progress: Progress | None
) -> Generator[tuple[Original, Encoded | str]]:
    """What becomes of the originals after the first `kept`."""
    todo = originals[kept:]
    works = [Work(o.key, o.item) for o in todo]
    found = encode_all(works, plan, (os.cpu_count() or 1) if workers is None else workers)
    for count, (original, (_, result)) in enumerate(zip(todo, found, strict=True), kept + 1):
        yield original, result
        if progress is not None:
            progress(count, len(originals))


def _write_one(
    storage: Storage, name: str, results: _Results, lost: dict[str, str], limit: int
) -> Shard:
    """Fill one tar, then write its small index, which makes it count."""
    samples, shortened = list[Sample](), dict[str, str]()
    with storage.create(f"{name}.tar") as file:
        tar = TarWriter(file)
        while results.next is not None:
            original, found = results.next
            if isinstance(found, str):
                lost[original.name] = found
                results.skip()
                continue
            facts = original.facts(found)
            text = json.dumps(facts, ensure_ascii=False, indent=1).encode()
            if samples and tar.bytes + room_of(text, found.data) + END > limit:
                break
            tar.add(f"{original.key}.json", text)
            at = tar.add(f"{original.key}{VIDEO}", found.data)
            samples.append(Sample(key=original.key, offset=at, length=len(found.data), **facts))
            if found.note:
                shortened[original.name] = found.note
            results.skip()
        checksum = tar.close()
    told = {"unreadable": lost, "shortened": shortened}
    shard = Shard(name=name, bytes=tar.bytes, sha256=checksum, samples=tuple(samples), **told)
    _write(storage, shard.note, write_shard(shard))
    return shard


def _write(storage: Storage, name: str, value: dict[str, Any]) -> None:
    with storage.create(name) as file:
        file.write(seal(value))


def _packed(storage: Storage, contents: Contents, originals: list[Original], kept: int) -> Packed:
    """What became of every original, those of earlier runs too."""
    home = Home(storage, {shard.tar: shard.bytes for shard in contents.shards})
    items = {s.key: item_of(home, shard, s) for shard in contents.shards for s in shard.samples}
    lost = {**all_unreadable(contents.shards), **contents.unreadable}
    short = {k: why for shard in contents.shards for k, why in shard.shortened.items()}
    old = sum(o.key in items for o in originals[:kept])
    good = [o for o in originals if o.key in items]
    return Packed(
        manifest=Path(f"{storage.address}/{INDEX}"),
        items=tuple(o.item for o in good),
        packed=tuple(items[o.key] for o in good),
        counts={"packed": len(good) - old, "kept": old},
        unreadable={o.item.path: lost[o.name] for o in originals if o.name in lost},
        shortened={o.item.path: short[o.name] for o in good if o.name in short},
    )
