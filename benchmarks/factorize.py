"""Speed against accuracy of a factorized 3-D network: before, after, after a short fine-tuning.

    python benchmarks/factorize.py DATA --keep FOLDER [--speedups 1.5 2 2.5 3 4] [--seed 0]
    python benchmarks/factorize.py DATA --keep FOLDER --model r3d_tiny --epochs 1 --tune 1 --dry

DATA is the folder that holds msr_action3d. A network is trained on the odd people (gray and
difference, 16 frames of 56 x 56) and factorized for each speed: from its kernels alone, from clips
of the odd people, and with fine-tuning after that; scores are of the even people. Speed is
measured here once more, the optimized networks in turn. FOLDER keeps weights and figures: the same
command goes on where it was stopped. Rows: results/factorize.csv; the curve: --picture.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from accuracy import p3d
from pseudo3d.bench.timing import race, speedup
from pseudo3d.runtime.lower import optimize
from pseudo3d.weights import load
from record import record

SET = "msr_action3d"
INPUT = "--frames 16 --size 56 --set input.resize=68 --set input.color=gray"
TRAINING = (
    f"{INPUT} --set input.difference=true --set augment.rotate=12 --set augment.stretch=0.2 "
    "--set augment.shear=0.15"
)
VARIANTS = ("kernels", "clips", "tuned")
LABELS = {
    "kernels": "from the kernels",
    "clips": "from clips",
    "tuned": "from clips, fine-tuned",
}


def train(args: argparse.Namespace) -> tuple[Path, str]:
    """The network to factorize; a run that was interrupted goes on."""
    out = args.keep / f"{args.model}-{args.seed}"
    options = f"--model {args.model} --epochs {args.epochs} --seed {args.seed} {TRAINING}"
    if args.threads is not None:
        options += f" --threads {args.threads}"
    path = out / "weights.safetensors"
    if not path.exists():
        p3d("train", args.data / SET, "--out", out, "--no-report", *options.split())
    return path, f"p3d train {SET} --out RUN {options}"


def scores(weights: Path, data: Path, views: int) -> dict[str, Any]:
    """Accuracy on the even people."""
    text = p3d("evaluate", weights, data, "--split", "test", "--views", views, "--json")
    return json.loads(text)


def factorized(args: argparse.Namespace, full: Path, speed: float, with_clips: bool) -> Path:
    """A factorized network, and beside it what the command said."""
    kind = "clips" if with_clips else "kernels"
    out = args.keep / f"{full.parent.name}-{kind}-{speed:g}-{args.tune_lr:g}.safetensors"
    told = out.with_suffix(".json")
    if not told.exists():
        words: list[object] = ["--speedup", speed, "--out", out, "--json", "--seed", args.seed]
        if args.threads is not None:
            words += ["--threads", args.threads]
        if with_clips:
            words += ["--data", args.data / SET, "--epochs", args.tune, "--views", args.views]
            words += ["--lr", args.tune_lr]
        told.write_text(p3d("factorize", full, *words))
    return out


def measured(full: Path, small: Path, rounds: int) -> dict[str, float]:
    """Times of a clip, the optimized networks in turn."""
    nets = {"full": load(full), "small": load(small)}
    pre = nets["full"].card.preprocessing
    clip = torch.randn(1, pre.channels, pre.frames, *pre.size)
    calls = {name: partial(optimize(net, clip), clip) for name, net in nets.items()}
    times = race(calls, rounds=rounds, seconds=30)
    ratio = speedup(times["full"], times["small"])
    return {
        "full_ms": round(1e3 * times["full"].seconds.median, 3),
        "ms": round(1e3 * times["small"].seconds.median, 3),
        "speedup": round(ratio.median, 3),
        "speedup_low": round(ratio.low, 3),
        "speedup_high": round(ratio.high, 3),
    }


def points(args: argparse.Namespace, full: Path, speed: float) -> dict[str, dict[str, Any]]:
    """Accuracy, size and speed of the three variants for one wanted speed."""
    blind = factorized(args, full, speed, with_clips=False)
    seeing = factorized(args, full, speed, with_clips=True)
    told = {path: json.loads(path.with_suffix(".json").read_text()) for path in (blind, seeing)}
    found: dict[str, dict[str, Any]] = {}
    for path, variants in ((blind, ("kernels",)), (seeing, ("clips", "tuned"))):
        report, times = told[path]["report"], measured(full, path, args.rounds)
        for variant in variants:
            if variant == "kernels":
                score = scores(path, args.data / SET, args.views)
            else:
                score = told[path]["after" if variant == "clips" else "tuned"]
            found[variant] = {
                **{key: round(score[key], 4) for key in ("video_hit@1", "clip_hit@1")},
                "parameters": report["parameters"][1],
                "macs": report["macs"][1],
                **times,
            }
    return found


def rows(args: argparse.Namespace, full: Path, how: str) -> list[dict[str, Any]]:
    """Everything measured, read back where it was measured before."""
    found = []
    base = args.keep / f"{full.parent.name}-full.json"
    if not base.exists():
        base.write_text(json.dumps(scores(full, args.data / SET, args.views)))
    before = json.loads(base.read_text())
    for speed in args.speedups:
        kept = args.keep / f"{full.parent.name}-{speed:g}-{args.tune}-{args.tune_lr:g}.rows.json"
        fresh = not kept.exists()
        if fresh:
            kept.write_text(json.dumps(points(args, full, speed)))
        for variant, point in json.loads(kept.read_text()).items():
            row = {
                "set": SET,
                "network": args.model,
                "seed": args.seed,
                "wanted": speed,
                "variant": variant,
                "epochs": args.tune if variant == "tuned" else 0,
                "tuning_lr": args.tune_lr if variant == "tuned" else "",
                "videos": before["videos"],
                "views": args.views,
                "before_video_hit@1": round(before["video_hit@1"], 4),
                **point,
                "command": how,
            }
            found.append(row)
            if fresh and not args.dry:
                record("factorize", row)
            print(
                f"{speed:g}x {variant}: {row['before_video_hit@1']:.1%} -> "
                f"{row['video_hit@1']:.1%} at {row['speedup']:.2f}x",
                flush=True,
            )
    return found


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over measured speed, one line for each variant."""
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    before = 100 * found[0]["before_video_hit@1"]
    axes.axhline(before, color="0.6", linewidth=1)
    axes.annotate("original", (1, before), xytext=(2, 3), textcoords="offset points", color="0.4")
    for variant, style in zip(VARIANTS, (":", "--", "-"), strict=True):
        line = sorted(
            (r["speedup"], 100 * r["video_hit@1"]) for r in found if r["variant"] == variant
        )
        axes.plot(*zip(*line, strict=True), f"{style}o", label=LABELS[variant], markersize=4)
    axes.set(
        xlabel="measured speed-up",
        ylabel="accuracy on unseen people, %",
        title=f"MSR Action3D, {found[0]['network']} factorized",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True, help="folder for weights and figures")
    parser.add_argument("--model", default="r3d18")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=60, help="of the training; default 60")
    parser.add_argument("--tune", type=int, default=5, help="epochs of fine-tuning; default 5")
    parser.add_argument("--tune-lr", type=float, default=2e-4, help="its learning rate")
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2, 2.5, 3, 4])
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--picture", type=Path, default=Path("docs/images/factorize.png"))
    parser.add_argument("--dry", action="store_true", help="no rows in results/, picture in --keep")
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    full, how = train(args)
    draw(rows(args, full, how), args.keep / "curve.png" if args.dry else args.picture)


if __name__ == "__main__":
    main()
