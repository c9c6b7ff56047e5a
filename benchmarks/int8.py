"""What int8 costs in accuracy on real videos, through the command line as a user would do it.

    python benchmarks/int8.py WEIGHTS DATA [--calibration 300] [--views 5]

Exports WEIGHTS to OpenVINO in fp32 and in int8 (calibrated on the train part of DATA), scores the
checkpoint and the int8 file on its test part, and records a row in results/int8.csv.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from record import record


def export(weights: Path, out: Path, *words: object) -> tuple[dict[str, Any], float]:
    """Run `p3d export`; its report and the seconds it took."""
    line = ["p3d", "export", weights, "--to", "openvino", "--out", out, "--json", *words]
    began = time.perf_counter()
    done = subprocess.run(list(map(str, line)), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--views", type=int, default=5)
    args = parser.parse_args()
    how = ("--data", args.data, "--calibration", args.calibration, "--views", args.views)
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = export(args.weights, Path(folder) / "plain.xml")
        int8, seconds = export(args.weights, Path(folder) / "int8.xml", "--precision", "int8", *how)
    row = {
        "set": args.data.name,
        "clip": "x".join(map(str, int8["clip"])),
        "videos": int8["videos"],
        "views": args.views,
        "fp32_video_hit@1": round(int8["before"]["video_hit@1"], 4),
        "int8_video_hit@1": round(int8["after"]["video_hit@1"], 4),
        "fp32_clip_hit@1": round(int8["before"]["clip_hit@1"], 4),
        "int8_clip_hit@1": round(int8["after"]["clip_hit@1"], 4),
        "fp32_parity": f"{plain['parity']:.1e}",
        "int8_parity": f"{int8['parity']:.1e}",
        "fp32_bytes": plain["bytes"],
        "int8_bytes": int8["bytes"],
        "calibration_clips": int8["calibration"]["clips"],
        "seconds": round(seconds, 1),
    }
    record("int8", row)
    before, after = row["fp32_video_hit@1"], row["int8_video_hit@1"]
    print(f"{args.data.name}: video_hit@1 {before:.1%} fp32, {after:.1%} int8")


if __name__ == "__main__":
    main()
