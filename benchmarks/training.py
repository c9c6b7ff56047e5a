"""A training step (forward, backward, SGD with momentum): plain PyTorch against ours.

    python benchmarks/training.py [--threads 1 2] [--only p3d50]

P3D-50 of the release on 4 clips of 16 x 112 x 112, p3d_tiny on 16 clips of 16 x 64 x 64. A step
counts three times the forward pass's work, divided by the convolution peak of the precision. Rows:
results/training.csv; a quick trial: --only p3d_tiny --batch 2 --size 32 --rounds 3 --dry.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import command, keep, options, parse, rounds_done, show, tell
from pseudo3d.bench.limits import Precision
from pseudo3d.bench.measure import Task, measure, measure_limits
from pseudo3d.bench.ways import enliven
from pseudo3d.bench.yardsticks import plain
from pseudo3d.models import create_model
from pseudo3d.models.profile import profile

# model, its options, batch, side
CASES = {
    "p3d50": ({"semantics": "release", "num_classes": 400}, 4, 112),
    "p3d_tiny": ({"num_classes": 20}, 16, 64),
}
FRAMES = 16


class Step:
    """One step of training; notes the loss."""

    def __init__(self, net: nn.Module, clips: Tensor, labels: Tensor, precision: Precision) -> None:
        self.net, self.clips, self.labels, self.precision = net.train(), clips, labels, precision
        self.optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
        self.losses: list[float] = []

    def __call__(self) -> None:
        half = self.precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            logits = self.net(self.clips)
        loss = F.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())


def steps(name: str, batch: int, size: int) -> dict[str, Step]:
    """The variants, with the same weights and clips."""
    clips = torch.randn(batch, 3, FRAMES, size, size)
    made: Callable[[], nn.Module] = lambda: enliven(create_model(name, **CASES[name][0]))  # noqa: E731
    labels = torch.randint(CASES[name][0]["num_classes"], (batch,))
    return {
        "plain fp32": Step(plain(made()), clips, labels, "fp32"),
        "ours fp32": Step(made(), clips, labels, "fp32"),
        "plain bf16 autocast": Step(plain(made()), clips, labels, "bf16"),
        "ours bf16 autocast": Step(made(), clips, labels, "bf16"),
    }


def main() -> None:
    parser = options(__doc__, rounds=11, seconds=120)
    parser.add_argument("--only", choices=CASES, help="one of the two networks")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--size", type=int)
    args = parse(parser)
    for name in [args.only] if args.only else CASES:
        torch.manual_seed(0)
        batch, size = args.batch or CASES[name][1], args.size or CASES[name][2]
        macs = profile(create_model(name, **CASES[name][0]), FRAMES, size).macs
        work = 3 * 2e-9 * macs * batch
        for threads in args.threads:
            torch.set_num_threads(threads)
            tell(f"{name}: making the steps ready")
            todo = steps(name, batch, size)
            tasks = {k: Task(call=v, precision=v.precision, gflop=work) for k, v in todo.items()}
            limits = measure_limits(("fp32", "bf16"), threads, args.limit_seconds)
            found = measure(
                tasks,
                limits,
                count=threads,
                rounds=args.rounds,
                seconds=args.seconds,
                progress=rounds_done(f"{name}, {threads} threads"),
            )
            clip = f"{batch}x3x{FRAMES}x{size}x{size}"
            rows = []
            for variant, figures in found.items():
                loss = todo[variant].losses
                if not math.isfinite(loss[-1]):
                    tell(f"{name}, {variant}: the loss became {loss[-1]} after {len(loss)} steps")
                about = {"model": name, "clips": clip, "gflop": round(work, 2), "threads": threads}
                about |= {"variant": variant, "precision": todo[variant].precision}
                seconds = figures.timing.seconds.median
                speed = {"clips_per_second": round(batch / seconds, 3)}
                finite = {"loss_finite": math.isfinite(loss[-1])}
                rows.append({**about, **figures.to_dict(), **speed, **finite})
            columns = ("median_ms", "cpu_ms", "speedup", "gflops", "share_of_limit", "loss_finite")
            title = f"step of {name}, {clip}, {work:.1f} GFLOP, {threads} threads: {command()}"
            show(title, rows, limits.values(), columns)
            keep("training", rows, args.dry)


if __name__ == "__main__":
    main()
