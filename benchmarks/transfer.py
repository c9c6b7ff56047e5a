"""How much of one set's training helps on another: the network as a representation.

    python benchmarks/transfer.py DATA [--seeds 0 1 2] [--runs FOLDER]
    python benchmarks/transfer.py DATA --source silhouettes --weights FILE

DATA is the folder that holds the sets. A p3d_tiny is trained on one set as in accuracy.py (FOLDER
keeps its weights), and what it says of the other set is classified by a linear SVM: its pool5, and
the last three stages as they are, so that the SVM knows where and when. Beside it, from the same
clips: the same network with fresh weights, and the pixels themselves. The stages were added after
pool5 of one seed was no better than the pixels on `msr_action3d`; that they help was found on
people 1 and 5 of its training half.

On `silhouettes` one person after the other is left out, on `msr_action3d` the odd people are
learned and the even ones tested. Every score becomes a row of results/transfer.csv, with 95 %
bootstrap intervals over people; `gain` is how many more videos the trained network gets right than
that row.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from accuracy import RUNS, p3d
from pseudo3d.features.featureset import FeatureSet, Normalize
from pseudo3d.features.linear import Linear, LinearScore, bootstrap_interval, leave_out, train_test
from record import record

TARGETS = {"msr_action3d": "silhouettes", "silhouettes": "msr_action3d"}
MODEL = "p3d_tiny"
WAYS: tuple[tuple[Normalize, ...], ...] = (("ssqrt", "l2"), ("zscore",))  # the paper's, another
LAYERS = {"pool5": ("pool5",), "stages 3 to 5": ("stages.1", "stages.2", "stages.3")}


def weights_of(data: Path, source: str, seed: int, runs: Path) -> Path:
    """Weights trained on a set, made where they are not there."""
    out = runs / f"{source}_{seed}"
    made = out / "weights.safetensors"
    if not made.exists():
        options = RUNS[source]["p3d"].split()
        p3d("train", data / source, "--out", out, "--seed", seed, "--no-report", *options)
    return made


def features(what: str, data: Path, weights: Path, clips: int, out: Path) -> FeatureSet:
    """What a network, or the pixels, say about the clips the trained network sees."""
    words = ["--input-of", weights, "--clips", clips, "--out", out]
    if what != "pixels":
        words += ["--pooling", "none"]
        words += [word for names in LAYERS.values() for n in names for word in ("--layer", n)]
    p3d("features", what, data, *words)
    return FeatureSet.load(out)


def scored(found: FeatureSet, target: str, options: Linear) -> LinearScore:
    """By the protocol of the set."""
    if target == "silhouettes":
        return leave_out(found, "group", options)
    return train_test(found.split("train"), found.split("test"), options)


def rows(
    source: str, weights: Path, data: Path, seed: int, clips: int, folder: Path
) -> list[dict[str, Any]]:
    """The scores of one trained network and of its yardsticks."""
    target = TARGETS[source]
    sources = {"trained": str(weights), "random": f"random:{MODEL}:{seed}", "pixels": "pixels"}
    sets = {
        name: features(what, data / target, weights, clips, folder / f"{name}.npz")
        for name, what in sources.items()
    }
    made = []
    for way, (kind, layers) in product(WAYS, LAYERS.items()):
        options = Linear(normalize=way, layers=layers)
        plain = Linear(normalize=way)
        scores = {
            name: scored(x, target, plain if name == "pixels" else options)
            for name, x in sets.items()
        }
        best = scores["trained"]
        for name, score in scores.items():
            gain = best.right.astype(np.float64) - score.right
            low, high = score.interval
            gain_low, gain_high = bootstrap_interval(gain, score.units)
            made.append(
                {
                    "source": source,
                    "target": target,
                    "features": name if name == "pixels" else f"{name} {MODEL} {kind}",
                    "normalize": " ".join(way),
                    "seed": seed,
                    "videos": len(score.paths),
                    "accuracy": round(score.accuracy, 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "gain": round(float(gain.mean()), 4),
                    "gain_low": round(gain_low, 4),
                    "gain_high": round(gain_high, 4),
                    "protocol": f"{sets[name].meta['protocol']}; {score.describe()}",
                    "command": f"python benchmarks/transfer.py DATA --source {source} --seeds "
                    f"{seed} --clips {clips}",
                }
            )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--source", choices=TARGETS, help="the set to learn; default: each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--weights", type=Path, help="trained on the source already; one seed")
    parser.add_argument("--runs", type=Path, help="keeps the trained networks, and finds them")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    if args.weights is not None and (args.source is None or len(args.seeds) > 1):
        parser.error("--weights needs --source and one seed")
    for source in [args.source] if args.source else TARGETS:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as folder:
                home = Path(folder)
                weights = args.weights or weights_of(args.data, source, seed, args.runs or home)
                for row in rows(source, weights, args.data, seed, args.clips, home):
                    if not args.dry:
                        record("transfer", row)
                    print(
                        f"{source} -> {row['target']} seed {seed} {row['normalize']}: "
                        f"{row['features']} {row['accuracy']:.1%} "
                        f"({row['low']:.1%} to {row['high']:.1%})"
                    )


if __name__ == "__main__":
    main()
