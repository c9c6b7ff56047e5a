"""Decode many clips of real and rendered videos and watch the memory: it must stay flat.

Every clip goes the way that training and prediction take: single frames by number where packets
tell where they are, the whole span elsewhere. The memory is that of the process (VmRSS), and of its
worker with `--isolated`, looked at after every hundredth clip; a line through the second half of
them says by how much it grows.

    python benchmarks/clips.py --clips 10000 [--data FOLDER] [--isolated]
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pseudo3d.data.isolation.isolated import Isolated, Limits
from pseudo3d.data.pick import file_frames, index_file
from pseudo3d.data.video import VIDEO_SUFFIXES, read_video
from pseudo3d.data.writer import write_video
from pseudo3d.errors import VideoError

FRAMES, SIDE = 8, 112


def rendered(folder: Path, count: int) -> list[Path]:
    """Videos of noise that moves, where there are no others."""
    rng = torch.Generator().manual_seed(0)
    for i in range(count):
        noise = torch.randint(0, 255, (3, 1, 176, 240), dtype=torch.uint8, generator=rng)
        clip = torch.cat([noise.roll(3 * t, 3) for t in range(48)], dim=1)
        write_video(folder / f"r{i}.mp4", clip, fps=24)
    return sorted(folder.glob("*.mp4"))


def clip(path: Path, seed: int) -> np.ndarray:
    """One clip from a random place; a task of `Isolated`, too."""
    rng = random.Random(seed)
    index = index_file(path)
    frames = None if index is None else file_frames(path, index, size=SIDE)
    if frames is None:
        found = read_video(path, size=SIDE).frames
        start = rng.randrange(max(1, found.shape[1] - FRAMES))
        return found[:, start : start + FRAMES].numpy()
    start = rng.randrange(max(1, len(frames.times) - FRAMES))
    wanted = torch.arange(start, min(start + FRAMES, len(frames.times)))
    return frames.take(wanted).numpy()


def resident(pid: int | str) -> float:
    """Memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def run(paths: list[Path], clips: int, isolated: bool) -> dict[str, object]:
    """Decode, and tell."""
    limits = Limits(seconds=60, memory_bytes=2**30)
    held, failed, began = list[float](), 0, time.monotonic()
    with Isolated(limits) as reader:
        for number in range(clips):
            path = paths[number % len(paths)]
            try:
                if isolated:
                    reader.call("clips:clip", path=path, seed=number)
                else:
                    clip(path, number)
            except VideoError:
                failed += 1
            if number % 100 == 99:
                other = resident(reader.pid) if isolated and reader.pid else 0.0
                held.append(resident("self") + other)
    half = held[len(held) // 2 :]
    grows = float(np.polyfit(np.arange(len(half)), half, 1)[0]) * 10 if len(half) > 1 else 0.0
    return {
        "clips": clips, "files": len(paths), "way": "isolated" if isolated else "in process",
        "failed": failed, "seconds": round(time.monotonic() - began, 1),
        "first_mib": round(held[0], 1), "middle_mib": round(half[0], 1),
        "last_mib": round(held[-1], 1), "peak_mib": round(max(held), 1),
        "mib_per_1000_clips": round(grows, 3),
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--data", type=Path, help="folder of videos; rendered ones without it")
    parser.add_argument("--isolated", action="store_true", help="in a process under limits")
    parser.add_argument("--dry", action="store_true", help="no row is recorded")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="p3d-clips-") as folder:
        if given.data is None:
            paths = rendered(Path(folder), 20)
        else:
            files = sorted(given.data.rglob("*"))
            paths = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
        row = run(paths, given.clips, given.isolated)
    sys.stdout.write("\t".join(f"{k} {v}" for k, v in row.items()) + "\n")
    if not given.dry:
        from record import record

        record("clips", row)


if __name__ == "__main__":
    main()
