"""What leaving out unneeded voxels saves, and what `optimize` makes of a U-Net.

    python benchmarks/skipping.py [--threads 1]

`skip` is P3D-50 of the authors' release on one clip of 16 x 160 x 160 as `optimize` runs it,
against the same with every voxel computed. `unet` is `p3d_unet` on one window of 32 x 128 x 128,
against the network itself. Weights are drawn as if trained; all take turns in one run. Rows go to
results/skipping.csv; a quick trial: --rounds 3 --seconds 10 --dry.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch

from common import keep, options, parse, rounds_done, show
from pseudo3d.bench.timing import Timing, race, speedup
from pseudo3d.bench.ways import enliven
from pseudo3d.models import create_model
from pseudo3d.runtime import lower
from pseudo3d.runtime.fold import fold

PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
COLUMNS = ("precision", "ms", "low_ms", "high_ms", "cpu_ms", "speedup", "speedup_cpu")
Calls = dict[tuple[str, str], Callable[[], object]]


def skipped() -> Calls:
    """The window with every voxel, and without those that nothing looks at."""
    net = enliven(create_model("p3d50", num_classes=400, semantics="release")).eval()
    clip = torch.randn(1, 3, 16, 160, 160, generator=torch.Generator().manual_seed(0))
    calls: Calls = {}
    for precision in PRECISIONS:
        lower.fold = partial(fold, skip=False)
        calls["every voxel", precision] = partial(lower.optimize(net, precision=precision), clip)
        lower.fold = fold
        calls["skip", precision] = partial(lower.optimize(net, precision=precision), clip)
    return calls


def masked() -> Calls:
    """A window of a scan through the network itself and through its optimized forms."""
    net = enliven(create_model("p3d_unet", num_classes=3)).eval()
    scan = torch.randn(1, 1, 32, 128, 128, generator=torch.Generator().manual_seed(0))

    def plain() -> None:
        with torch.inference_mode():
            net(scan)

    calls: Calls = {("unet, eager", "fp32"): plain}
    for precision in PRECISIONS:
        calls["unet", precision] = partial(lower.optimize(net, precision=precision), scan)
    return calls


def rows(calls: Calls, first: str, args: Any, threads: int) -> list[dict[str, Any]]:
    """A row for every way; ratios are to `first`, in the same precision where it has it."""
    names = {f"{name}, {precision}": (name, precision) for name, precision in calls}
    times = race(
        {text: calls[key] for text, key in names.items()},
        rounds=args.rounds,
        seconds=args.seconds,
        count=threads,
        progress=rounds_done(f"{first}, {threads} threads"),
    )
    found = []
    for text, (name, precision) in names.items():
        base = times.get(f"{first}, {precision}", times[f"{first}, fp32"])
        found.append({"variant": name, "precision": precision, "threads": threads,
                      **figures(times[text], base)})  # fmt: skip
    return found


def figures(taken: Timing, base: Timing) -> dict[str, Any]:
    """Milliseconds, and how many times faster than `base`."""
    return {
        "rounds": len(taken.wall),
        "ms": round(1e3 * taken.seconds.median, 2),
        "low_ms": round(1e3 * taken.seconds.low, 2),
        "high_ms": round(1e3 * taken.seconds.high, 2),
        "cpu_ms": round(1e3 * taken.cpu_seconds.median, 2),
        "speedup": round(speedup(base, taken).median, 3),
        "speedup_cpu": round(speedup(base, taken, cpu=True).median, 3),
    }


def main() -> None:
    args = parse(options(__doc__, rounds=21, seconds=60, threads=[1]))
    for threads in args.threads:
        for make, first in ((skipped, "every voxel"), (masked, "unet, eager")):
            with_rows = rows(make(), first, args, threads)
            show(f"{first}, {threads} threads", with_rows, columns=COLUMNS)
            keep("skipping", with_rows, args.dry)


if __name__ == "__main__":
    main()
