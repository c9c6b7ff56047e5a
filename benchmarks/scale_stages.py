"""The stages that docs/scale.md counts with: decoding, network, storage, exchange, states.

    python benchmarks/scale_stages.py [--seconds 20] [--dry]

Networks and decoding are measured in as many processes at once as the machine has cores, in
processor seconds. Every figure becomes a row of results/scale_stages.csv.
"""

import argparse
import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import count, product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from threading import Thread
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist

from common import keep, show, tell
from pseudo3d.bench.scale.samples import render
from pseudo3d.bench.scale.stages import Trial, measure, sample
from pseudo3d.cluster.place import Place
from pseudo3d.cluster.tables import results, rows_in
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item, read_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.pick import file_frames, index_file

CORES = os.cpu_count() or 1
SIZES = (224, 320)  # pixels, the shorter side of packed videos
GOPS = (12, 250)
FRAMES = 16
RESIZE = 182  # pixels
MODELS = {"p3d_tiny": 64, "p3d50": 160, "p3d152": 160}  # side of the clip
BLOCK = 2**20
READ = 300_000  # bytes of a short video
BUCKET = 100_000_000  # bytes of the gradients of P3D-50
Row = dict[str, Any]
Add = Callable[..., None]


def timed(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """Median seconds of a call, repeated for some time."""
    took, end = [], time.monotonic() + seconds
    while len(took) < 3 or time.monotonic() < end:
        began = clock()
        call()
        took.append(clock() - began)
    return median(took)


class Reader:
    """Reads the videos of a folder, one after the other, nothing known of them from before."""

    def __init__(self, folder: Path) -> None:
        self.items = read_manifest(folder).items
        self.turn, self.rng = count(), np.random.default_rng(0)

    def next(self) -> Item:
        return self.items[next(self.turn) % len(self.items)]

    def index(self) -> object:
        return index_file(self.next().path)

    def frames(self, wanted: int) -> object:
        """Consecutive frames from anywhere."""
        path = self.next().path
        index = index_file(path)
        found = index and file_frames(path, index, size=RESIZE)
        if not found:
            raise RuntimeError(f"{path} has no index")
        first = int(self.rng.integers(max(1, len(found.times) - wanted)))
        return found.take(torch.arange(first, first + wanted))

    def whole(self) -> object:
        return FrameStore(resize=RESIZE).read(self.next()).pixels

    def length(self) -> float:
        """Frames of a video, mean."""
        store = FrameStore(resize=RESIZE)
        return fmean(len(store.read(item).times) for item in self.items)


def decoding(folder: Path, seconds: float, add: Add) -> None:
    """Index, one frame anywhere, a clip of consecutive frames, all frames."""
    for side, gop in product(SIZES, GOPS):
        out = folder / f"{side}-{gop}"
        pack(folder / "videos", out, Plan(size=side, gop=gop, transcode=True))
        reader, what = Reader(out), f"{side} pixels, key frame every {gop}"
        calls: dict[str, Callable[[], object]] = {
            "index": reader.index,
            "index and one frame": partial(reader.frames, 1),
            f"index and {FRAMES} consecutive frames": partial(reader.frames, FRAMES),
        }
        for stage, call in calls.items():
            add(stage, what, 1e3 * timed(call, seconds / 8, time.process_time), "ms")
        took, frames = timed(reader.whole, seconds / 8, time.process_time), reader.length()
        add("whole video", what, 1e3 * took / frames, "ms of a frame")
        size = fmean(item.path.stat().st_size for item in reader.items)
        add("size", what, size / frames / 1e3, "kB of a frame")


def networks(
    videos: tuple[str, ...], numbers: Sequence[Literal["fp32", "bf16"]], seconds: float, add: Add
) -> None:
    """Inference and a training step of every network, on all cores at once."""
    tasks: tuple[Literal["predict", "train"], ...] = ("predict", "train")
    for (model, size), precision, task in product(MODELS.items(), numbers, tasks):
        clips = 5 if task == "predict" else 2
        trial = Trial(
            task=task,
            videos=videos,
            model=model,
            options={"num_classes": 487, "semantics": "release"} if size > 64 else {},
            precision=precision,
            resize=round(size * 182 / 160),
            size=size,
            clips=clips,
            processes=CORES,
            seconds=seconds,
        )
        tell(f"{model}, {precision}, {task}")
        costs = measure(trial)
        what = f"{model}, {precision}, {FRAMES} x {size} x {size}"
        per = clips if task == "predict" else 1
        add(f"{task}: network", what, 1e3 * costs.network / per, "ms of a clip", CORES)
        add(f"{task}: decode", what, 1e3 * costs.decode, "ms of a video or clip", CORES)
        add(f"{task}: start", what, costs.start, "s", CORES)
        if task == "train":
            add("update", what, 1e3 * costs.block, "ms of a step", CORES)
            add("state", what, costs.save, "s", CORES)
            add("gradients", what, costs.gradient / 1e6, "MB", CORES)


def bookkeeping(folder: Path, seconds: float, add: Add, videos: int = 256) -> None:
    """What a partition of `p3d batch` costs beside its videos: written, and checked in the end."""
    given = {"label": "", "group": "", "split": "", "start": None, "end": None}
    seen = {"label": "a", "prob": 1.0, "probs": np.ones(487, np.float32), "windows": 1}
    rows = [({**given, "row": i, "name": f"{i:09d}.mp4"}, {**seen, "problem": None})
            for i in range(videos)]  # fmt: skip
    place = Place(folder / "partitions")

    def write() -> None:
        data = results(rows, {"task": "predict"})
        place.write("predictions/part.parquet", data)
        place.write("done/part.json", hashlib.sha256(data).hexdigest().encode())

    def check() -> None:
        data = place.read("predictions/part.parquet")
        if place.read("done/part.json").decode() != hashlib.sha256(data).hexdigest():
            raise RuntimeError("the partition was not written")
        rows_in(data)

    add("partition", "written", 1e3 * timed(write, seconds / 8, time.process_time), "ms")
    add("partition", "checked", 1e3 * timed(check, seconds / 8, time.process_time), "ms")


def storage(folder: Path, seconds: float, add: Add) -> None:
    """Write with fsync; read cold (dropped from memory) and warm, in order and anywhere."""
    path, blocks = folder / "file", 256
    block = np.random.default_rng(0).bytes(BLOCK)

    def write() -> None:
        with path.open("wb") as file:
            for _ in range(blocks):
                file.write(block)
            os.fsync(file.fileno())

    def read(cold: bool, sizes: Iterator[int]) -> int:
        with path.open("rb", buffering=0) as file:
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for at in sizes:
                file.seek(at)
                file.read(BLOCK if at % BLOCK == 0 else READ)
        return blocks

    wall = time.monotonic
    add("write and fsync", "256 MB", 256 / timed(write, seconds / 4, wall) * 1.048576, "MB/s")
    rng = np.random.default_rng(1)
    for cold in (True, False):
        what = "from the disk" if cold else "from memory"
        took = timed(
            lambda c=cold: read(c, iter(range(0, blocks * BLOCK, BLOCK))), seconds / 8, wall
        )
        add("read in order", what, 256 / took * 1.048576, "MB/s")
        places = rng.integers(1, (blocks - 1) * BLOCK, 200) // 4096 * 4096 + 1
        took = timed(lambda c=cold, p=places: read(c, iter(p.tolist())), seconds / 8, wall)
        add("read 300 kB anywhere", what, 1e3 * took / len(places), "ms")
    path.unlink()


def loopback(seconds: float, add: Add) -> None:
    """Bytes through a TCP connection of this machine, and how long an answer takes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(BLOCK):
                    if len(data) == 1:
                        peer.sendall(data)

        thread = Thread(target=echo, daemon=True)
        thread.start()
        with socket.create_connection(server.getsockname()) as ours:
            block = bytes(64 * BLOCK)
            took = timed(lambda: ours.sendall(block), seconds / 8, time.monotonic)
            add("loopback", "64 MB through TCP", 64 / took * 1.048576, "MB/s")
            time.sleep(0.2)  # what is left of it
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def ask() -> None:
                ours.sendall(b"?")
                ours.recv(1)

            took = timed(ask, seconds / 8, time.monotonic)
            add("loopback", "one byte and its answer", 1e6 * took, "us")
        thread.join()


def reduce_in_ring(rank: int, ranks: int, store: str, seconds: float, answers: Any) -> None:
    """Sum gradients and short messages over processes."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=120),
    )
    found = []
    for length, times in ((BUCKET // 4, max(3, int(seconds))), (64, 400)):
        values, took, cpu = torch.zeros(length), [], []
        for _ in range(times):
            dist.barrier()
            began, worked = time.monotonic(), time.process_time()
            dist.all_reduce(values)
            took.append(time.monotonic() - began)
            cpu.append(time.process_time() - worked)
        found += [median(took), median(cpu)]
    if rank == 0:
        answers.put(found)
    dist.destroy_process_group()


def exchange(seconds: float, ranks: int = 2) -> tuple[float, float, float]:
    """Seconds of an all-reduce of 100 MB, of the processor of each rank, and of 64 numbers."""
    context = get_context("spawn")
    answers = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        work = [(rank, ranks, store, seconds, answers) for rank in range(ranks)]
        children = [context.Process(target=reduce_in_ring, args=w, daemon=True) for w in work]
        try:
            for child in children:
                child.start()
            large, cpu, small, _ = answers.get(timeout=300)
            for child in children:
                child.join(30)
        finally:
            for child in children:
                child.kill()
                child.join()
    return large, cpu, small


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each stage, default 20")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--precisions", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    for name in set(MODELS) - set(args.models):
        del MODELS[name]
    torch.set_num_threads(1)
    rows: list[Row] = []

    def add(stage: str, what: str, value: float, unit: str, processes: int = 1) -> None:
        figures = {"value": float(f"{value:.4g}"), "unit": unit, "processes": processes}
        rows.append({"stage": stage, "what": what, **figures})

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = render(folder / "videos", args.videos, max(SIZES))
        decoding(folder, args.seconds, add)
        tell("storage and exchange")
        bookkeeping(folder, args.seconds, add)
        storage(folder, args.seconds, add)
        loopback(args.seconds, add)
        large, cpu, small = exchange(args.seconds)
        add("all-reduce, gloo", "100 MB, 2 processes", BUCKET / large / 1e6, "MB/s", 2)
        add("all-reduce, gloo", "100 MB, processor of each", 1e3 * cpu, "ms", 2)
        add("all-reduce, gloo", "64 numbers, 2 processes", 1e6 * small, "us", 2)
        networks(sample(videos), args.precisions, args.seconds, add)
    lines = [{"variant": f"{row['stage']}: {row['what']}", **row} for row in rows]
    show("stages", lines, (), ("value", "unit", "processes"))
    keep("scale_stages", rows, args.dry)


if __name__ == "__main__":
    main()
