"""Clips and bytes out of shards against loose files, and the proof that an epoch is one.

    python benchmarks/shards.py [--videos 96] [--side 240] [--rounds 9] [--dry]

Renders videos, packs them as loose files and into shards (H.264 and JPEG frames), and reads all of
them in turn, round by round: random clips of 16 frames as training does, and every byte once, from
memory and (on Linux) from the disk. Rows go to results/shards.csv. Then loaders with 1, 2 and 3
processes read two epochs of the shards, for one rank and for two, stopping in the middle and going
on; which samples came is counted, and the rows go to results/shards_epochs.csv.
"""

import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import torch

from common import keep, options, parse, show, tell
from folder import render
from pseudo3d.bench.timing import Timing, speedup, threads
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, Draw, EpochSampler, loader
from pseudo3d.data.decode import Blob
from pseudo3d.data.manifest import Item, Manifest, write_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.shards.order import epoch_order
from pseudo3d.data.shards.read import ShardItem, read_shards
from pseudo3d.data.shards.write import Sharding, pack_shards

FRAMES = 16
SHARDS = 10  # about so many, however few the videos
LOOSE = "loose files, packed"
COLUMNS = ("megabytes", "per_s", "per_cpu_s", "speedup", "speedup_low", "speedup_high")
Items = tuple[Item, ...]


class Unchecked(ShardItem):
    """A sample whose checksum is not looked at."""

    def fetch(self, *, verify: bool = False) -> Blob:
        """Its bytes as they come."""
        return super().fetch(verify=False)


@dataclass
class Entry:
    """One way of keeping the videos, and what reading them took, round by round."""

    items: Items
    read: Callable[[Items, int], None]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def turn(self, number: int) -> None:
        """Read everything once."""
        if self.read is from_disk:
            forget(self.items)
        wall, cpu = time.perf_counter(), time.process_time()
        self.read(self.items, number)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def timing(self) -> Timing:
        """Seconds per round."""
        return Timing(wall=tuple(self.wall), cpu=tuple(self.cpu))


def prepare(folder: Path, args: Any) -> dict[str, Items]:
    """The same videos in every form, in the same order."""
    raw = folder / "raw"
    raw.mkdir()
    files = render(raw, args.videos, args.side)
    listed = Manifest(tuple(Item(path=f, label="ab"[i % 2]) for i, f in enumerate(files)), ())
    write_manifest(listed, raw / "manifest.csv")
    plan = Plan(size=args.resize, transcode=True)
    tell("packing")
    loose = pack(raw, folder / "loose", plan)
    how = Sharding(size=loose.bytes()[1] // SHARDS, workers=0)
    shards = pack_shards(raw, folder / "shards", plan, how)
    jpeg = pack_shards(raw, folder / "jpeg", Plan(size=args.resize, frames=True), how)
    by_name = {item.path: new for item, new in zip(loose.items, loose.packed, strict=True)}
    unchecked = (
        Unchecked(**{f.name: getattr(item, f.name) for f in fields(item)}) for item in shards.packed
    )
    return {
        "originals": shards.items,
        LOOSE: tuple(by_name[item.path] for item in shards.items),
        "shards": shards.packed,
        "shards, no checksum": tuple(unchecked),
        "shards, JPEG frames": jpeg.packed,
    }


def clips(sampling: Any, resize: int) -> Callable[[Items, int], None]:
    """Reads a random clip of every video, as training does."""
    sides = (resize, resize)
    mean, std = (0.0,) * 3, (1.0,) * 3
    pre = Preprocessing(
        frames=FRAMES, sampling=sampling, resize=resize, size=sides, mean=mean, std=std
    )
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, random=True)
    stores: dict[int, FrameStore] = {}

    def read(items: Items, number: int) -> None:
        store = stores.setdefault(id(items), FrameStore(resize=resize))
        data = ClipDataset(items, [0] * len(items), store, spec)
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(number))
        for i in order.tolist():
            data[Draw(i, number)]

    return read


def every_byte(items: Items, number: int) -> None:
    """Reads each video whole, in the order of the list."""
    for item in items:
        source = item.fetch()
        _ = source.data if isinstance(source, Blob) else source.read_bytes()


def from_disk(items: Items, number: int) -> None:
    """`every_byte`, after the system has been made to forget the files."""
    every_byte(items, number)


def forget(items: Items) -> None:
    """Let the system drop what it keeps of these files in memory, where it can."""
    os.sync()
    for path in {i.path.parent if isinstance(i, ShardItem) else i.path for i in items}:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def race(sets: dict[str, Items], read: Callable[[Items, int], None], args: Any) -> dict[str, Entry]:
    """Every set in turn, another first in each round; round 0 warms."""
    found = {name: Entry(items, read) for name, items in sets.items()}
    names = list(found)
    for number in range(args.rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].turn(number)
    for entry in found.values():
        del entry.wall[0], entry.cpu[0]
    return found


def rows(what: str, found: dict[str, Entry], cores: int) -> list[dict[str, Any]]:
    """Lines of the table."""
    base, lines = found[LOOSE].timing(), []
    for name, entry in found.items():
        ratio, cpu = (speedup(base, entry.timing(), cpu=c) for c in (False, True))
        count = len(entry.items) * len(entry.wall)
        lines.append(
            {
                "variant": f"{what}: {name}",
                "videos": len(entry.items),
                "rounds": len(entry.wall),
                "megabytes": round(sum(item.size() for item in entry.items) / 1e6, 2),
                "threads": cores,
                "per_s": round(count / sum(entry.wall), 1),
                "per_cpu_s": round(count / sum(entry.cpu), 1),
                "speedup": round(ratio.median, 3),
                "speedup_low": round(ratio.low, 3),
                "speedup_high": round(ratio.high, 3),
                "cpu_speedup": round(cpu.median, 3),
            }
        )
    return lines


def epochs(address: Path, ranks: int, workers: int) -> dict[str, Any]:
    """Read two epochs with every rank's loader, breaking off in the middle of the second."""
    manifest = read_shards(address)
    pre = Preprocessing(frames=2, resize=24, size=(24, 24), mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, random=True)
    data = ClipDataset(manifest.items, manifest.labels, FrameStore(resize=24), spec)
    order = epoch_order(manifest.items, window=3)
    seen: dict[int, Counter[int]] = {0: Counter(), 1: Counter()}
    shards = set()
    for rank in range(ranks):
        sampler = EpochSampler(len(data), 7, 5, rank=rank, ranks=ranks, order=order)
        fed, half = loader(data, sampler, workers), len(sampler) // 2
        for epoch, first, last in ((0, 0, None), (1, 0, half), (1, half, None)):
            sampler.epoch, sampler.skip = epoch, first
            for number, batch in enumerate(fed, start=first):
                if last is not None and number >= last:
                    break
                used = batch.used().items.tolist()
                seen[epoch].update(used)
                shards |= {manifest.items[i].shard for i in used}
    wanted = range(len(data))
    return {
        "variant": f"{workers} workers x {ranks} ranks",
        "workers": workers,
        "ranks": ranks,
        "samples": len(data),
        "shards": len(shards),
        "epochs": len(seen),
        "read": sum(sum(count.values()) for count in seen.values()),
        "lost": sum(count[i] == 0 for count in seen.values() for i in wanted),
        "doubled": sum(count[i] > 1 for count in seen.values() for i in wanted),
    }


def main() -> None:
    parser = options(__doc__, rounds=9, seconds=600, threads=[1])
    parser.add_argument("--videos", type=int, default=96)
    parser.add_argument("--side", type=int, default=240, help="of the rendered videos, pixels")
    parser.add_argument("--resize", type=int, default=128, help="packed shorter side, pixels")
    args = parse(parser)
    set_forkserver_preload(["pseudo3d.data.dataset"])  # imports torch once for all loaders
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more than cores
    with tempfile.TemporaryDirectory() as folder, threads(1) as cores:
        sets = prepare(Path(folder), args)
        ways = {
            "uniform clip": clips("uniform", args.resize),
            "dense clip": clips("dense", args.resize),
            "every byte": every_byte,
            "every byte from the disk": from_disk,
        }
        for what, read in ways.items():
            tell(what)
            lines = rows(what, race(sets, read, args), cores)
            show(f"{args.videos} videos, {what}", lines, (), COLUMNS)
            keep("shards", lines, args.dry)
        tell("epochs")
        shards = Path(folder) / "shards"
        lines = [epochs(shards, ranks, workers) for ranks in (1, 2) for workers in (1, 2, 3)]
        show("two epochs", lines, (), ("shards", "epochs", "read", "lost", "doubled"))
        keep("shards_epochs", lines, args.dry)
        if any(line["lost"] or line["doubled"] for line in lines):
            sys.exit("an epoch is not whole")


if __name__ == "__main__":
    main()
