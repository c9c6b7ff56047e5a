"""Random bits turned in files, for faults.py: caught, harmless, or missed."""

import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common import tell
from pseudo3d.errors import Pseudo3dError

Read = Callable[[], Any]  # everything a user gets out of a file, comparable by ==


@dataclass(frozen=True)
class Target:
    """A file whose bits are turned, and how it is read."""

    file: Path
    read: Read


def checkpoint(home: Path) -> Target:
    """Weights as `save` writes them."""
    from pseudo3d.recycle.files import read_file

    path = home / "flipped.safetensors"
    shutil.copyfile(home / "net.safetensors", path)

    def read() -> Any:
        tensors, text = read_file(path)
        return text, {k: (v.dtype, v.shape, v.numpy().tobytes()) for k, v in tensors.items()}

    return Target(path, read)


def state(home: Path) -> Target:
    """The state of an unfinished run, with an optimizer's."""
    from pseudo3d.engine.training.state import LAST, WholeFile, mend
    from pseudo3d.models import create_model

    net = create_model("p3d_nano", num_classes=12)
    adam = torch.optim.AdamW(net.parameters())
    net(torch.zeros(2, 3, 4, 32, 32)).sum().backward()
    adam.step()
    out = home / "state"
    out.mkdir(exist_ok=True)
    content = {"state_dict": net.state_dict(), "optimizer_states": [adam.state_dict()]}
    WholeFile().save_checkpoint(content, out / LAST)

    def read() -> Any:
        mend(out)
        found = torch.load(out / LAST, weights_only=True)
        moments = found["optimizer_states"][0]["state"]
        tensors = [
            *found["state_dict"].values(),
            *(t for m in moments.values() for t in m.values()),
        ]
        return [t.numpy().tobytes() for t in tensors]

    return Target(out / LAST, read)


def _shards(home: Path) -> Path:
    from pseudo3d.data.shards.write import Sharding, pack_shards
    from pseudo3d.data.shrink import Plan

    out = home / "flipped-shards"
    if not out.exists():
        films = home / "films" / "manifest.csv"
        pack_shards(films, out, Plan(size=32, transcode=True), Sharding(size=40_000, workers=0))
    return out


def _samples(out: Path, shard: str | None = None) -> Any:
    """What the samples are, and the bytes of those of a shard (None: of none)."""
    from pseudo3d.data.shards.read import read_shards

    items = read_shards(out).items
    content = [item.fetch().data for item in items if shard is not None and item.shard == shard]
    return [(i.path, i.label, i.group, i.split, i.start, i.end) for i in items], content


def shard(home: Path) -> Target:
    """A tar of videos."""
    out = _shards(home)
    path = sorted(out.glob("*.tar"))[0]
    return Target(path, lambda: _samples(out, path.name))


def index(home: Path) -> Target:
    """The index of all shards."""
    out = _shards(home)
    return Target(out / "index.json", lambda: _samples(out))


def frames(home: Path) -> Target:
    """Decoded frames in the cache, as they are held in memory; a damaged file is decoded anew."""
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.data.manifest import read_manifest

    item = read_manifest(home / "films" / "manifest.csv").items[0]
    folder = home / "frames"

    def read() -> Any:
        found = FrameStore(resize=18, folder=folder).read(item)
        return found.pixels.tobytes(), found.pixels.shape, found.times.tolist()

    read()
    return Target(max(folder.iterdir(), key=lambda p: p.stat().st_size), read)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "checkpoint": checkpoint, "state": state, "shard": shard, "index": index, "frames": frames,
}  # fmt: skip


class _Warnings(logging.Handler):
    """Counts what the library says instead of showing it."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def flip(name: str, home: Path, count: int, seed: int) -> dict[str, Any]:
    """A row: so many bits turned, one at a time, and what came of it."""
    target = TARGETS[name](home)
    whole, rng = target.file.read_bytes(), random.Random(f"{seed} {name}")
    warnings = _Warnings()
    logging.getLogger("pseudo3d").handlers = [warnings]
    logging.getLogger("pseudo3d").propagate = False
    wanted, met, began = target.read(), Counter[str](), time.perf_counter()
    for _ in range(count):
        bit = rng.randrange(8 * len(whole))
        torn = bytearray(whole)
        torn[bit // 8] ^= 1 << (bit % 8)
        target.file.write_bytes(torn)
        met[(verdict := _verdict(target, wanted, warnings))] += 1
        if verdict == "missed":
            tell(f"{name}: bit {bit % 8} of byte {bit // 8} of {len(whole)} is missed")
    target.file.write_bytes(whole)
    return {
        "file": name,
        "seed": seed,
        "bytes": len(whole),
        "flips": count,
        **{verdict: met[verdict] for verdict in ("caught", "harmless", "missed")},
        "ms_per_read": round(1e3 * (time.perf_counter() - began) / max(count, 1), 2),
    }


def _verdict(target: Target, wanted: Any, warnings: _Warnings) -> str:
    warnings.count = 0
    try:
        if target.read() != wanted:
            return "missed"
    except Pseudo3dError:
        return "caught"
    return "caught" if warnings.count else "harmless"  # a warning: noticed, and made anew
