"""Accuracy against time: which networks are worth their milliseconds."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from pseudo3d.report.files import save_figure
from pseudo3d.report.plots import class_color

_INK, _GRID = "#222222", "#DDDDDD"
Point = tuple[float, float, float]  # milliseconds, accuracy in [0, 1], its standard error


def front(points: Mapping[str, Point]) -> list[str]:
    """Those that no other beats in both: fastest first, each more accurate than all before."""
    best, found = -1.0, []
    for name, (_, accuracy, _) in sorted(points.items(), key=lambda p: (p[1][0], -p[1][1])):
        if accuracy > best:
            best = accuracy
            found.append(name)
    return found


def tradeoff_png(points: Mapping[str, Point], path: str | Path, *, title: str = "") -> Path:
    """Draw each network where its time and its accuracy are, and join the best ones.

    Raises:
        ValueError: no point.
        Pseudo3dError: the file cannot be written.
    """
    if not points:
        raise ValueError("no networks; wanted one or more to draw")
    figure = Figure(figsize=(8.6, 4.8), layout="constrained")
    axes = figure.subplots()
    line = [points[name] for name in front(points)]
    axes.plot([p[0] for p in line], [100 * p[1] for p in line], color=_GRID, lw=6, zorder=0)
    for i, (name, (x, y, error)) in enumerate(points.items()):
        axes.errorbar(
            x, 100 * y, 100 * error, fmt="o", ms=8, capsize=4, color=class_color(i), label=name
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("milliseconds of a clip", color=_INK)
    axes.set_ylabel("accuracy (%)", color=_INK)
    axes.grid(color=_GRID, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    if title:
        axes.set_title(title, fontsize=12, color=_INK)
    return save_figure(figure, path)
