"""Is the optimized network ever slower than the eager one? Every family, every common clip.

    python benchmarks/shapes.py [--threads 2] [--models 'p3d*'] [--all]

Each network in each semantics, {8, 16, 32} frames of {64, 112, 160, 224} pixels, against plain
PyTorch and against our own eager form, whichever is faster. The deepest networks repeat the blocks
of the others; --all takes them too. Rows: results/shapes.csv; a quick trial: --models p3d_nano
--frames 4 --sizes 32 --rounds 3 --dry.
"""

from fnmatch import fnmatch
from functools import partial
from typing import Any

import torch
from torch import Tensor

from common import command, keep, options, parse, show, tell
from pseudo3d.bench.timing import race, speedup
from pseudo3d.bench.ways import enliven
from pseudo3d.bench.yardsticks import plain
from pseudo3d.models import create_model, list_models
from pseudo3d.models.network import Network
from pseudo3d.models.profile import profile
from pseudo3d.runtime.lower import optimize

DEEP = ("*34", "*101", "*152")
COLUMNS = ("clip", "plain_ms", "eager_ms", "optimized_ms", "speedup_plain", "speedup_eager")


def networks(pattern: str, deep: bool) -> list[tuple[str, str]]:
    """(name, semantics); the per-frame networks have none."""
    names = [name for name in list_models() if fnmatch(name, pattern)]
    if not deep:
        names = [name for name in names if not any(fnmatch(name, d) for d in DEEP)]
    forms = {"p3d": ("release", "port", "modern")}
    return [
        (n, s) for n in names for s in forms.get(n.partition("_")[0].rstrip("0123456789"), ("",))
    ]


def measured(net: Network, clips: Tensor, rounds: int, seconds: float, precision: Any) -> dict:
    """Times of the three forms and the ratios within the rounds."""
    fast = optimize(net, clips, precision)
    calls = {
        "plain": partial(plain(net), clips),
        "eager": partial(net, clips),
        "optimized": partial(fast, clips),
    }
    with torch.inference_mode():
        times = race(calls, rounds=rounds, seconds=seconds, least=0.02)
    ratios = {k: speedup(times[k], times["optimized"]) for k in ("plain", "eager")}
    return {
        **{f"{k}_ms": round(1e3 * t.seconds.median, 4) for k, t in times.items()},
        **{f"speedup_{k}": round(ratio.median, 3) for k, ratio in ratios.items()},
        "speedup_low": round(min(ratio.low for ratio in ratios.values()), 3),
        "rounds": len(times["plain"].wall),
    }


def main() -> None:
    parser = options(__doc__, rounds=7, seconds=4, threads=[2])
    parser.add_argument("--models", default="*", help="shell pattern of names")
    parser.add_argument("--all", action="store_true", help="the deepest networks, too")
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 112, 160, 224])
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    args = parse(parser)
    slower = []
    for threads in args.threads:
        torch.set_num_threads(threads)
        for name, semantics in networks(args.models, args.all):
            net = enliven(
                create_model(name, **({"semantics": semantics} if semantics else {}))
            ).eval()
            rows = []
            for frames in args.frames:
                for size in args.sizes:
                    clips = torch.randn(1, 3, frames, size, size)
                    found = measured(net, clips, args.rounds, args.seconds, args.precision)
                    clip = f"1x3x{frames}x{size}x{size}"
                    about = {"model": name, "semantics": semantics, "clip": clip}
                    about |= {"gflop": round(2e-9 * profile(net, frames, size).macs, 3)}
                    about |= {"threads": threads, "precision": args.precision}
                    rows.append({**about, **found})
                    tell(f"{name} {semantics} {clip}: {found['speedup_eager']:.2f}x of eager")
            shown = [{**row, "variant": f"{name} {semantics}".strip()} for row in rows]
            show(f"{name} {semantics}, {threads} threads", shown, columns=COLUMNS)
            keep("shapes", rows, args.dry)
            slower += [r for r in rows if min(r["speedup_plain"], r["speedup_eager"]) < 1]
    shown = [{**row, "variant": f"{row['model']} {row['semantics']}".strip()} for row in slower]
    show(f"slower than eager: {len(slower)}; {command()}", shown, columns=(*COLUMNS, "speedup_low"))


if __name__ == "__main__":
    main()
