"""P3D-50 on a GPU: precisions, layouts, torch.compile and CUDA graphs against plain PyTorch.

    python benchmarks/gpu.py [--batch 1 16]

Inference of clips of 16 x 160 x 160 and training steps of 16 x 112 x 112, the same plain networks
as on the processor beside ours. "fp32" is without TF32, "tf32" with it. Says so and ends well where
there is no GPU. Rows: results/gpu.csv; a quick trial anywhere: --device cpu --model p3d_nano
--frames 4 --size 32 --train-size 32 --width 8 --batch 1 --train-batch 2 --rounds 3 --dry.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common import command, keep, options, parse, rounds_done, show, tell
from gpu_limits import Precision, limits, use_tf32, wait
from pseudo3d.bench.inference import relative_error
from pseudo3d.bench.timing import Timing, race, speedup
from pseudo3d.bench.ways import enliven
from pseudo3d.bench.yardsticks import PlainResNet3d, plain
from pseudo3d.models import Network, create_model, default_config
from pseudo3d.runtime.fold import fold

Run = Literal["eager", "compiled", "graph"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is run and how."""

    name: str
    make: Callable[[], nn.Module]
    precision: Precision
    last: bool = False  # weights and clips in channels_last_3d
    run: Run = "eager"
    counted: Callable[[], nn.Module] | None = None  # whose work it does, if not its own


def variants(args: Any) -> list[Variant]:
    """Plain first: the others are compared with it."""
    semantics = {"semantics": "release"} if hasattr(default_config(args.model), "semantics") else {}

    def ours() -> Network:
        return enliven(create_model(args.model, num_classes=400, **semantics))

    def simple() -> nn.Module:
        return plain(ours())

    def folded() -> nn.Module:
        return fold(ours())

    def peer(factored: bool) -> nn.Module:
        return PlainResNet3d(factored=factored, width=args.width)

    v, flat = Variant, partial(Variant, name="ours, folded", make=folded, counted=simple, last=True)
    found = [
        v(name="plain", make=simple, precision="fp32"),
        v(name="plain", make=simple, precision="tf32"),
        v(name="plain", make=simple, precision="bf16"),
        v(name="plain", make=simple, precision="tf32", last=True),
        v(name="plain", make=simple, precision="bf16", last=True),
        v(name="plain", make=simple, precision="bf16", last=True, run="compiled"),
        v(name="ours", make=ours, precision="fp32", last=True),
        v(name="ours", make=ours, precision="tf32", last=True),
        v(name="ours", make=ours, precision="bf16", last=True),
        v(name="ours", make=ours, precision="bf16", last=True, run="compiled"),
        v(name="ours", make=ours, precision="bf16", last=True, run="graph"),
        flat(precision="tf32", run="graph"),
        flat(precision="bf16", run="graph"),
        flat(precision="bf16", run="compiled"),
    ]
    for name, factored in (("R3D-18", False), ("R(2+1)D-18", True)):
        net = partial(peer, factored)
        found.append(v(name=name, make=net, precision="tf32"))
        found.append(v(name=name, make=net, precision="bf16", last=True))
    return found


def title(variant: Variant) -> str:
    layout = ", channels_last_3d" if variant.last else ""
    how = "" if variant.run == "eager" else f", {variant.run}"
    return f"{variant.name} {variant.precision}{layout}{how}"


def inference(variant: Variant, clips: Tensor) -> Callable[[], Tensor]:
    """A call that returns logits when they are there."""
    device, dtype = (
        clips.device.type,
        torch.bfloat16 if variant.precision == "bf16" else torch.float,
    )
    net = variant.make().eval().to(device, dtype)
    clips = clips.to(dtype)
    if variant.last:
        net, clips = (x.to(memory_format=torch.channels_last_3d) for x in (net, clips))
    infer: Callable[[Tensor], Tensor] = net
    use_tf32(variant.precision == "tf32")
    if variant.run == "compiled":
        infer = torch.compile(net, dynamic=False)
    elif variant.run == "graph":
        infer = graphed(net, clips)

    def call() -> Tensor:
        use_tf32(variant.precision == "tf32")
        with torch.inference_mode():
            logits = infer(clips)
        wait(device)
        return logits

    call()
    return call


def graphed(net: nn.Module, clips: Tensor) -> Callable[[Tensor], Tensor]:
    """The network as one recorded launch."""
    if clips.device.type != "cuda":
        raise RuntimeError("CUDA graphs need a GPU")
    given, side = clips.clone(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.inference_mode():  # libraries choose their kernels here
        for _ in range(3):
            net(given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        logits = net(given)

    def infer(x: Tensor) -> Tensor:
        given.copy_(x)
        graph.replay()
        return logits

    return infer


def training(variant: Variant, clips: Tensor) -> Callable[[], Tensor]:
    """A step with SGD that returns its loss."""
    device = clips.device.type
    net = variant.make().train().to(device)
    if variant.last:
        net, clips = (x.to(memory_format=torch.channels_last_3d) for x in (net, clips))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    labels = torch.zeros(len(clips), dtype=torch.long, device=device)
    forward = torch.compile(net, dynamic=False) if variant.run == "compiled" else net
    half = variant.precision == "bf16"

    def call() -> Tensor:
        use_tf32(variant.precision == "tf32")
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            logits = forward(clips)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        wait(device)
        return loss.detach()

    call()
    return call


def compare(
    what: Literal["inference", "training"], args: Any, batch: int, peaks: dict[str, tuple]
) -> list[dict[str, Any]]:
    """Rows of one comparison; what fails is skipped with its reason."""
    train = what == "training"
    size = args.train_size if train else args.size
    rng = torch.Generator().manual_seed(0)
    clips = torch.randn(batch, 3, args.frames, size, size, generator=rng).to(args.device)
    calls: dict[str, Callable[[], Tensor]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for variant in variants(args):
        if train and (variant.run == "graph" or variant.counted):
            continue
        name = title(variant)
        tell(f"{what}, batch {batch}: {name}")
        rows[name] = {
            "task": what,
            "clips": "x".join(map(str, clips.shape)),
            "variant": name,
            "precision": variant.precision,
            "gflop": round(work(variant, clips, train), 2),
        }
        try:
            calls[name] = (training if train else inference)(variant, clips)
        except Exception as err:  # no compiler, no memory: the others get their turn
            rows[name]["skipped"] = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
    progress = rounds_done(f"{what}, batch {batch}")
    times = race(calls, rounds=args.rounds, seconds=args.seconds, progress=progress)
    first = next(iter(calls))
    want = calls[first]()
    for name, timing in times.items():
        rows[name] |= figures(rows[name], timing, times[first], batch, peaks)
        alike = not train and "D-18" not in name
        error = relative_error(calls[name](), want) if alike else None
        rows[name]["relative_error"] = None if error is None else float(f"{error:.2e}")
        rows[name]["gpu"] = torch.cuda.get_device_name() if args.device == "cuda" else "none"
    return list(rows.values())


def figures(
    row: dict[str, Any], timing: Timing, base: Timing, batch: int, peaks: dict[str, tuple]
) -> dict[str, Any]:
    """What the times come to."""
    seconds, (product, convolution) = timing.seconds, peaks[row["precision"]]
    rate = row["gflop"] / seconds.median
    return {
        "rounds": len(timing.wall),
        "median_ms": round(1e3 * seconds.median, 4),
        "low_ms": round(1e3 * seconds.low, 4),
        "high_ms": round(1e3 * seconds.high, 4),
        "clips_per_second": round(batch / seconds.median, 2),
        "speedup": round(speedup(base, timing).median, 3),
        "gflops": round(rate, 1),
        "product_gflops": round(product),
        "convolution_gflops": round(convolution),
        "share_of_limit": round(rate / convolution, 3),
    }


def work(variant: Variant, clips: Tensor, train: bool) -> float:
    """GFLOP of a call, three times the forward pass for a training step."""
    with torch.device("meta"):
        net = (variant.counted or variant.make)().eval()
    shapes = torch.empty(clips.shape, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(shapes)
    return (3 if train else 1) * counter.get_total_flops() / 1e9


def main() -> None:
    parser = options(__doc__, rounds=21, seconds=60)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--model", default="p3d50")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--train-size", type=int, default=112)
    parser.add_argument("--train-batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=64, help="of the peers; 64 is the real one")
    args = parse(parser)
    if args.device == "cuda" and not torch.cuda.is_available():
        built = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU found"
        print(f"skipped: {built}; run it where torch.cuda.is_available()")
        sys.exit(0)
    torch.backends.cudnn.benchmark = True
    tell("measuring the limits")
    small = args.size < 64
    peaks: dict[str, tuple] = {p: limits(args.device, p, small) for p in ("fp32", "tf32", "bf16")}
    columns = ("median_ms", "speedup", "gflops", "share_of_limit", "relative_error")
    for what, batch in [*(("inference", b) for b in args.batch), ("training", args.train_batch)]:
        rows = compare(what, args, batch, peaks)
        for precision, (product, convolution) in peaks.items():
            tell(f"limit {precision}: {product:.0f} product, {convolution:.0f} convolution GFLOP/s")
        show(f"{what}, batch {batch}: {command()}", rows, columns=columns)
        keep("gpu", rows, args.dry)


if __name__ == "__main__":
    main()
