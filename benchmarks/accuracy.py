"""Accuracy on real videos, through the command line as a user would do it.

    python benchmarks/accuracy.py msr_action3d DATA [--seeds 0 1 2] --keep KEPT
    python benchmarks/accuracy.py direction DATA
    python benchmarks/accuracy.py silhouettes DATA --weights KEPT/msr_action3d-p3d-0.safetensors

DATA is the folder that holds the sets. `msr_action3d` trains on the odd people and tests on the
even ones; the other two leave one person out. Every run becomes a row of results/accuracy.csv.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from pseudo3d.data.manifest import read_manifest
from record import record

# Chosen on people held out of the training half (msr_action3d) or beforehand (the other two).
MSR = (
    "--model p3d_tiny --frames 20 --size 72 --epochs 100 --set input.resize=88 "
    "--set input.color=gray --set input.difference=true --set augment.rotate=12 "
    "--set augment.stretch=0.2 --set augment.shear=0.15"
)
DIRECTION = "--frames 16 --size 48 --epochs 20 --set input.color=gray"
SILHOUETTES = (  # people cross the picture: nearly all of it, at a fixed pace, mirrored or not
    "--model p3d_tiny --frames 16 --epochs 60 --batch 8 --lr 0.001 "
    "--set input.resize=60 --set input.size=[56,72] "
    "--set input.color=gray --set input.difference=true "
    "--set input.sampling=dense --set input.step=2 --set augment.flip=true"
)
RUNS = {
    "msr_action3d": {"p3d": MSR},
    "direction": {
        "p3d": f"--model p3d_nano {DIRECTION}",
        "2-D twin": f"--model resnet_nano {DIRECTION}",
    },
    "silhouettes": {"p3d": SILHOUETTES},
}


def p3d(*words: object) -> str:
    """Run a command and return what it printed."""
    line = ["p3d", *map(str, words)]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def command(name: str, options: str, seed: int, person: str | None) -> str:
    """The training command as a user would type it."""
    held = f" --hold-out {person}" if person else ""
    return f"p3d train {name} --out RUN --seed {seed} {options}{held} --no-report"


def one(
    data: Path, options: str, out: Path, seed: int, person: str | None
) -> tuple[dict[str, Any], float]:
    """Train and evaluate; the scores and the seconds the training command took."""
    held = ["--hold-out", person] if person else []
    part = ["--group", person] if person else ["--split", "test"]
    began = time.perf_counter()
    p3d("train", data, "--out", out, "--seed", seed, *options.split(), *held, "--no-report")
    seconds = time.perf_counter() - began
    scores = json.loads(p3d("evaluate", out / "weights.safetensors", data, *part, "--json"))
    return scores, seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("set", choices=RUNS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", help="one network of the set")
    parser.add_argument("--keep", type=Path, help="folder for the weights")
    parser.add_argument("--weights", type=Path, help="start from these")
    args = parser.parse_args()
    start = named = ""
    if args.weights is not None:
        start, named = f" --weights {args.weights}", f" --weights {args.weights.name}"
    data = args.data / args.set
    people = [None] if args.set == "msr_action3d" else list(read_manifest(data).groups)
    for network, options in RUNS[args.set].items():
        if args.only not in (None, network):
            continue
        for seed in args.seeds:
            right = total = 0
            for person in people:
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "run"
                    scores, seconds = one(data, options + start, out, seed, person)
                    if args.keep is not None:
                        name = "-".join(filter(None, [args.set, network, person, str(seed)]))
                        args.keep.mkdir(parents=True, exist_ok=True)
                        shutil.copy(out / "weights.safetensors", args.keep / f"{name}.safetensors")
                right += round(scores["video_hit@1"] * scores["videos"])
                total += scores["videos"]
                row = {
                    "set": args.set,
                    "network": network,
                    "held_out": person or "even people",
                    "seed": seed,
                    "videos": scores["videos"],
                    "video_hit@1": round(scores["video_hit@1"], 4),
                    "video_hit@5": round(scores["video_hit@5"], 4),
                    "clip_hit@1": round(scores["clip_hit@1"], 4),
                    "views": scores["views"],
                    "train_seconds": round(seconds, 1),
                    "command": command(args.set, options + named, seed, person),
                }
                record("accuracy", row)
                print(f"{args.set} {network} seed {seed} {person or ''}: {row['video_hit@1']:.1%}")
            print(f"{args.set} {network} seed {seed}: {right}/{total} = {right / total:.2%}")


if __name__ == "__main__":
    main()
