"""The paper's study at our scale, and all families at equal training time.

    python benchmarks/study.py msr_action3d|direction|families DATA --out FOLDER [--seeds 3]

DATA is the folder that holds the sets. `msr_action3d` and `direction` compare blocks A, B, C, their
mix, full 3-D and 2-D under one number of steps (`p3d study`); `families` compares networks of every
family on msr_action3d, each trained for the same time. FOLDER keeps the trainings and goes on with
them; every network becomes a row of results/study.csv.
"""

import argparse
import json
from pathlib import Path

from accuracy import p3d
from record import record

_MSR = (
    "--frames 16 --size 56 --set input.resize=68 --set input.color=gray "
    "--set input.difference=true --set augment.rotate=12 --set augment.stretch=0.2 "
    "--set augment.shear=0.15"
)
FAMILIES = (
    "p3d_light_s", "p3d_light", "p3d_tiny", "resnet_tiny", "tsm_tiny", "mc3_tiny", "i3d_tiny",
    "r3d_tiny", "r2plus1d_tiny", "c3d_tiny",
)  # fmt: skip
RUNS = {
    "msr_action3d": ("msr_action3d", f"--model p3d_tiny --epochs 30 {_MSR}"),
    "direction": (
        "direction",
        "--model p3d_nano --epochs 5 --frames 16 --size 48 --set input.color=gray "
        "--hold-out daria --hold-out denis --hold-out eli",
    ),
    "families": (
        "msr_action3d",
        " ".join(f"--models {name}" for name in FAMILIES) + f" --seconds 100 {_MSR}",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("study", choices=RUNS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    name, options = RUNS[args.study]
    words = f"--seeds {args.seeds} --threads {args.threads} {options}"
    drawn = ["--picture", args.picture] if args.picture else []
    told = p3d("study", args.data / name, "--out", args.out, *words.split(), *drawn, "--json")
    found = json.loads(told)
    for row in found["rows"]:
        error = row["standard_error"]
        line = {
            "study": args.study,
            "set": name,
            "network": row["title"],
            "parameters": row["parameters"],
            "macs": row["macs"],
            "milliseconds": round(row["milliseconds"], 3),
            "scores": " ".join(f"{score:.4f}" for score in row["scores"]),
            "mean": round(row["mean"], 4),
            "standard_error": error and round(error, 4),  # None: one seed
            "videos": found["plan"]["videos"]["test"],
            "train_seconds": round(row["train_seconds"], 1),
            "command": f"p3d study {name} --out FOLDER {words}",
        }
        print("\t".join(map(str, list(line.values())[2:9])))
        if not args.dry:
            record("study", line)
    for text in found["findings"]:
        print(text)


if __name__ == "__main__":
    main()
