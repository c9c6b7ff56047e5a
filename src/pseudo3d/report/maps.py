"""Pictures of what a network has learned: accuracy by frame order, maps, neighbors, drawn clips."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import fill

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from pseudo3d.report.files import font, save_bytes, save_figure
from pseudo3d.report.plots import PALETTE, class_color

_INK, _GRID, _GRAY = "#222222", "#DDDDDD", "#BBBBBB"
_MARKERS = "osD^vPX"
_NAMED = 40  # labels a legend has room for
_CLASSES = 40  # rows a table of classes has room for
_GOOD, _BAD, _QUERY = "#007A5A", "#C24A00", "#444444"

Share = tuple[float, float, float]  # value, low and high end of its interval


def timecheck_png(
    accuracy: Mapping[str, Share],
    path: str | Path,
    *,
    per_class: Mapping[str, Mapping[str, float]] | None = None,
    guessing: float | None = None,
    title: str = "",
) -> Path:
    """Draw accuracy in each order of the frames, with intervals, and below it by class.

    Args:
        accuracy: of each condition, shares in [0, 1].
        per_class: class -> condition -> share; left out where there are more than 40.
        guessing: share that needs no network, drawn as a dashed line.
    Raises:
        Pseudo3dError: the file cannot be written.
    """
    classes = dict(per_class or {}) if len(per_class or {}) <= _CLASSES else {}
    low = 0.34 * len(classes) + 0.5 if classes else 0.0
    figure = Figure(figsize=(8.0, 3.7 + low), layout="constrained")
    axes = figure.subplots(2 if classes else 1, 1, squeeze=False, sharex=True,
                           height_ratios=[3.2, low] if classes else [1])[:, 0]  # fmt: skip
    _bars(axes[0], accuracy, guessing)
    if classes:
        _class_table(axes[1], list(accuracy), classes)
    axes[-1].set_xticks(range(len(accuracy)), list(accuracy), fontsize=10, color=_INK)
    if title:
        figure.suptitle(fill(title, 80), fontsize=12, color=_INK)
    return save_figure(figure, path)


def _bars(axes: Axes, accuracy: Mapping[str, Share], guessing: float | None) -> None:
    values = 100 * np.array(list(accuracy.values()))
    x = np.arange(len(values))
    colors = [PALETTE[0]] + [PALETTE[4]] * (len(values) - 1)  # in order stands out
    axes.bar(x, values[:, 0], 0.62, color=colors)
    reach = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(x, values[:, 0], reach, fmt="none", ecolor=_INK, elinewidth=1.2, capsize=5)
    for at, (value, _, high) in enumerate(values):
        axes.text(at, high + 3, f"{value:.0f}", ha="center", fontsize=11, color=_INK)
    if guessing is not None:
        axes.axhline(100 * guessing, color=_INK, ls="--", lw=1)
        axes.text(
            1.01, 100 * guessing, "guessing", fontsize=9, va="center", color=_INK,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set(ylim=(0, 115), yticks=range(0, 101, 25), ylabel="accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.tick_params(axis="x", length=0, pad=6)


def _class_table(
    axes: Axes, conditions: list[str], classes: Mapping[str, Mapping[str, float]]
) -> None:
    """Shares by class as a table colored by value."""
    table = np.array([[row[name] for name in conditions] for row in classes.values()])
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(classes)), list(classes), fontsize=9, color=_INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(table):
        ink = "white" if share > 0.55 else _INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=9,
                  color=ink)  # fmt: skip


def map_png(
    points: Float[np.ndarray, "v 2"],
    labels: Sequence[str | None],
    path: str | Path,
    *,
    axes: tuple[str, str] = ("", ""),
    title: str = "",
    note: str = "",
) -> Path:
    """Draw videos as points colored by label; the 40 most frequent labels get a color.

    Args:
        axes: what the directions mean; empty where they mean nothing, which then has no ticks.
        note: how the map was made, in small print.
    Raises:
        Pseudo3dError: the file cannot be written.
    """
    named = sorted(name for name, _ in Counter(filter(None, labels)).most_common(_NAMED))
    columns = 1 if len(named) <= 20 else 2
    figure = Figure(figsize=(8.4 + 1.4 * (columns - 1), 6.2), layout="constrained")
    plot = figure.subplots()
    _points(plot, points, labels, named)
    if any(axes):
        plot.set_aspect("equal", adjustable="datalim")
    else:
        plot.set(xticks=[], yticks=[])
    plot.set_xlabel(axes[0] or note, color=_INK)
    plot.set_ylabel(axes[1], color=_INK)
    plot.spines[:].set_color(_GRID)
    figure.legend(loc="outside right upper", ncols=columns, frameon=False, fontsize=9)
    if title:
        plot.set_title(title, fontsize=12, color=_INK)
    return save_figure(figure, path)


def _points(
    plot: Axes,
    points: Float[np.ndarray, "v 2"],
    labels: Sequence[str | None],
    named: Sequence[str],
) -> None:
    """One color and marker for each label that is named, gray for the rest."""
    size = float(np.clip(9000 / max(len(points), 1), 6, 42))
    rest = [i for i, label in enumerate(labels) if label not in named]
    if rest:
        what = "other labels" if any(labels[i] is not None for i in rest) else "no label"
        plot.scatter(
            points[rest, 0], points[rest, 1], s=size, color=_GRAY, label=f"{what} ({len(rest)})"
        )
    for k, name in enumerate(named):
        chosen = [i for i, label in enumerate(labels) if label == name]
        plot.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=size,
            color=class_color(k),
            marker=_MARKERS[k // len(PALETTE) % len(_MARKERS)],
            edgecolor="white",
            linewidth=0.4,
            label=f"{name} ({len(chosen)})",
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One video on a sheet."""

    image: UInt8[np.ndarray, "h w 3"]
    text: str  # its label
    small: str = ""  # a second line
    right: bool | None = None  # the query's label, another one, or not to be told


def sheet_png(rows: Sequence[Sequence[Cell]], path: str | Path, *, title: str = "") -> Path:
    """Draw rows of videos: first the one asked about, then those nearest to it.

    A frame and a mark tell whether a neighbor has the label of the first.

    Raises:
        ValueError: no rows.
        Pseudo3dError: the file cannot be written.
    """
    if not rows or not all(rows):
        raise ValueError("no cells; wanted a row of a query and its neighbors")
    width = max(150, *(cell.image.shape[1] for row in rows for cell in row)) + 2 * _EDGE
    height = max(cell.image.shape[0] for row in rows for cell in row) + 2 * _EDGE + _WORDS
    top = 44 if title else 0
    most = max(map(len, rows))
    side, gap = most * (width + _GAP) + _GAP + _APART, _GAP
    sheet = Image.new("RGB", (side, top + gap + len(rows) * (height + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, top / 2 + 4), title, _INK, font(20), anchor="lm")
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            left = gap + j * (width + gap) + (_APART if j else 0)
            _draw_cell(sheet, draw, cell, (left, top + gap + i * (height + gap)), width)
    return _save_image(sheet, path)


_EDGE, _WORDS, _GAP, _APART = 4, 40, 10, 14  # pixels


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, at: tuple[int, int], width: int
) -> None:
    color = {None: _QUERY, True: _GOOD, False: _BAD}[cell.right]
    mark = {None: "", True: "✓ ", False: "✗ "}[cell.right]
    (x, y), (h, w) = at, cell.image.shape[:2]
    draw.rectangle((x, y, x + w + 2 * _EDGE - 1, y + h + 2 * _EDGE - 1), fill=color)
    sheet.paste(Image.fromarray(cell.image), (x + _EDGE, y + _EDGE))
    y += h + 2 * _EDGE + 3
    for text, size, ink in ((mark + cell.text, 15, color), (cell.small, 12, "#666666")):
        while len(text) > 2 and draw.textlength(text, font(size)) > width:
            text = text[:-2] + "…"
        draw.text((x, y), text, ink, font(size))
        y += size + 4


def frames_png(
    clips: Mapping[str, UInt8[np.ndarray, "t h w 3"]], path: str | Path, *, columns: int = 8
) -> Path:
    """Draw `columns` frames of each clip in a row, named by the clip's name.

    Raises:
        Pseudo3dError: the file cannot be written.
    """
    rows = []
    for name, clip in clips.items():
        taken = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
        scale = max(1, round(144 / min(clip.shape[1:3])))
        images = [enlarged(clip[i], scale * min(clip.shape[1:3])) for i in taken]
        gap = np.full((images[0].shape[0], 3, 3), 255, dtype=np.uint8)
        parts = [part for image in images for part in (image, gap)][:-1]
        rows.append([Cell(image=np.concatenate(parts, axis=1), text=name)])
    return sheet_png(rows, path)


def enlarged(image: UInt8[np.ndarray, "h w 3"], least: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image with a shorter side of `least` pixels or more; larger ones stay as they are."""
    height, width = image.shape[:2]
    factor = least / min(height, width)
    if factor <= 1:
        return image
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _save_image(image: Image.Image, path: str | Path) -> Path:
    buffer = BytesIO()
    image.save(buffer, format="png")
    return save_bytes(path, buffer.getvalue())
