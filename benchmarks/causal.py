"""What looking back only costs in accuracy: p3d_tiny causal against symmetric on real videos.

    python benchmarks/causal.py DATA [--seeds 0 1 2] [--keep FOLDER]

DATA is the folder that holds msr_action3d. The recipe is that of study.py's mixed network: 30
epochs, trained on the odd people, tested on the even ones. `causal` is trained so from the start;
`causal, fine-tuned` begins with the symmetric network's weights and trains 10 epochs more. Every
network becomes a row of results/causal.csv.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from accuracy import command, one
from record import record
from study import RUNS

EPOCHS = "--epochs 30"
MORE = "--epochs 10"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="folder for the weights")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    name, recipe = RUNS["msr_action3d"]
    found: dict[str, list[float]] = {}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            start = home / "symmetric" / "weights.safetensors"
            runs = {
                "symmetric": recipe,
                "causal": f"{recipe} --net causal=true",
                "causal, fine-tuned": f"{recipe.replace(EPOCHS, MORE)} --net causal=true "
                f"--weights {start}",
            }
            for network, options in runs.items():
                out = home / network.partition(",")[0] if "," not in network else home / "tuned"
                scores, seconds = one(args.data / name, options, out, seed, None)
                told = options.replace(str(start), "SYMMETRIC/weights.safetensors")
                row = {
                    "set": name,
                    "network": network,
                    "seed": seed,
                    "videos": scores["videos"],
                    "video_hit@1": round(scores["video_hit@1"], 4),
                    "clip_hit@1": round(scores["clip_hit@1"], 4),
                    "train_seconds": round(seconds, 1),
                    "command": command(name, told, seed, None),
                }
                found.setdefault(network, []).append(row["video_hit@1"])
                print(f"{network}, seed {seed}: {row['video_hit@1']:.1%}", flush=True)
                if not args.dry:
                    record("causal", row)
                if args.keep is not None:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(
                        out / "weights.safetensors", args.keep / f"{out.name}-{seed}.safetensors"
                    )
    for network, scores in found.items():
        print(f"{network}: {statistics.fmean(scores):.2%}, mean of {len(scores)} seeds")


if __name__ == "__main__":
    main()
