"""Pictures of results as PNG: a video labeled over time, confusions, scores side by side."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pseudo3d.report.files import save_figure

Segment = tuple[float, float, str]  # start and end in seconds, label

# Okabe and Ito (2008), filled up with Paul Tol's "muted": told apart with any color vision.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#332288",
    "#999933",
    "#882255",
    "#44AA99",
    "#F0E442",
    "#AA4499",
)
_INK, _PALE = "#222222", "#DDDDDD"

SURE = 0.4  # probability from which a label is written over time


def class_color(index: int) -> str:
    """Color of a class as "#RRGGBB"; the palette starts again after its end."""
    return PALETTE[index % len(PALETTE)]


def ink_on(color: str) -> str:
    """Black or white, whichever reads better on "#RRGGBB"."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#FFFFFF"


def check_windows(times: Any, probs: Any, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return times (W,) and probabilities (W, K) as arrays, in order of time.

    Raises:
        ValueError: their sizes do not fit each other or the classes, or there is no window.
    """
    when, share = np.asarray(times, dtype=np.float64), np.asarray(probs, dtype=np.float64)
    if when.ndim != 1 or len(when) == 0 or share.shape != (len(when), len(classes)):
        raise ValueError(
            f"times have shape {when.shape} and probs {share.shape}: wanted (W,) and "
            f"(W, {len(classes)}) for {len(classes)} classes, with one window or more"
        )
    order = np.argsort(when, kind="stable")
    return when[order], share[order]


def window_edges(times: Float[np.ndarray, " w"]) -> Float[np.ndarray, " w+1"]:
    """Where one window's say ends and the next one's begins: halfway between their centers."""
    if len(times) == 1:
        return np.array([times[0] - 0.5, times[0] + 0.5])
    middle = (times[1:] + times[:-1]) / 2
    first, last = 2 * times[0] - middle[0], 2 * times[-1] - middle[-1]
    return np.array([max(0.0, first), *middle, last])


def winning_segments(
    times: Any, probs: Any, classes: Sequence[str], least: float = 0.0
) -> list[Segment]:
    """Merge neighboring windows with the same most probable class into (start, end, label).

    Args:
        least: windows whose best class is less probable are left out.
    """
    when, share = check_windows(times, probs, classes)
    edges = window_edges(when)
    best = np.where(share.max(axis=1) >= least, share.argmax(axis=1), -1)
    starts = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist()]
    ends = [*starts[1:], len(best)]
    return [
        (float(edges[a]), float(edges[b]), classes[int(best[a])])
        for a, b in zip(starts, ends, strict=True)
        if best[a] >= 0
    ]


def _plain(axes: Axes) -> None:
    """Thin dark axes on white, nothing at the top and the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)


def _write_band(axes: Axes, segment: Segment, color: str, inch: float) -> None:
    """One colored stretch with its label, as large as fits; `inch` is one second on paper."""
    start, end, label = segment
    axes.axvspan(start, end, facecolor=color, edgecolor="white", linewidth=0.8)
    width = (end - start) * inch * 72 / (0.62 * max(1, len(label)))  # points that fit lying
    upright = width < 6
    size = min(9.0, 0.42 * 72 / (0.62 * max(1, len(label))) if upright else width)
    if upright and (end - start) * inch < 0.13:
        return
    axes.text(
        (start + end) / 2,
        0.5,
        label,
        ha="center",
        va="center",
        fontsize=max(5.0, size),
        rotation=90 if upright else 0,
        color=ink_on(color),
        clip_on=True,
    )


def _band(axes: Axes, name: str, segments: Iterable[Segment], colors: Mapping[str, str]) -> None:
    low, high = axes.get_xlim()
    for segment in segments:
        _write_band(axes, segment, colors.get(segment[2], "#999999"), 9.2 / (high - low))
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [name], fontsize=9, color=_INK)
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)


def timeline_png(
    times: Float[np.ndarray, " w"],
    probs: Float[np.ndarray, "w k"],
    classes: Sequence[str],
    path: str | Path,
    truth: Sequence[Segment] | None = None,
    title: str = "",
) -> Path:
    """Draw what a network sees over time: the winning labels as bands, the probabilities below.

    A label is written where its probability is at least `SURE`.

    Args:
        times: center of each window, s.
        probs: probability of each class in each window.
        truth: (start, end, label) that a person gave, drawn above; None leaves the band out.
    Raises:
        ValueError: the sizes of times, probs and classes do not fit.
        Pseudo3dError: the file cannot be written.
    """
    when, share = check_windows(times, probs, classes)
    found = winning_segments(when, share, classes, SURE)
    edges = window_edges(when)
    colors = {name: class_color(i) for i, name in enumerate(classes)}
    bands = [("recognized", found)] if truth is None else [("truth", truth), ("recognized", found)]
    figure = Figure(figsize=(10.5, 2.8 + 0.5 * len(bands)), layout="constrained")
    axes = figure.subplots(
        len(bands) + 1, 1, sharex=True, squeeze=False, height_ratios=[1] * len(bands) + [4]
    )[:, 0]
    ends = [edges[-1], *(end for _, end, _ in truth or ())]
    axes[-1].set_xlim(min(0.0, edges[0]), max(ends))
    for axis, (name, segments) in zip(axes, bands, strict=False):
        _band(axis, name, segments, colors)
    winners = {classes[k] for k in share.argmax(axis=1)}
    for k, name in sorted(enumerate(classes), key=lambda entry: entry[1] in winners):
        style = {"color": colors[name], "lw": 1.8} if name in winners else {"color": _PALE, "lw": 1}
        axes[-1].plot(when, share[:, k], marker="o" if len(when) == 1 else None, **style)
    axes[-1].set(ylim=(0, 1.02), xlabel="time (s)", ylabel="probability")
    _plain(axes[-1])
    if title:
        figure.suptitle(title, fontsize=12, color=_INK)
    return save_figure(figure, path)


def confusion_png(
    matrix: Integer[np.ndarray, "k k"],
    classes: Sequence[str],
    path: str | Path,
    title: str = "",
) -> Path:
    """Draw a confusion matrix of counts: rows are the truth, columns what was recognized.

    Color is the share of the row; counts are written in as long as they can be read.

    Raises:
        ValueError: the matrix is not (K, K) for K classes, or has a negative count.
        Pseudo3dError: the file cannot be written.
    """
    counts, k = np.asarray(matrix), len(classes)
    if counts.shape != (k, k) or k == 0 or counts.min() < 0:
        raise ValueError(f"matrix has shape {counts.shape}: wanted counts ({k}, {k}) >= 0")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(14.0, max(4.5, 0.42 * k + 1.8))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size = max(3.0, min(9.0, 0.62 * 72 * (side - 1.8) / k))
    axes.set_xticks(range(k), classes, rotation=90 if k > 4 else 0, fontsize=size)
    axes.set_yticks(range(k), classes, fontsize=size)
    axes.set_xlabel("recognized", color=_INK)
    axes.set_ylabel("truth", color=_INK)
    axes.tick_params(length=0)
    if k <= 40:
        for row, column in np.argwhere(counts > 0).tolist():
            ink = "white" if share[row, column] > 0.5 else _INK
            text = f"{counts[row, column]:g}"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    if title:
        figure.suptitle(title, fontsize=12, color=_INK)
    return save_figure(figure, path)


def bars_png(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    path: str | Path,
    chance: float | None = None,
    title: str = "",
) -> Path:
    """Draw shares (0 to 1) side by side: one cluster for each group, one bar for each series.

    Args:
        series: for example {"P3D": [...], "2-D twin": [...]}, one value for each group.
        chance: share that guessing reaches, drawn as a dashed line; None leaves it out.
    Raises:
        ValueError: no group or series, or a series of another length than the groups.
        Pseudo3dError: the file cannot be written.
    """
    lengths = {name: len(values) for name, values in series.items()}
    if not groups or not lengths or set(lengths.values()) != {len(groups)}:
        raise ValueError(f"series have lengths {lengths}: wanted {len(groups)} >= 1 values each")
    figure = Figure(figsize=(max(5.0, 1.5 * len(groups) + 1.5), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        x = np.arange(len(groups)) - 0.4 + (i + 0.5) * width
        heights = 100 * np.asarray(values, dtype=np.float64)
        bars = axes.bar(x, heights, width * 0.94, label=name, color=class_color(i))
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=3, color=_INK, bbox=paper)
    if chance is not None:
        axes.axhline(100 * chance, color=_INK, ls="--", lw=1, label=f"chance, {100 * chance:.0f} %")
    axes.set_xticks(range(len(groups)), groups, fontsize=9)
    axes.set(ylim=(0, 112), yticks=range(0, 101, 25), ylabel="accuracy (%)")
    _plain(axes)
    figure.legend(loc="outside lower center", ncols=len(series) + 1, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12, color=_INK)
    return save_figure(figure, path)
