"""How late `p3d watch` is, whether frames queue up, and whether its memory stays flat.

    python benchmarks/watch.py [--seconds 60]
    python benchmarks/watch.py --seconds 3600 --keep-video      # the soak

A camera in a process of its own serves rendered frames over loopback HTTP at 30 frames/s. Into
every frame it draws the time of that moment as black and white blocks, so the latency told is from
the picture to the decision, with coding, network, decoding and inference in between. The scene
changes every five seconds, which raises an event; with --keep-video clips and recordings are
written, too. Linux only (memory). Rows: results/watch.csv.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import command, tell
from pseudo3d.bench.ways import enliven
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.live import Decision, Live
from pseudo3d.models import create_model
from pseudo3d.runtime.process import keep_memory
from pseudo3d.watch.camera import Camera, Shown
from pseudo3d.watch.events import Rule
from pseudo3d.watch.overlay import Caption
from pseudo3d.watch.recorder import Keeping
from pseudo3d.watch.slot import Frame
from pseudo3d.watch.sources import Source
from pseudo3d.watch.watcher import Plan, Watcher
from pseudo3d.weights import save
from record import record

BITS, BLOCK, TICK = 30, 10, 1e-4  # blocks of the clock, their pixels, s of its unit
SCENE = 5.0  # s


def scene(number: int, height: int, width: int) -> np.ndarray:
    """A picture with texture: bright with stripes, or dark."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:height, :width]
    base = (190 + 50 * np.sin(columns / 7)) if number else (50 + 20 * np.sin(rows / 11))
    image = base[..., None] + rng.normal(0, 6, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def with_clock(image: np.ndarray) -> np.ndarray:
    """The picture with the time of now in its lowest rows."""
    image, now = image.copy(), int(time.monotonic() / TICK) % 2**BITS
    bits = np.array([now >> i & 1 for i in range(BITS)], np.uint8)
    image[-16:, : BITS * BLOCK] = 255 * bits.repeat(BLOCK)[None, :, None]
    return image


def age(image: np.ndarray) -> float:
    """Seconds since the clock in a picture was drawn."""
    strip = image[-12:-4, : BITS * BLOCK].reshape(8, BITS, BLOCK, 3)[:, :, 3:7].mean((0, 2, 3))
    drawn = sum(1 << i for i, value in enumerate(strip) if value > 128)
    return ((int(time.monotonic() / TICK) - drawn) % 2**BITS) * TICK


def camera(fps: float, height: int, width: int, line: Connection) -> None:
    """The process of the camera; it ends when nobody listens any more."""
    scenes = [scene(number, height, width) for number in (0, 1)]

    def play() -> Iterator[tuple[float, Shown]]:
        i = 0
        while True:
            picture = scenes[int(i / fps / SCENE) % 2]
            yield i / fps, lambda picture=picture: with_clock(picture)
            i += 1

    with Camera(play) as served:
        line.send((served.url, served.transport_url))
        try:
            line.recv()
        except EOFError:
            return


def rss(pid: int | None) -> float:
    """Resident memory of a process, MiB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Log:
    """Ages of frames when looked at and of decisions; memory that is taken before the start."""

    def __init__(self, seconds: float, fps: float) -> None:
        room = int(1.5 * seconds * fps) + 1000
        self.ages, self.late = np.full(room, np.nan), np.full(room, np.nan)
        self.looks = self.decisions = 0

    def __call__(
        self, source: Source, frame: Frame, caption: Caption | None, decision: Decision | None
    ) -> None:
        seconds = age(frame.image)
        self.ages[self.looks] = seconds
        self.looks += 1
        if decision is not None:
            self.late[self.decisions] = seconds
            self.decisions += 1


class Memory(threading.Thread):
    """The memory curve: of this process and of the one that captures."""

    def __init__(self, watcher: Watcher, every: float) -> None:
        super().__init__(daemon=True)
        self.watcher, self.every = watcher, every
        self.curve: list[tuple[float, float, float]] = []
        self.done = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while not self.done.wait(self.every):
            (seat,) = self.watcher.seats or [None]
            process = seat.feed._process if seat is not None else None
            now = time.monotonic() - began
            self.curve.append((now, rss(os.getpid()), rss(process.pid if process else None)))
            if len(self.curve) % 10 == 0:
                tell("{:.0f} s: {:.1f} MiB, capture {:.1f} MiB".format(*self.curve[-1]))


def opened(args: argparse.Namespace, folder: Path) -> Live:
    """A network with random weights, its file and all."""
    net = enliven(create_model(args.model, num_classes=10)).eval()
    size = (args.size, args.size)
    pre = Preprocessing(
        frames=args.frames, resize=args.size * 9 // 8, size=size, mean=(0.5,) * 3, std=(0.25,) * 3
    )
    path, classes = folder / "weights.safetensors", tuple("abcdefghij")
    save(net, path, classes=classes, preprocessing=pre, training={"clip_seconds": 2.0})
    return Live.open(path, precision=args.precision, threads=args.threads, every=args.every)


def rule_for(live: Live, height: int, width: int) -> Rule:
    """What tells the two scenes apart, in the eyes of this network."""
    seen = []
    for number in (0, 1):
        state, image = live.start(), scene(number, height, width)
        for i in range(90):
            decision, state = live.push(image, i / 30, state)
        while decision is None:
            decision, state = live.push(image, (i := i + 1) / 30, state)
        seen.append(dict(decision.top))
    label = max(seen[0], key=lambda name: abs(seen[1][name] - seen[0][name]))
    low, high = sorted(probs[label] for probs in seen)
    gap = high - low
    return Rule(label=label, on=high - gap / 4, off=low + gap / 4)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="p3d_tiny")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=float, help="s between decisions; default: as p3d watch")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--transport", action="store_true", help="H.264 in place of MJPEG")
    parser.add_argument("--keep-video", action="store_true", help="clips and recordings, too")
    parser.add_argument("--dry", action="store_true", help="keep no row in results/")
    return parser


def main() -> None:
    args = options().parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:  # as the command sees to; before torch starts threads
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    keep_memory()
    torch.manual_seed(0)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    shown = context.Process(
        target=camera, args=(args.fps, args.height, args.width, theirs), daemon=True
    )
    shown.start()
    theirs.close()
    try:
        with tempfile.TemporaryDirectory() as name:
            row = measured(args, Path(name), ours.recv()[args.transport])
    finally:
        ours.close()
        shown.join(10)
    print("\n".join(f"{key:24} {value}" for key, value in row.items()))
    if not args.dry:
        record("watch", row)


def measured(args: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """Watch for as long as asked; what came out."""
    live = opened(args, folder)
    keeping = Keeping()
    if args.keep_video:
        keeping = Keeping(
            clips=folder / "clips", recording=folder / "all", minutes=1.0, keep=100 << 20
        )
    rule = rule_for(live, args.height, args.width)
    log, reports = Log(args.seconds, args.fps), {"start": 0, "clip": 0}

    def hear(report: dict[str, Any]) -> None:
        reports[report["event"]] = reports.get(report["event"], 0) + 1
        if report["event"] == "clip":  # a disk for an hour of clips is not what is measured
            Path(report["path"]).unlink()

    watcher = Watcher(live, Plan(rules=(rule,), keeping=keeping), hear, tell, [log])
    memory = Memory(watcher, min(60.0, max(1.0, args.seconds / 60)))
    memory.start()
    (meter,) = watcher.run([Source(name="camera", url=url, kind="stream")], args.seconds)
    memory.done.set()
    memory.join()
    about = {
        "model": args.model,
        "clip": f"{args.frames}x{args.size}x{args.size}",
        "mode": live.mode,
        "source": f"{args.width}x{args.height} {'H.264' if args.transport else 'MJPEG'}",
        "fps": args.fps,
        "threads": args.threads,
        "kept_video": args.keep_video,
        "seconds": args.seconds,
    }
    counts = {"frames": meter.shown, "left_out": meter.dropped, "decisions": log.decisions}
    counts |= {"events": reports["start"], "clips": reports["clip"], "lost": meter.lost}
    return {**about, **counts, **late(log), **grown(memory.curve), "command": command()}


def late(log: Log) -> dict[str, Any]:
    """Latencies of decisions, and ages of frames at the start and at the end, ms."""
    decided, ages = 1000 * log.late[: log.decisions], 1000 * log.ages[: log.looks]
    tenth = max(len(ages) // 10, 1)
    found = {f"latency_p{q}_ms": np.percentile(decided, q) for q in (50, 95, 99)}
    found["latency_max_ms"] = decided.max()
    found["age_first_tenth_ms"] = np.median(ages[tenth : 2 * tenth])
    found["age_last_tenth_ms"] = np.median(ages[-tenth:])
    return {key: round(float(value), 2) for key, value in found.items()}


def grown(curve: list[tuple[float, float, float]]) -> dict[str, Any]:
    """Memory when everything has started (after a tenth) and at the end, and its slope, MiB."""
    whole = np.array([point for point in curve if not np.isnan(point).any()])
    when, own, capture = whole[len(whole) // 10 :].T
    hours = (when - when[0]) / 3600
    slope = np.polyfit(hours, own, 1)[0] if len(when) > 2 else float("nan")
    found = {"rss_start_mib": own[0], "rss_end_mib": own[-1], "rss_max_mib": own.max()}
    found |= {"rss_slope_mib_per_hour": slope, "capture_start_mib": capture[0]}
    found["capture_end_mib"] = capture[-1]
    return {key: round(float(value), 2) for key, value in found.items()}


if __name__ == "__main__":
    main()
