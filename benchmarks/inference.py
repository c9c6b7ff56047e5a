"""Inference of P3D-50 on one clip of 16 x 160 x 160: every runtime against plain PyTorch.

    python benchmarks/inference.py [--threads 1 2] [--chart FOLDER]

The network of the authors' release (16.88 GFLOP), weights drawn as if trained. Rows go to
results/inference.csv; a quick trial: --model p3d_nano --frames 4 --size 32 --rounds 3 --dry.
"""

from pathlib import Path

import torch

from common import command, keep, options, parse, rounds_done, show, tell
from pseudo3d.bench.inference import compare
from pseudo3d.bench.machine import machine, versions
from pseudo3d.bench.report import chart_png
from pseudo3d.bench.ways import WAYS, enliven
from pseudo3d.models import create_model, default_config

COLUMNS = (
    "median_ms",
    "low_ms",
    "high_ms",
    "cpu_ms",
    "speedup",
    "speedup_cpu",
    "gflops",
    "share_of_limit",
    "relative_error",
)


def main() -> None:
    parser = options(__doc__, rounds=31, seconds=150)
    parser.add_argument("--model", default="p3d50")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--chart", type=Path, help="folder for a bar chart per number of threads")
    args = parse(parser)
    semantics = {"semantics": "release"} if hasattr(default_config(args.model), "semantics") else {}
    net = enliven(create_model(args.model, num_classes=400, **semantics)).eval()
    rng = torch.Generator().manual_seed(0)
    clips = torch.randn(args.batch, 3, args.frames, args.size, args.size, generator=rng)
    runtimes = versions("torch", "onnxruntime", "openvino", "nncf")
    for threads in args.threads:
        found = compare(
            net,
            clips,
            count=threads,
            names=args.ways,
            rounds=args.rounds,
            seconds=args.seconds,
            limit_seconds=args.limit_seconds,
            tell=tell,
            progress=rounds_done(f"{threads} threads"),
        )
        clip = f"{args.batch}x3x{args.frames}x{args.size}x{args.size}"
        rows = []
        for row in found.rows:
            figures = row.to_dict()
            about = {"model": args.model, "clip": clip, "gflop": round(found.gflop, 2)}
            about |= {"threads": threads, "variant": figures.pop("name")}
            rows.append({**about, **figures, "runtimes": runtimes})
        title = f"{args.model}, {clip}, {found.gflop:.2f} GFLOP, {threads} threads: {command()}"
        show(title, rows, found.limits.values(), COLUMNS)
        keep("inference", rows, args.dry)
        if args.chart is not None:
            note = f"{machine()}; {runtimes}"
            tell(f"wrote {chart_png(found, args.chart / f'inference-{threads}.png', note)}")


if __name__ == "__main__":
    main()
