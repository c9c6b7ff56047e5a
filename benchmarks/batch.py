"""Batches on two Ray nodes: one killed in the middle, the driver killed, one actor against two.

    python benchmarks/batch.py                   1,000 videos; rows go to results/batch.csv
    python benchmarks/batch.py --videos 60 --only nodes --dry

Everything runs on this machine: the nodes are two sets of Ray's processes on the loopback address
with one processor each, and a node is killed as a machine is that is switched off.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
    "OMP_NUM_THREADS": "1",
}

import pyarrow.parquet as pq
import torch

from common import keep, tell
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.models import create_model
from pseudo3d.weights import save

PROGRAM = [sys.executable, "-c", "from pseudo3d.cli.main import main; main()", "batch", "predict"]
STORE = 100 * 2**20  # bytes of each node's object store
CLASSES = ("push", "pull", "wave")


def render(home: Path, count: int, size: int = 64, frames: int = 16) -> Path:
    """Short videos of moving waves, one in a hundred cut off; gives their list."""
    rng = torch.Generator().manual_seed(0)
    grid = torch.linspace(0, 6.3, size)
    names = []
    for i in range(count):
        speed, wave, phase = (torch.rand(3, generator=rng) * torch.tensor([0.8, 3, 6])).tolist()
        shifts = torch.arange(frames) * speed + phase
        film = torch.sin(grid * wave + shifts[:, None])[None, :, None].expand(3, -1, size, -1)
        path = home / f"{i:05d}.mp4"
        write_video(path, (128 + 100 * film).byte(), fps=12)
        if i % 100 == 50:
            path.write_bytes(path.read_bytes()[:300])
        names.append(path.name)
    (home / "list.txt").write_text("\n".join(names))
    return home / "list.txt"


def network(home: Path, model: str, size: int) -> Path:
    """Fresh weights of a network for such videos."""
    torch.manual_seed(0)
    pre = Preprocessing(frames=16, resize=size, size=(size, size), mean=(0.5,) * 3, std=(0.25,) * 3)
    path = home / "weights.safetensors"
    save(create_model(model, num_classes=3), path, classes=CLASSES, preprocessing=pre)
    return path


@contextmanager
def cluster(nodes: int) -> Iterator[tuple[Any, list[Any]]]:
    """Nodes of one processor each on the loopback address."""
    from ray.cluster_utils import Cluster

    alone = {"num_cpus": 1, "object_store_memory": STORE, "node_ip_address": "127.0.0.1"}
    head = {**alone, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield found, [found.add_node(**alone) for _ in range(nodes - 1)]
    finally:
        found.shutdown()


class Driver:
    """The command in a process of its own, watched through the notes it leaves."""

    def __init__(self, listed: Path, weights: Path, out: Path, *engine: str) -> None:
        self.out, self.began = out, time.perf_counter()
        line = [*PROGRAM, str(listed), "--weights", str(weights), "--out", str(out), *engine]
        self.process = subprocess.Popen([*line, "--json"], stdout=subprocess.PIPE)
        self.first: tuple[float, int] | None = None  # when, and how many were done by then

    @property
    def done(self) -> int:
        """Partitions that are kept."""
        return len(list(self.out.glob("done/part-*.json")))

    def until(self, parts: int) -> None:
        """Wait until so many partitions are kept."""
        while self.done < parts and self.process.poll() is None:
            if self.first is None and self.done:
                self.first = time.perf_counter(), self.done
            time.sleep(0.05)

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def summary(self) -> dict[str, Any]:
        """What it says in the end, with its pace once all workers ran."""
        self.until(2**31)
        told, _ = self.process.communicate()
        if self.process.returncode:
            raise SystemExit(f"p3d batch failed with {self.process.returncode}")
        found = json.loads(told)
        when, parts = self.first or (self.began, 0)
        size = json.loads((self.out / "run.json").read_text())["size"]
        seconds = time.perf_counter() - when
        return {**found, "pace": (found["rows"] - parts * size) / seconds}


def tables(out: Path) -> dict[str, str]:
    """Digest of every table."""
    files = [*out.glob("predictions/*"), *out.glob("quarantine/*")]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def once_each(out: Path, count: int) -> tuple[int, int]:
    """Videos without a row, and rows too many, counted from the tables alone."""
    numbers = Counter[int]()
    for folder in ("predictions", "quarantine"):
        if (out / folder).is_dir():
            numbers.update(pq.read_table(out / folder).column("row").to_pylist())
    return count - len(numbers), sum(numbers.values()) - len(numbers)


def row(what: str, out: Path, found: dict[str, Any], **more: Any) -> dict[str, Any]:
    missing, twice = once_each(out, found["rows"])
    return {
        "variant": what,
        "videos": found["rows"],
        "rows": found["good"],
        "quarantined": found["bad"],
        "missing": missing,
        "twice": twice,
        "partitions": found["partitions"],
        "seconds": round(found["seconds"], 1),
        "videos_per_s": round(found["pace"], 2),
        "same_as_undisturbed": more.get("same"),
        "speedup": more.get("speedup"),
        "model": more.get("model"),
    }


def measure(args: argparse.Namespace, home: Path) -> Iterator[dict[str, Any]]:
    """Every part that was asked for."""
    (home / "videos").mkdir()
    tell(f"rendering {args.videos} videos")
    listed = render(home / "videos", args.videos)
    weights = network(home, args.model, args.size)
    part = max(1, args.videos // 50)
    size = ("--partition", str(part))
    undisturbed: dict[str, str] = {}
    pace: dict[str, float] = {}

    def run(name: str, *engine: str) -> Driver:
        tell(name)
        return Driver(listed, weights, home / name.replace(" ", "-"), *engine, *size)

    if "speed" in args.only:
        for workers in (1, 2):
            driver = run(f"local {workers}", "--workers", str(workers))
            found = driver.summary()
            pace[f"local {workers}"] = found["pace"]
            undisturbed = tables(driver.out)
            gain = round(found["pace"] / pace["local 1"], 2)
            yield row(f"local, {workers} processes", driver.out, found, speedup=gain)
    with cluster(2) as (nodes, others):
        ray = ("--engine", "ray", "--address", nodes.address)
        if "speed" in args.only:
            for workers in (1, 2):
                driver = run(f"ray {workers}", *ray, "--workers", str(workers))
                found = driver.summary()
                pace[f"ray {workers}"] = found["pace"]
                gain = round(found["pace"] / pace["ray 1"], 2)
                same = tables(driver.out) == undisturbed
                yield row(f"Ray, {workers} actors", driver.out, found, speedup=gain, same=same)
        if "driver" in args.only:
            driver = run("driver killed", *ray)
            driver.until(15)
            driver.kill()
            kept = driver.done
            found = run("driver killed", *ray).summary()
            same = tables(driver.out) == undisturbed if undisturbed else None
            yield row(f"Ray, driver killed at {kept} of 50", driver.out, found, same=same)
        if "nodes" in args.only:
            driver = run("node killed", *ray)
            driver.until(15)
            kept = driver.done
            tell(f"{kept} partitions are done: a node is switched off")
            nodes.remove_node(others[0], allow_graceful=False)
            found = driver.summary()
            same = tables(driver.out) == undisturbed if undisturbed else None
            yield row(f"Ray, a node killed at {kept} of 50", driver.out, found, same=same)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--model", default="p3d_nano")
    parser.add_argument("--size", type=int, default=64, help="pixels of the network's input")
    parts = ("speed", "driver", "nodes")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for found in measure(args, Path(folder)):
            told = {**found, "model": f"{args.model}, 16 frames of {args.size} x {args.size}"}
            print(json.dumps(told), flush=True)
            keep("batch", [told], args.dry)


if __name__ == "__main__":
    main()
