"""Recognition in a folder of short videos: the plain loop against what `p3d predict` runs.

    python benchmarks/folder.py [--model p3d50] [--side 240] [--dry]

Renders the videos, cuts them into rounds and lets every variant recognize the same videos of a
round, in turn. The plain loop decodes all frames of a file at full size, scales them, and runs the
network as a PyTorch user would write it (contiguous, fp32), one clip at a time. Both see the same
clips, and their probabilities are compared. Every variant becomes a row of results/folder.csv.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from common import keep, options, parse, show, tell
from pseudo3d.bench.timing import Timing, speedup, threads
from pseudo3d.bench.ways import enliven
from pseudo3d.bench.yardsticks import plain
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.rendered.motions import CLASSES, render_clip
from pseudo3d.data.sampling import uniform
from pseudo3d.data.transforms import center_crop, resize
from pseudo3d.data.video import read_video, write_video
from pseudo3d.engine.predict import Prediction, predict_many
from pseudo3d.models import create_model
from pseudo3d.models.registry import default_config
from pseudo3d.runtime.lower import optimize
from pseudo3d.runtime.runner import Runner
from pseudo3d.weights import Card

Probs = list[np.ndarray]
VIEWS = 5  # what `predict` takes for a video that is one window
COLUMNS = (
    "wall_s",
    "cpu_s",
    "videos_per_s",
    "speedup",
    "speedup_low",
    "speedup_high",
    "difference",
)


def render(folder: Path, count: int, side: int) -> list[Path]:
    """Short videos of little people, 1 to 3 s each."""
    files = []
    for i in range(count):
        clip = render_clip(CLASSES[i % len(CLASSES)], person=i, size=side)
        frames = torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(3, 0, 1, 2)
        files.append(folder / f"{i:03d}.mp4")
        write_video(files[-1], frames, clip.fps)
        if (i + 1) % 20 == 0:
            tell(f"rendered {i + 1} of {count}")
    return files


def plain_loop(net: nn.Module, pre: Preprocessing, files: list[Path]) -> Probs:
    """File after file: all frames, then clip after clip."""
    found = []
    with torch.no_grad():
        for file in files:
            video = resize(read_video(file).frames, pre.resize)
            probs = []
            for view in range(VIEWS):
                clip = video[:, uniform(video.shape[1], pre.frames, view, VIEWS)]
                clip = pre.normalize(center_crop(clip, pre.size)[None]).contiguous()
                probs.append(net(clip).softmax(1)[0])
            found.append(torch.stack(probs).mean(0).numpy())
    return found


def ours(runner: Runner, files: list[Path]) -> Probs:
    """What `p3d predict` does."""
    found = []
    for file, answer in predict_many(runner, files):
        if not isinstance(answer, Prediction):
            raise RuntimeError(f"{file}: {answer}")
        found.append(answer.probs)
    return found


@dataclass
class Entry:
    """A variant with what it took, round by round."""

    call: Callable[[list[Path]], Probs]
    wall: list[float]
    cpu: list[float]
    probs: Probs

    def turn(self, files: list[Path]) -> None:
        """Recognize some videos."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.probs += self.call(files)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def timing(self) -> Timing:
        """Seconds per round."""
        return Timing(wall=tuple(self.wall), cpu=tuple(self.cpu))


def entries(args: Any) -> dict[str, Entry]:
    """The plain loop and ours in each precision, with the same random weights."""
    pre = Preprocessing(
        frames=args.frames,
        resize=round(args.size * 8 / 7),
        size=(args.size, args.size),
        mean=(0.45,) * 3,
        std=(0.225,) * 3,
    )
    torch.manual_seed(0)
    options = semantics(args.model)
    net = enliven(create_model(args.model, num_classes=len(CLASSES), **options).eval())
    with torch.inference_mode():  # answers that are not all sure, or no difference is seen
        net.head.weight /= net(torch.randn(1, 3, args.frames, args.size, args.size)).std()
    training = {"clip_seconds": 2.0, "longest_seconds": 4.0}
    net.card = Card(name=net.name, config={}, classes=CLASSES, preprocessing=pre, training=training)
    twin = plain(net).eval()
    calls: dict[str, Callable[[list[Path]], Probs]] = {
        "plain loop": lambda files: plain_loop(twin, pre, files)
    }
    numbers: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    for precision in numbers:
        fast = optimize(net, precision=precision)
        calls[f"p3d predict, {precision}"] = lambda files, fast=fast: ours(fast, files)
    return {name: Entry(call, [], [], []) for name, call in calls.items()}


def semantics(model: str) -> dict[str, str]:
    """The paper's network, as in inference.py, where it is one of P3D."""
    return {"semantics": "release"} if hasattr(default_config(model), "semantics") else {}


def rounds(files: list[Path], count: int) -> Iterator[list[Path]]:
    """Every n-th video, so that all rounds hold short and longer ones."""
    return (files[i::count] for i in range(count))


def row(name: str, entry: Entry, base: Entry, args: Any, cores: int) -> dict[str, Any]:
    """A line of the table."""
    ratio, cpu = (speedup(base.timing(), entry.timing(), cpu=c) for c in (False, True))
    pairs = zip(entry.probs, base.probs, strict=True)
    return {
        "variant": name,
        "model": args.model if semantics(args.model) == {} else f"{args.model} release",
        "clip": f"{args.frames}x{args.size}x{args.size}",
        "videos": len(entry.probs),
        "side": args.side,
        "threads": cores,
        "wall_s": round(sum(entry.wall), 2),
        "cpu_s": round(sum(entry.cpu), 2),
        "videos_per_s": round(len(entry.probs) / sum(entry.wall), 2),
        "speedup": round(ratio.median, 2),
        "speedup_low": round(ratio.low, 2),
        "speedup_high": round(ratio.high, 2),
        "cpu_speedup": round(cpu.median, 2),
        "difference": float(f"{max(float(np.abs(a - b).max()) for a, b in pairs):.1e}"),
    }


def main() -> None:
    parser = options(__doc__, rounds=5, seconds=600, threads=[2])
    parser.add_argument("--model", default="p3d50")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--side", type=int, default=240, help="of the rendered videos, pixels")
    args = parse(parser)
    with tempfile.TemporaryDirectory() as folder:
        files = render(Path(folder), args.videos, args.side)
        for count in args.threads:
            with threads(count) as cores:
                found = entries(args)
                for entry in found.values():  # warm: packed weights, caches
                    entry.call(files[:1])
                for i, part in enumerate(rounds(files, args.rounds)):
                    tell(f"round {i + 1} of {args.rounds}")
                    names = list(found)
                    for name in names[i % len(names) :] + names[: i % len(names)]:
                        found[name].turn(part)
            base = found["plain loop"]
            lines = [row(name, entry, base, args, cores) for name, entry in found.items()]
            show(f"{args.videos} short videos, {args.model}, {cores} threads", lines, (), COLUMNS)
            keep("folder", lines, args.dry)


if __name__ == "__main__":
    main()
