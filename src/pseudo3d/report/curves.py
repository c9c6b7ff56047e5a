"""How a training went: loss and accuracy over its steps, from the run's metrics.csv."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pseudo3d.report.files import save_figure
from pseudo3d.report.plots import class_color

_INK, _GRID = "#222222", "#DDDDDD"
Curve = Sequence[tuple[int, float]]  # (step, value)


def read_metrics(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Every column of a metrics.csv as a curve; rows that lack a value leave it out."""
    found: dict[str, list[tuple[int, float]]] = {}
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value and name != "epoch":
                    found.setdefault(name, []).append((step, float(value)))
    return found


def curves_png(curves: Mapping[str, Curve], path: str | Path, *, title: str = "") -> Path:
    """Draw the loss at the left; scores at the right, train_clip_hit@1 in percent, val_auc as is.

    Raises:
        ValueError: no curve.
        Pseudo3dError: the file cannot be written.
    """
    if not curves:
        raise ValueError("no curves; wanted one or more to draw")
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (name, curve) in enumerate(curves.items()):
        steps, values = zip(*curve, strict=True)
        axes, factor = (left, 1) if "loss" in name else (right, 100 if "hit" in name else 1)
        values = tuple(factor * value for value in values)
        mark = "o" if len(steps) < 3 else None
        axes.plot(steps, values, color=class_color(i), marker=mark, lw=1.8, label=name)
    left.set(xlabel="step", ylabel="loss")
    shares = any("hit" in name for name in curves)
    top, label = (103, "accuracy (%)") if shares else (1.03, "score")
    right.set(xlabel="step", ylabel=label, ylim=(0, top))  # how far R2 lies below 0 says little
    for axes in (left, right):
        axes.grid(color=_GRID, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK, labelsize=9)
        if axes.lines:
            axes.legend(frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12, color=_INK)
    return save_figure(figure, path)
