"""What a new frame costs: streamed, against running the newest window of 16 frames again.

    python benchmarks/streaming.py [--threads 1] [--precisions fp32 bf16]

P3D-50 of the authors' release on 160 x 160 pixels, weights drawn as if trained. `multi-rate` is its
causal form with the temporal pools kept (a stage steps when its pool is full), `frame-wise` the
causal form without temporal pools (every stage at every frame). The window is run again for each
new frame, in three ways: as `optimize` makes it (`cheaper` compares with that), the same but with
every voxel computed, also those that a later stride skips, and the eager network. All take turns in
one run; a ratio is the median of the ratios within a round. Rows go to results/streaming.csv; a
quick trial: --model p3d_nano --size 32 --rounds 3 --dry.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from common import command, keep, options, parse, rounds_done, show
from pseudo3d.bench.machine import versions
from pseudo3d.bench.timing import Timing, race, speedup
from pseudo3d.bench.ways import enliven
from pseudo3d.engine.stream import Stream
from pseudo3d.engine.streamstate import StreamState
from pseudo3d.models import create_model
from pseudo3d.models.network import Network
from pseudo3d.models.profile import profile
from pseudo3d.runtime import lower
from pseudo3d.runtime.fold import fold

WINDOW = 16
WINDOWS = ("window", "window, every voxel", "window, eager")
COLUMNS = ("ms_per_frame", "cheaper", "cheaper_low", "than_every_voxel", "than_eager", "state_mib")


def networks(model: str) -> dict[str, Network]:
    """The window's network and its causal forms."""
    made = {
        "window": {},
        "multi-rate": {"causal": True},
        "frame-wise": {"causal": True, "time_pools": (1, 1, 1, 1)},
    }
    return {
        name: enliven(create_model(model, num_classes=400, semantics="release", **how)).eval()
        for name, how in made.items()
    }


def warmed(stream: Stream, clip: Tensor) -> tuple[StreamState, int]:
    """The state after two periods, and the most that was held on the way."""
    state, most = stream.start(), 0
    for i in range(2 * max(stream.period, WINDOW)):
        _, state = stream.step(clip[:, :, i % WINDOW], state)
        most = max(most, state.nbytes)
    return state, most


def walk(
    stream: Stream, clip: Tensor, state: StreamState, chunk: int = 1, decide: bool = False
) -> None:
    """The frames of one window, some at a time."""
    for start in range(0, WINDOW, chunk):
        _, state = stream.step(clip[:, :, start : start + chunk], state)
        if decide:
            stream.decide(state)


def error(net: Network, stream: Stream, clip: Tensor) -> float:
    """Relative difference of the logits to the whole clip's."""
    state = stream.start()
    for frame in clip.split(1, 2):
        _, state = stream.step(frame, state)
    with torch.inference_mode():
        want = net(clip)
    return float((stream.decide(state) - want).norm() / want.norm())


def windows(net: Network, clip: Tensor, precision: Any) -> dict[str, Callable[[], object]]:
    """The ways to run the window again; there is one eager network, in fp32."""

    def eager() -> None:
        with torch.inference_mode():
            net(clip)

    fast = lower.optimize(net, precision=precision)
    lower.fold = partial(fold, skip=False)
    plain = lower.optimize(net, precision=precision)
    lower.fold = fold
    return dict(zip(WINDOWS, (partial(fast, clip), partial(plain, clip), eager), strict=True))


def measured(args: Any, precision: Any, threads: int) -> list[dict[str, Any]]:
    """A row for every way."""
    nets = networks(args.model)
    draw = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 3, WINDOW, args.size, args.size, generator=draw)
    calls = windows(nets["window"], clip, precision)
    about: dict[str, dict[str, Any]] = {
        name: {"chunk": WINDOW, "net": nets["window"]} for name in calls
    }
    for kind in ("multi-rate", "frame-wise"):
        stream = Stream(nets[kind], precision=precision)
        state, held = warmed(stream, clip)
        told = {"net": nets[kind], "state_mib": round(held / 2**20, 2), "period": stream.period}
        told["relative_error"] = float(f"{error(nets[kind], stream, clip):.1e}")
        for name, how in {
            kind: {"chunk": 1},
            f"{kind}, a decision at every frame": {"chunk": 1, "decide": True},
            f"{kind}, {WINDOW} frames at once": {"chunk": WINDOW},
        }.items():
            calls[name] = partial(walk, stream, clip, state, **how)
            about[name] = {**told, "chunk": how["chunk"]}
    progress = rounds_done(f"{precision}, {threads} threads")
    times = race(calls, rounds=args.rounds, seconds=args.seconds, count=threads, progress=progress)
    return [_row(args, name, times, about[name], precision, threads) for name in calls]


def _row(
    args: Any, name: str, times: dict[str, Timing], about: dict, precision: str, threads: int
) -> dict[str, Any]:
    frames = 1 if name in WINDOWS else WINDOW  # new frames that one call brings
    taken, window = times[name], times["window"]
    wall, cpu = speedup(window, taken), speedup(window, taken, cpu=True)
    plain, eager = (speedup(times[other], taken) for other in WINDOWS[1:])
    macs = profile(about["net"], WINDOW, args.size).macs
    return {
        "model": args.model,
        "frame": f"3x{args.size}x{args.size}",
        "gflop_per_frame": round(2e-9 * macs / frames, 3),
        "threads": threads,
        "variant": name,
        "precision": precision,
        "frames_per_step": about["chunk"],
        "period": about.get("period"),
        "rounds": len(taken.wall),
        "ms_per_frame": round(1e3 * taken.seconds.median / frames, 4),
        "low_ms": round(1e3 * taken.seconds.low / frames, 4),
        "high_ms": round(1e3 * taken.seconds.high / frames, 4),
        "cpu_ms": round(1e3 * taken.cpu_seconds.median / frames, 4),
        "cheaper": round(frames * wall.median, 3),
        "cheaper_low": round(frames * wall.low, 3),
        "cheaper_high": round(frames * wall.high, 3),
        "cheaper_cpu": round(frames * cpu.median, 3),
        "than_every_voxel": round(frames * plain.median, 3),
        "than_eager": round(frames * eager.median, 3),
        "state_mib": about.get("state_mib"),
        "relative_error": about.get("relative_error"),
        "runtimes": versions("torch"),
    }


def main() -> None:
    parser = options(__doc__, rounds=21, seconds=120, threads=[1])
    parser.add_argument("--model", default="p3d50")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    args = parse(parser)
    for threads in args.threads:
        for precision in args.precisions:
            rows = measured(args, precision, threads)
            show(f"{args.model}, {precision}, {threads} threads: {command()}", rows, (), COLUMNS)
            keep("streaming", rows, args.dry)


if __name__ == "__main__":
    main()
