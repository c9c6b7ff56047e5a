"""A service under load: clients that send videos without pause, and some that do harm.

    python benchmarks/load.py [--clients 32] [--seconds 120] [--dry]

Starts `p3d serve` (a p3d_tiny with fresh weights, or --weights) as a process of its own on this
machine. Every client sends one video after another and compares the answer with what
`pseudo3d.predict` says. Beside them one client sends nonsense, an upload that is too large, and
uploads it breaks off; and every --kill seconds a decoder is killed. One row goes to
results/load.csv; --curve keeps the memory of the service and its decoders, second by second.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from common import keep, show, tell
from pseudo3d.bench.ways import enliven
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.rendered.motions import CLASSES, render_clip
from pseudo3d.data.video import write_video
from pseudo3d.engine.predict import Prediction, predict
from pseudo3d.models import create_model
from pseudo3d.serve.metrics import resident
from pseudo3d.weights import save

SERVER = """
import sys
from pathlib import Path
from pseudo3d.runtime.process import keep_memory
from pseudo3d.serve.run import listen, run
from pseudo3d.serve.settings import Settings
keep_memory()
settings = Settings(weights=Path(sys.argv[1]), port=0, threads=int(sys.argv[2]),
                    queue=int(sys.argv[3]), decoders=int(sys.argv[4]))
door = listen(settings)
print(door.getsockname()[1], flush=True)
run(settings, door)
"""
CLOSE = 2e-4  # between two runs of the network in batches of other sizes
COLUMNS = (
    "clients", "requests", "wrong", "lost", "busy", "requests_per_s", "clips_per_s", "p50_ms",
    "p99_ms", "longest_ms", "killed", "memory_start_mb", "memory_end_mb", "memory_peak_mb",
)  # fmt: skip


@dataclass
class Found:
    """What happened."""

    seconds: list[float] = field(default_factory=list)  # of each answer
    wrong: int = 0
    busy: int = 0  # asked to come back later, and did
    lost: list[str] = field(default_factory=list)
    killed: int = 0
    refused: int = 0  # of the client that does harm
    memory: list[tuple[float, int]] = field(default_factory=list)  # s, bytes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--weights", type=Path, help="default: a p3d_tiny with fresh weights")
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--decoders", type=int, default=2)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--kill", type=float, default=20.0, help="s between two killed decoders")
    parser.add_argument("--curve", type=Path, help="CSV of the memory over time")
    parser.add_argument("--dry", action="store_true", help="keep no row in results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = args.weights or fresh(Path(folder) / "weights.safetensors")
        videos = render(Path(folder), args.videos)
        expected = [predict(weights, video) for video in videos]
        tell(f"{len(videos)} videos; starting the service")
        line = [str(n) for n in (weights, args.threads, args.queue, args.decoders)]
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, *line], stdout=subprocess.PIPE, text=True
        )
        try:
            row = asyncio.run(measure(server, args, videos, expected))
        finally:
            server.terminate()
            server.wait(30)
    show(f"{args.clients} clients for {args.seconds:g} s", [row], columns=COLUMNS)
    keep("load", [row], args.dry)
    if row["wrong"] or row["lost"]:
        sys.exit(1)


def fresh(path: Path) -> Path:
    """Weights as if trained."""
    torch.manual_seed(0)
    net = enliven(create_model("p3d_tiny", num_classes=len(CLASSES))).eval()
    pre = Preprocessing(frames=16, resize=72, size=(64, 64), mean=(0.5,) * 3, std=(0.25,) * 3)
    training = {"clip_seconds": 2.0, "longest_seconds": 3.0}
    save(net, path, classes=CLASSES, preprocessing=pre, training=training)
    return path


def render(folder: Path, count: int) -> list[Path]:
    """Short videos of little people; every eighth is long and cut into windows."""
    files = []
    for i in range(count):
        parts = 8 if i % 8 == 7 else 1
        clips = [
            render_clip(CLASSES[(i + j) % len(CLASSES)], person=i, size=96) for j in range(parts)
        ]
        frames = torch.from_numpy(np.concatenate([clip.frames for clip in clips]))
        files.append(folder / f"{i:03d}.mp4")
        write_video(files[-1], frames.permute(3, 0, 1, 2), clips[0].fps)
    return files


async def measure(
    server: subprocess.Popen[str], args: Any, videos: list[Path], expected: list[Prediction]
) -> dict[str, Any]:
    """Let the clients run, then sum up."""
    port = (server.stdout.readline() if server.stdout else "").strip()
    base, found = f"http://127.0.0.1:{port}", Found()
    limits = httpx.Limits(max_connections=args.clients + 4)
    async with httpx.AsyncClient(base_url=base, timeout=300, limits=limits) as client:
        while (await client.get("/health")).json()["status"] != "ready":
            await asyncio.sleep(0.2)
        for i, video in enumerate(videos):  # sizes are packed, memory is taken
            await ask(client, video, expected[i], Found())
        clips, end = await counter(client, "p3d_clips_total"), time.monotonic() + args.seconds
        tell("clients start")
        began = time.monotonic()
        aside = [
            asyncio.create_task(job)
            for job in (harm(base, found), kills(server.pid, args.kill, end, found),
                        memory(server.pid, found))
        ]  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for number in range(args.clients):
                group.create_task(user(client, number, end, videos, expected, found))
        took = time.monotonic() - began
        for task in aside:
            task.cancel()
        await asyncio.gather(*aside, return_exceptions=True)
        clips = await counter(client, "p3d_clips_total") - clips
        replaced = await counter(client, "p3d_decoders_replaced_total")
    tell(f"refused uploads of the harmful client: {found.refused}; decoders replaced: {replaced}")
    for line in found.lost[:5]:
        tell(f"lost: {line}")
    return summary(args, found, took, clips)


async def user(
    client: httpx.AsyncClient,
    number: int,
    end: float,
    videos: list[Path],
    expected: list[Prediction],
    found: Found,
) -> None:
    """One client after another video until the time is over."""
    i = number
    while time.monotonic() < end:
        await ask(client, videos[i % len(videos)], expected[i % len(videos)], found)
        i += 7


async def ask(client: httpx.AsyncClient, video: Path, expected: Prediction, found: Found) -> None:
    """Send a video, compare the answer; come back when asked to."""
    began, content = time.monotonic(), video.read_bytes()
    try:
        answer = await client.post("/predict?top=1000", files={"file": (video.name, content)})
    except httpx.HTTPError as err:
        found.lost.append(f"{type(err).__name__} {err}")
        return
    if answer.status_code == 429:
        found.busy += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))
    elif answer.status_code != 200:
        found.lost.append(answer.text)
    else:
        found.seconds.append(time.monotonic() - began)
        found.wrong += not right(answer.json(), video, expected)


def right(answer: dict[str, Any], video: Path, expected: Prediction) -> bool:
    """Whether every probability of every window is the known one."""
    rows = [{e["label"]: e["score"] for e in row["top"]} for row in answer["timeline"]]
    table = np.array([[row[name] for name in expected.classes] for row in rows])
    same = table.shape == expected.window_probs.shape
    return (
        same
        and answer["source"] == video.name
        and answer["label"] == expected.label
        and float(np.abs(table - expected.window_probs).max()) < CLOSE
    )


async def harm(base: str, found: Found) -> None:
    """Nonsense, too much, and uploads that end in the middle, one after another."""
    port = int(base.rpartition(":")[2])
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; "
    part = b'--X\r\nContent-Disposition: form-data; name="file"; filename="x.mp4"\r\n\r\n'
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        while True:
            answer = await client.post("/predict", files={"file": ("x.mp4", os.urandom(5000))})
            found.refused += answer.status_code == 422
            for length, body in ((5 * 2**30, b""), (10**6, part + bytes(20_000))):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(
                    f"{head}boundary=X\r\nContent-Length: {length}\r\n\r\n".encode() + body
                )
                await writer.drain()
                if not body:
                    found.refused += b" 413 " in await reader.readline()
                writer.close()
            await asyncio.sleep(0.5)


async def kills(pid: int, every: float, end: float, found: Found) -> None:
    """Kill a decoder now and then."""
    while time.monotonic() + every < end:
        await asyncio.sleep(every)
        if below := children(pid):
            os.kill(below[found.killed % len(below)], signal.SIGKILL)
            found.killed += 1


async def memory(pid: int, found: Found) -> None:
    """Memory of the service and its decoders, every second."""
    began = time.monotonic()
    while True:
        total = sum(resident(p) for p in (pid, *children(pid)))
        found.memory.append((time.monotonic() - began, total))
        await asyncio.sleep(1.0)


def children(pid: int) -> list[int]:
    """Processes of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


async def counter(client: httpx.AsyncClient, name: str) -> float:
    """A value of /metrics."""
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def summary(args: Any, found: Found, took: float, clips: float) -> dict[str, Any]:
    """One row."""
    times = 1000 * np.array(found.seconds or [np.nan])
    held = np.array([size for _, size in found.memory]) / 2**20
    tenth = max(len(held) // 10, 1)
    if args.curve is not None:
        lines = [f"{t:.1f},{size / 2**20:.1f}" for t, size in found.memory]
        args.curve.write_text("\n".join(["seconds,memory_mb", *lines]) + "\n")
    return {
        "variant": "given weights" if args.weights else "p3d_tiny, 16x64x64",
        "clients": args.clients,
        "seconds": round(took, 1),
        "threads": args.threads,
        "decoders": args.decoders,
        "requests": len(found.seconds),
        "wrong": found.wrong,
        "lost": len(found.lost),
        "busy": found.busy,
        "requests_per_s": round(len(found.seconds) / took, 2),
        "clips_per_s": round(clips / took, 1),
        "p50_ms": round(float(np.median(times)), 1),
        "p99_ms": round(float(np.quantile(times, 0.99)), 1),
        "longest_ms": round(float(times.max()), 1),
        "killed": found.killed,
        "harmful": found.refused,
        "memory_start_mb": round(float(np.median(held[: 2 * tenth])), 1),
        "memory_end_mb": round(float(np.median(held[-2 * tenth :])), 1),
        "memory_peak_mb": round(float(held.max()), 1),
    }


if __name__ == "__main__":
    main()
