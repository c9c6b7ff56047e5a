"""Training in two processes against one: the same losses, whatever is killed, nothing lost.

    python benchmarks/distributed.py [--only curve kills] [--steps 50] [--kills 5] [--dry]

curve: a run of p3d_nano on rendered motions with everything random (dropout, augmentation, order)
in one process, in two with DDP, in two with FSDP, on gloo, at the same global batch: the largest
difference of a batch's loss; with the optimizers of the paper and of the recipe `cpu`.
"rounding" is the yardstick: one process again, its first weights changed by 1e-7 of themselves,
which is what adding in another order does; training itself makes that larger.

kills: `torchrun --max-restarts 5 p3d train` in two processes, one of which is killed with SIGKILL
again and again at seeded moments, against a run that is left alone: the steps, what the record of
epochs says, the largest difference of a weight. Rows: results/distributed.csv.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from common import command, show, tell
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.rendered.motions import render_motions
from pseudo3d.data.transforms import Augment
from pseudo3d.engine.training.distributed import Spread, joined
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.record import check
from pseudo3d.engine.training.train import train
from pseudo3d.models import create_model
from pseudo3d.weights import load
from record import record

FRAMES, SIDE, BATCH = 8, 48, 8
WAYS = {  # processes, strategy, synchronized norms
    "one process": (1, "auto", True),
    "rounding": (1, "auto", True),
    "ddp": (2, "ddp", True),
    "ddp, own norms": (2, "ddp", False),
    "fsdp": (2, "fsdp", True),
}
_STEP: dict[str, Any] = {"optimizer": "sgd", "schedule": "step", "step_every": 10**6}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd 3e-4": {**_STEP, "lr": 3e-4},
    "sgd 1e-3": {**_STEP, "lr": 1e-3},  # of the paper
    "adamw 2e-3": {"lr": 2e-3},  # of the recipe `cpu`
}
CURVES = [
    *(("sgd 3e-4", way) for way in WAYS),
    *((kind, way) for kind in ("sgd 1e-3", "adamw 2e-3") for way in list(WAYS)[:3]),
]
Row = dict[str, Any]


class Losses(Callback):
    """Keeps the loss of every batch, over all processes."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any
    ) -> None:
        loss = trainer.strategy.reduce(outputs["loss"].detach().clone(), reduce_op="mean")
        self.found.append(float(loss) * trainer.accumulate_grad_batches)  # Lightning divides it


def recipe(steps: int, kind: str) -> Recipe:
    """Everything random, gradients accumulated over two batches."""
    return Recipe(
        **OPTIMIZERS[kind],
        steps=steps,
        batch=BATCH,
        accumulate=2,
        dropout=0.3,
        ema=0.0,
        precision="fp32",
        augment=Augment(rotate=10, zoom=(0.85, 1.15), shift=0.08, brightness=0.25),
        input={"frames": FRAMES, "sampling": "uniform", "resize": 54, "size": (SIDE, SIDE)},
    )


def worker(films: Path, out: Path, kind: str, way: str, steps: int) -> None:
    """One process of a run; the first one writes the losses."""
    _, strategy, sync = WAYS[way]
    spread = Spread(strategy=strategy, sync_norm=sync)  # type: ignore[arg-type]
    part = read_manifest(films).split("train")
    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=len(part.classes))
    if way == "rounding":
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(1 + 1e-7 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    store, losses = FrameStore(resize=54, folder=films / "cache"), Losses()
    job = Job(recipe=recipe(steps, kind), out=out, seed=1, workers=0, spread=spread)
    with joined(spread) as world:
        train(net, Parts(train=part), store, job, [losses])
        if world.first:
            (out / "losses.json").write_text(json.dumps(losses.found))


def together(processes: int, restarts: int = 0) -> list[str]:
    """What a command starts with to be run in several processes of one thread."""
    if processes == 1:
        return []
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    more = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--no-python"]
    return [*torchrun, *more, "--monitor-interval=0.2"]


def environment() -> dict[str, str]:
    """One thread in each process, and nothing beyond this machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def curve(films: Path, home: Path, steps: int) -> list[Row]:
    """A row per way of spreading a run."""
    rows, losses = [], {}
    for kind, way in CURVES:
        processes = WAYS[way][0]
        out = home / f"{kind}_{way}".replace(" ", "_").replace(",", "")
        line = [sys.executable, __file__, "--worker", str(films), str(out), kind, way]
        start = time.monotonic()
        called = [*together(processes), *line, "--steps", str(steps)]
        subprocess.run(called, env=environment(), check=True)
        losses[way] = torch.tensor(json.loads((out / "losses.json").read_text()))
        load(out / "weights.safetensors")  # in one process, with its self-test
        if way == "one process":
            first = losses[way]
        rows.append(
            {
                "variant": way,
                "optimizer": kind,
                "processes": processes,
                "steps": steps,
                "batches": len(losses[way]),
                "largest_difference": f"{float((losses[way] - first).abs().max()):.2e}",
                "last_loss": round(float(losses[way][-1]), 4),
                "kills": 0,
                **_evidence(out, time.monotonic() - start),
            }
        )
        tell(f"{way}: {rows[-1]}")
    return rows


def _evidence(out: Path, seconds: float) -> Row:
    counts = check(out)
    return {
        "samples": counts.samples,
        "lost": len(counts.lost),
        "doubled": len(counts.doubled),
        "gaps": len(counts.gaps),
        "seconds": round(seconds, 1),
    }


def kills(films: Path, home: Path, steps: int, count: int) -> list[Row]:
    """A run that is left alone and one whose processes are killed."""
    rows, found = [], {}
    for name, often in (("left alone", 0), ("killed", count)):
        out = home / name.replace(" ", "_")
        start = time.monotonic()
        did = _run(films, out, steps, _moments(often, rows[0]["batches"] if rows else 0))
        weights = load(out / "weights.safetensors")
        found[name] = weights.state_dict()
        first = found["left alone"]
        most = max(float((v - first[k]).abs().max()) for k, v in found[name].items())
        losses = [line for line in (out / "metrics.csv").read_text().splitlines() if line]
        rows.append(
            {
                "variant": f"torchrun, {name}",
                "optimizer": "adamw 2e-3",
                "processes": 2,
                "steps": weights.card.training["steps"],
                "batches": check(out).batches,
                "largest_difference": f"{most:.2e}",
                "last_loss": round(float(losses[-1].split(",")[1] or "nan"), 4),
                "kills": did,
                **_evidence(out, time.monotonic() - start),
            }
        )
        tell(f"{name}: {rows[-1]}")
    return rows


def _moments(count: int, batches: int) -> list[int]:
    """Numbers of the batches after which a process is killed, one in each part of the run."""
    rng, part = random.Random(0), batches / max(1, count)
    return [int((i + rng.uniform(0.2, 0.9)) * part) for i in range(count)]


def _run(films: Path, out: Path, steps: int, moments: Sequence[int]) -> int:
    """Train under torchrun, kill, and say how often."""
    p3d = str(Path(sys.executable).with_name("p3d"))
    plain = ["--model", "p3d_nano", "--frames", str(FRAMES), "--size", str(SIDE), "--no-report"]
    sets = [f"steps={steps}", f"batch={BATCH}", "accumulate=2", "ema=0.1", "precision=fp32"]
    more = [word for text in sets for word in ("--set", text)]
    line = [p3d, "train", str(films), "--out", str(out), *plain, *more]
    line += ["--cache", str(films / "cache")]
    run = subprocess.Popen([*together(2, len(moments)), *line], env=environment())
    left, rng = list(moments), random.Random(1)
    killed: set[int] = set()
    try:
        while run.poll() is None:
            time.sleep(0.05)
            alive = [pid for pid in _children(run.pid) if pid not in killed]
            if left and len(alive) == 2 and _batches(out) >= left[0]:
                left.pop(0)
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(alive), signal.SIGKILL)
                killed.update(alive)
    finally:
        run.kill()
        run.wait()
    if run.returncode != 0:
        raise SystemExit(f"torchrun ended with {run.returncode}")
    return len(moments) - len(left)


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    with suppress(OSError):
        return [int(child) for path in found for child in path.read_text().split()]
    return []


def _batches(out: Path) -> int:
    """Batches of the run that process 0 has recorded."""
    with suppress(OSError, ValueError, IndexError):
        about = json.loads((out / "epochs" / "about.json").read_text())
        epoch, batch, _ = (out / "epochs" / "0.csv").read_text().splitlines()[-1].split(",")
        return int(epoch) * about["batches"] + int(batch)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=("curve", "kills"), default=["curve", "kills"])
    parser.add_argument("--steps", type=int, default=50, help="of the curve, default 50")
    parser.add_argument("--long", type=int, default=400, help="steps of the killed run")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    parser.add_argument("--worker", nargs=4, metavar=("FILMS", "OUT", "KIND", "WAY"))
    args = parser.parse_args()
    if args.worker:
        films, out, kind, way = args.worker
        worker(Path(films), Path(out), kind, way, args.steps)
        return
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        tell("rendering films")
        render_motions(home / "films", persons=6, clips_per_class=6, size=56)
        rows = curve(home / "films", home, args.steps) if "curve" in args.only else []
        if "kills" in args.only:
            rows += kills(home / "films", home, args.long, args.kills)
    columns = (
        "optimizer",
        "largest_difference",
        "steps",
        "kills",
        "samples",
        "lost",
        "doubled",
        "seconds",
    )
    show(command(), rows, columns=columns)
    for row in rows if not args.dry else []:
        record("distributed", {**row, "command": command()})


if __name__ == "__main__":
    main()
