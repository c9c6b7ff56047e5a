"""A plan as a picture: hours and money against the number of nodes, and what limits each."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from pseudo3d.bench.scale.plan import Plan, curve
from pseudo3d.report.files import save_figure
from pseudo3d.report.plots import class_color

_INK, _PALE, _GRID = "#222222", "#9A9A9A", "#DDDDDD"


def plan_png(found: Plan, path: str | Path, *, title: str = "") -> Path:
    """Draw what the job takes on 1, 2, 4 ... nodes.

    The line is the bound of the narrowest resource, the points are simulated.

    Raises:
        Pseudo3dError: the file cannot be written.
    """
    points = curve(found.job, found.cluster)
    nodes = [count for count, _, _ in points]
    limits = [best.limit for _, best, _ in points]
    priced = any(run.money for _, _, run in points)
    figure = Figure(figsize=(9.6 if priced else 6.4, 3.9), layout="constrained")
    panels = figure.subplots(1, 1 + priced, squeeze=False)[0]
    best = [best.seconds / 3600 for _, best, _ in points]
    _panel(panels[0], "hours", nodes, [run.seconds / 3600 for _, _, run in points], limits)
    panels[0].plot(nodes, best, color=_PALE, lw=1.2, label="if nothing waited", zorder=1)
    if priced:
        _panel(panels[1], "price", nodes, [run.money for _, _, run in points], limits)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    for axes in panels:
        axes.axvline(found.cluster.nodes, color=_PALE, ls=":", lw=1, zorder=0)
    if title:
        figure.suptitle(title, fontsize=11, color=_INK)
    return save_figure(figure, path)


def _panel(axes: Axes, what: str, nodes: list[int], values: list[float], limits: list[str]) -> None:
    """Simulated points, in the color of what limits them."""
    axes.plot(nodes, values, color=_GRID, lw=4, zorder=0)
    for i, limit in enumerate(dict.fromkeys(limits)):
        mine = [k for k, name in enumerate(limits) if name == limit]
        axes.plot(
            [nodes[k] for k in mine],
            [values[k] for k in mine],
            "o",
            ms=6,
            color=class_color(i),
            label=f"limited by {limit}",
            zorder=2,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = min(values) / 1.2, max(values) * 1.2
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=range(1, 10) if high < 10 * low else (1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("nodes", color=_INK)
    axes.set_ylabel(what, color=_INK)
    axes.grid(color=_GRID, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
