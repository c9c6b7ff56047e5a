"""Does the simulation of docs/scale.md tell the truth? Real runs in two processes against it.

    python benchmarks/scale.py [--only batch train] [--rounds 5] [--dry]

Each round measures the stages (in two processes, on files that the run does not see), runs the
command over two videos or steps (its start and end) and then over all of them. What the long run
takes beyond the short one is compared with what the simulation makes of the stages. `p3d batch
predict` runs two workers; `p3d train` two processes under torchrun that exchange their gradients.
Medians over the rounds become rows of results/scale.csv.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from common import keep, show, tell
from pseudo3d.bench.scale.costs import Cluster, Costs, Inference, Training
from pseudo3d.bench.scale.samples import render
from pseudo3d.bench.scale.simulate import simulate
from pseudo3d.bench.scale.stages import Clock, Trial, collect, costs_of, sample
from pseudo3d.bench.ways import enliven
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.models import create_model
from pseudo3d.weights import save
from scale_stages import BUCKET, exchange

RANKS = 2
VIEWS = 5  # clips of a video in one window, as `p3d predict` takes
SHORT = 2  # videos or steps of the short run
P3D = [sys.executable, "-c", "from pseudo3d.cli.main import main; main()"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
            f"{RANKS}", "--no-python"]  # fmt: skip
COLUMNS = (
    "start_s",
    "measured_s",
    "predicted_s",
    "error",
    "measured_cpu_s",
    "predicted_cpu_s",
    "error_cpu",
)
Took = tuple[float, float]  # s of the clock, s of all processors


@dataclass(frozen=True)
class Round:
    """The long run without what the short one took, and what the simulation said of it."""

    start: float  # s of the short run
    measured: Took
    predicted: Took


def took(line: Sequence[str]) -> Took:
    """Run a command; one thread for each process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=1800)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, line))}:\n{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


class Batch:
    """`p3d batch predict` over a folder, two workers."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.count = args, folder, args.videos
        self.weights = folder / "weights.safetensors"
        pre = preprocessing(args.size)
        torch.manual_seed(0)
        net = enliven(create_model(args.model, num_classes=20).eval())
        names = tuple(f"class {i}" for i in range(20))
        training = {"clip_seconds": 2.0, "longest_seconds": 4.0}
        save(net, self.weights, classes=names, preprocessing=pre, training=training)
        files = sample(render(folder / "sample", 16, args.side))
        self.trial = Trial(
            task="predict",
            videos=files,
            model=str(self.weights),
            precision=args.precision,
            clips=VIEWS,
            processes=RANKS,
            seconds=args.seconds,
        )
        videos = sorted(render(folder / "videos", 24, args.side).rglob("*.mp4"))
        for name, count in (("short", SHORT), ("long", self.count)):
            copies(folder / name, videos, count)

    def run(self, name: str, number: int) -> Took:
        """Two videos in two partitions, or all of them in many."""
        size = 1 if name == "short" else self.args.block
        out = self.folder / f"out-{name}-{number}"
        return took([*P3D, "batch", "predict", f"{self.folder / name}", "--weights",
                     f"{self.weights}", "--out", f"{out}", "--workers", f"{RANKS}",
                     "--partition", f"{size}", "--precision", self.args.precision])  # fmt: skip

    def job(self, costs: Costs) -> tuple[Inference, Cluster]:
        """What the long run does beyond the short one."""
        costs = replace(costs, start=0.0, size=0.0)  # files are in memory, the start is measured
        job = Inference(videos=self.count - SHORT, block=self.args.block, costs=costs)
        return job, Cluster(nodes=1, cores=RANKS, driver=0.0)

    def processors(self, costs: Costs) -> float:
        """Processor seconds of what the long run does beyond the short one."""
        return (self.count - SHORT) * (costs.decode + costs.network)

    about = property(lambda self: f"{self.count} videos of 1 to 3 s, {self.args.side} pixels")


class Train:
    """`p3d train` under torchrun, two processes; every clip is decoded when it is needed."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.count = args, folder, args.steps
        self.exchange = (0.0, 0.0, 0.0)  # s of 100 MB, of the processor, of a short message
        files = sample(render(folder / "sample", 16, args.side))
        videos = sorted(render(folder / "videos", 24, args.side).rglob("*.mp4"))
        self.manifest = self._manifest(copies(folder / "long", videos, self.count * args.batch))
        size = args.train_size
        self.trial = Trial(
            task="train",
            videos=files,
            model=args.train_model,
            options={"num_classes": len({v.parent.name for v in videos})},
            precision=args.precision,
            resize=preprocessing(size).resize,
            size=size,
            clips=args.batch // RANKS,
            processes=RANKS,
            seconds=args.seconds,
        )

    def _manifest(self, videos: list[Path]) -> Path:
        path = self.folder / "train.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label", "split"))
            rows.writerows((f"{video}", video.parent.name, "train") for video in videos)
        return path

    def run(self, name: str, number: int) -> Took:
        """Two steps, or all of them."""
        a, steps = self.args, SHORT if name == "short" else self.count
        norm = "--sync-norm" if a.sync_norm else "--no-sync-norm"
        sets = [f"steps={steps}", "accumulate=1", "freeze_norm=false", "lr=1e-4",
                f"input.resize={self.trial.resize}", "input.sampling=uniform"]  # fmt: skip
        return took([*TORCHRUN, *P3D, "train", f"{self.manifest}", "--out",
                     f"{self.folder / f'out-{name}-{number}'}", "--model", a.train_model,
                     "--recipe", "sports1m", "--batch", f"{a.batch}", "--size", f"{a.train_size}",
                     "--precision", a.precision, "--workers", "0", "--cache", "none",
                     "--no-report", norm, *(x for s in sets for x in ("--set", s))])  # fmt: skip

    def job(self, costs: Costs) -> tuple[Training, Cluster]:
        """What the long run does beyond the short one."""
        self.exchange = large, _, small = exchange(self.args.seconds / 2, RANKS)
        norms = 0
        if self.args.sync_norm:
            net = create_model(self.args.train_model)
            norms = sum(isinstance(m, torch.nn.BatchNorm3d) for m in net.modules())
        costs = replace(costs, start=0.0, size=0.0, messages=2 * norms)
        clips = (self.count - SHORT) * self.args.batch
        job = Training(clips=clips, batch=self.args.batch, costs=costs, save_every=10**9)
        ring = 2 * (RANKS - 1) / RANKS * BUCKET
        return job, Cluster(nodes=1, cores=RANKS, bus=ring / large, latency=small / 2)

    def processors(self, costs: Costs) -> float:
        """Processor seconds of what the long run does beyond the short one."""
        clips = self.args.batch * (costs.decode + costs.network)
        exchanged = self.exchange[1] * costs.gradient / BUCKET
        return (self.count - SHORT) * (clips + RANKS * (costs.block + exchanged))

    about = property(lambda self: f"{self.count} steps of {self.args.batch} clips")


def copies(folder: Path, videos: list[Path], count: int) -> list[Path]:
    """So many files, of which none is known from before."""
    made = []
    for i in range(count):
        video = videos[i % len(videos)]
        made.append(folder / video.parent.name / f"{i:05d}.mp4")
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        made[-1].hardlink_to(video)
    return made


def preprocessing(size: int) -> Preprocessing:
    """The paper's margins around a square."""
    sides, mean, std = (size, size), (0.45,) * 3, (0.225,) * 3
    return Preprocessing(frames=16, resize=round(size * 182 / 160), size=sides, mean=mean, std=std)


def one_round(case: Batch | Train, number: int) -> Round:
    """Stages, the short run and the long one, under the same load of the machine."""
    found = collect(case.trial)
    short, long = case.run("short", number), case.run("long", number)
    clocks: tuple[Clock, Clock] = ("wall", "processor")
    wall, cpu = (costs_of(case.trial, found, clock) for clock in clocks)
    more = simulate(*case.job(wall)).seconds
    measured = long[0] - short[0], long[1] - short[1]
    return Round(short[0], measured, (more, case.processors(cpu)))


def row(name: str, case: Batch | Train, rounds: list[Round], args: argparse.Namespace) -> dict:
    """Medians over the rounds; an error is that of the prediction."""
    measured, predicted = (
        [median(getattr(r, which)[i] for r in rounds) for i in range(2)]
        for which in ("measured", "predicted")
    )
    errors = [p / m - 1 for p, m in zip(predicted, measured, strict=True)]
    train = isinstance(case, Train)
    return {
        "variant": name,
        "model": args.train_model if train else args.model,
        "precision": args.precision,
        "size": args.train_size if train else args.size,
        "what": case.about + (", shared batch norm" if train and args.sync_norm else ""),
        "processes": RANKS,
        "rounds": len(rounds),
        "start_s": round(median(r.start for r in rounds), 2),
        "measured_s": round(measured[0], 2),
        "predicted_s": round(predicted[0], 2),
        "error": round(errors[0], 3),
        "measured_cpu_s": round(measured[1], 2),
        "predicted_cpu_s": round(predicted[1], 2),
        "error_cpu": round(errors[1], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cases: dict[str, Callable[..., Batch | Train]] = {"batch": Batch, "train": Train}
    parser.add_argument("--only", nargs="*", choices=cases, default=list(cases))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="for the stages of a round")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--side", type=int, default=256, help="of the videos, pixels")
    parser.add_argument("--model", default="p3d50")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--videos", type=int, default=80)
    parser.add_argument("--block", type=int, default=8, help="videos of a partition")
    parser.add_argument("--train-model", default="p3d50")
    parser.add_argument("--train-size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--sync-norm", action="store_true", help="batch norm over all processes")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            case, rounds = cases[name](args, Path(folder)), []
            for number in range(args.rounds):
                rounds.append(one_round(case, number))
                tell(f"{name}, round {number + 1} of {args.rounds}: {rounds[-1]}")
            rows.append(row(name, case, rounds, args))
    show("simulated against real", rows, (), COLUMNS)
    keep("scale", rows, args.dry)


if __name__ == "__main__":
    main()
