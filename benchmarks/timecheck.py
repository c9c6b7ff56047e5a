"""Does a network use time? Every fold of `direction`, the frames in order, shuffled, reversed.

    python benchmarks/timecheck.py DATA [--seed 0] [--keep KEPT]

DATA is the folder that holds the sets. One person after the other is left out, a P3D and its 2-D
twin are trained on the rest as in accuracy.py (KEPT keeps the weights, and finds them), and
`p3d timecheck` is run on the one left out. Every fold becomes a row of results/timecheck.csv, and
so do all videos together.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from accuracy import RUNS, p3d
from pseudo3d.data.manifest import read_manifest
from record import record

SET = "direction"
SHOWN = ("in order", "shuffled", "reversed", "frozen", "0.5x speed", "2x speed")


def weights_of(data: Path, options: str, seed: int, person: str, kept: Path) -> Path:
    """Weights trained without a person, made where they are not there."""
    made = kept / f"{person}-{seed}.safetensors"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            words = ("--seed", seed, "--hold-out", person, "--no-report", *options.split())
            p3d("train", data, "--out", out, *words)
            shutil.copy(out / "weights.safetensors", made)
    return made


def row(network: str, person: str, seed: int, videos: int, shares: dict[str, float]) -> dict:
    """One line of results."""
    words = "p3d timecheck WEIGHTS direction --group PERSON"
    figures = {name: round(share, 4) for name, share in shares.items()}
    return {"network": network, "held_out": person, "seed": seed, "videos": videos, **figures,
            "command": words}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the weights")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    data = args.data / SET
    with tempfile.TemporaryDirectory() as folder:
        kept = args.keep or Path(folder)
        for network, options in RUNS[SET].items():
            sums, total = dict.fromkeys(SHOWN, 0.0), 0
            for person in read_manifest(data).groups:
                weights = weights_of(data, options, args.seed, person, kept / network)
                found: dict[str, Any] = json.loads(
                    p3d("timecheck", weights, data, "--group", person, "--json")
                )
                ways, videos = found["conditions"], found["videos"]
                shares = {name: ways[name]["video_hit@1"]["value"] for name in SHOWN}
                print(f"{network} {person}: {found['sentence']}", flush=True)
                for name, share in shares.items():
                    sums[name] += share * videos
                total += videos
                if not args.dry:
                    record("timecheck", row(network, person, args.seed, videos, shares))
            shares = {name: value / total for name, value in sums.items()}
            said = ", ".join(f"{share:.1%} {name}" for name, share in shares.items())
            print(f"{network}, all {total} videos: {said}", flush=True)
            if not args.dry:
                record("timecheck", row(network, "everybody in turn", args.seed, total, shares))


if __name__ == "__main__":
    main()
