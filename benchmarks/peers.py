"""Cost of a clip: our P3D-50 against the 3-D networks people would otherwise take.

    python benchmarks/peers.py [--threads 1 2]

R3D-18 and R(2+1)D-18 as plain PyTorch, in float32 as they come and in bfloat16 the best way torch
offers (autocast, channels_last_3d). Cost only: their accuracies differ. Rows: results/peers.csv;
a quick trial: --frames 4 --size 32 --width 8 --rounds 3 --dry.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common import command, keep, options, parse, rounds_done, show, tell
from pseudo3d.bench.limits import Precision
from pseudo3d.bench.measure import Task, measure, measure_limits
from pseudo3d.bench.ways import enliven
from pseudo3d.bench.yardsticks import PlainResNet3d, plain
from pseudo3d.models import create_model
from pseudo3d.models.p3d import P3D
from pseudo3d.runtime.lower import optimize


def gflop(net: nn.Module, clips: Tensor) -> float:
    """Work of a call, counted by torch."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(clips)
    return counter.get_total_flops() / 1e9


def eager(net: nn.Module, clips: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.inference_mode():
            return net(clips)

    return call


def autocast(net: nn.Module, clips: Tensor) -> Callable[[], Tensor]:
    net, clips = (v.to(memory_format=torch.channels_last_3d) for v in (net, clips))

    def call() -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return net(clips)

    return call


def tasks(clips: Tensor, width: int) -> dict[str, Task]:
    cfg = create_model("p3d50", semantics="release", num_classes=400).cfg
    ours = P3D(replace(cfg, widths=tuple(width << i for i in range(4)), stem_width=width))
    ours = enliven(ours).eval()
    work = gflop(plain(ours), clips)
    found = {
        "P3D-50, plain fp32": Task(call=eager(plain(ours), clips), precision="fp32", gflop=work)
    }
    precision: Precision
    for precision in ("fp32", "bf16"):
        fast = optimize(ours, clips, precision)
        call = lambda fast=fast: fast(clips)  # noqa: E731 (one line)
        found[f"P3D-50, ours {precision}"] = Task(call=call, precision=precision, gflop=work)
    for name, factored in (("R3D-18", False), ("R(2+1)D-18", True)):
        for form, precision in ((eager, "fp32"), (autocast, "bf16")):
            net = PlainResNet3d(factored=factored, width=width).eval()
            task = Task(call=form(net, clips), precision=precision, gflop=gflop(net, clips))
            found[f"{name}, plain {precision}"] = task
    return found


def main() -> None:
    parser = options(__doc__, rounds=9, seconds=150)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--width", type=int, default=64, help="of the first stage; 64 is the real")
    args = parse(parser)
    clips = torch.randn(1, 3, args.frames, args.size, args.size)
    for threads in args.threads:
        torch.set_num_threads(threads)
        tell("making the networks ready")
        todo = tasks(clips, args.width)
        limits = measure_limits(("fp32", "bf16"), threads, args.limit_seconds)
        found = measure(
            todo,
            limits,
            count=threads,
            rounds=args.rounds,
            seconds=args.seconds,
            progress=rounds_done(f"{threads} threads"),
        )
        clip = f"1x3x{args.frames}x{args.size}x{args.size}"
        rows = []
        for name, figures in found.items():
            about = {"clip": clip, "threads": threads, "variant": name}
            work = {"gflop": round(todo[name].gflop, 2), "precision": todo[name].precision}
            rows.append({**about, **work, **figures.to_dict()})
        columns = ("gflop", "median_ms", "cpu_ms", "speedup", "gflops", "share_of_limit")
        show(f"one clip {clip}, {threads} threads: {command()}", rows, limits.values(), columns)
        keep("peers", rows, args.dry)


if __name__ == "__main__":
    main()
