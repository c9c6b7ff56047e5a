"""Training in bfloat16 against float32 on real videos: loss curves and scores of the same run.

    python benchmarks/precision.py DATA [--seed 0] [--epochs 40]

DATA is the folder that holds msr_action3d. The recipe is that of accuracy.py, with as many epochs
as are asked for; only the precision differs. Two rows go to results/precision.csv, the loss of
every epoch to the picture.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from accuracy import MSR, command, one
from record import record


def losses(run: Path) -> list[float]:
    """Training loss of each epoch."""
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")]


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """Both curves in one picture."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for (name, values), style in zip(curves.items(), ("-", "--"), strict=True):
        axes.plot(range(1, len(values) + 1), values, style, label=name, linewidth=1.6)
    axes.set(xlabel="epoch", ylabel="training loss", title="MSR Action3D, p3d_tiny, same seed")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--picture", type=Path, default=Path("docs/images/precision.png"))
    args = parser.parse_args()
    curves = {}
    for precision in ("fp32", "bf16"):
        options = f"{MSR} --epochs {args.epochs} --precision {precision}"
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            scores, seconds = one(args.data / "msr_action3d", options, run, args.seed, None)
            curves[precision] = losses(run)
        row = {
            "set": "msr_action3d",
            "precision": precision,
            "seed": args.seed,
            "video_hit@1": round(scores["video_hit@1"], 4),
            "last_loss": round(curves[precision][-1], 4),
            "train_seconds": round(seconds, 1),
            "command": command("msr_action3d", options, args.seed, None),
        }
        record("precision", row)
        print(f"{precision}: {row['video_hit@1']:.1%}, {seconds:.0f} s")
    draw(curves, args.picture)


if __name__ == "__main__":
    main()
