"""A picture of what was found from when to when, under the truth and over the probabilities."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pseudo3d.report.files import save_figure
from pseudo3d.report.plots import check_windows, class_color, ink_on
from pseudo3d.scores.detection import Span

_INK, _PALE, _OTHER = "#222222", "#DDDDDD", "#999999"
_WIDTH = 10.5  # inches
_POINTS = 72  # per inch
_LETTER = 0.62  # width of a letter in parts of the font's size


@dataclass(frozen=True, kw_only=True)
class SegmentPicture:
    """What is drawn."""

    times: Float[np.ndarray, " w"]  # s
    probs: Float[np.ndarray, "w k"]  # smoothed
    classes: Sequence[str]
    found: Sequence[Span]
    truth: Sequence[Span] | None = None  # None leaves the band out
    threshold: float | None = None  # drawn as a dashed line
    background: Sequence[str] = ()  # classes drawn pale
    title: str = ""


def segments_png(picture: SegmentPicture, path: str | Path) -> Path:
    """Draw bands of segments, each band with its counts, and the curves they were made of.

    Raises:
        ValueError: the sizes of times, probs and classes do not fit.
        Pseudo3dError: the file cannot be written.
    """
    times, probs = check_windows(picture.times, picture.probs, picture.classes)
    colors = {name: class_color(i) for i, name in enumerate(picture.classes)}
    bands = [("segments", picture.found)]
    if picture.truth is not None:
        bands.insert(0, ("truth", picture.truth))
    figure = Figure(figsize=(_WIDTH, 2.8 + 0.75 * len(bands)), layout="constrained")
    ratios = [1.5] * len(bands) + [4]
    axes = figure.subplots(len(bands) + 1, 1, sharex=True, height_ratios=ratios)
    ends = [times[-1], *(s.end for _, spans in bands for s in spans)]
    axes[-1].set_xlim(min(0.0, times[0]), max(ends))
    for axis, (name, spans) in zip(axes, bands, strict=False):
        _band(axis, name, spans, colors)
    _curves(axes[-1], picture, (times, probs), colors)
    if picture.title:
        figure.suptitle(picture.title, fontsize=12, color=_INK)
    return save_figure(figure, path)


def _band(axes: Axes, name: str, spans: Sequence[Span], colors: dict[str, str]) -> None:
    """One row of bars; above it how many of each label there are."""
    low, high = axes.get_xlim()
    inch = 0.88 * _WIDTH / (high - low)  # that one second takes
    for span in spans:
        color = colors.get(span.label, _OTHER)
        width = span.end - span.start
        axes.barh(0.5, width, left=span.start, height=1, color=color, edgecolor="white", lw=0.8)
        points = width * inch * _POINTS / (_LETTER * max(1, len(span.label)))
        if points >= 5:
            axes.text(
                span.start + width / 2,
                0.5,
                span.label,
                ha="center",
                va="center",
                fontsize=min(9.0, points),
                color=ink_on(color),
                clip_on=True,
            )
    counts = Counter(span.label for span in spans)
    text = "   ".join(f"{label} {count}" for label, count in sorted(counts.items())) or "none"
    axes.set_title(_shortened(text), loc="left", fontsize=8, color=_INK, pad=2)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [name], fontsize=9, color=_INK)
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)


def _shortened(text: str, most: int = 150) -> str:
    return text if len(text) <= most else text[:most].rsplit("   ", 1)[0] + "   …"


def _curves(
    axes: Axes, picture: SegmentPicture, curves: tuple[Any, Any], colors: dict[str, str]
) -> None:
    times, probs = curves
    named = {s.label for s in picture.found}
    for k, name in sorted(enumerate(picture.classes), key=lambda entry: entry[1] in named):
        shown = name in named and name not in picture.background
        color, width = (colors[name], 1.8) if shown else (_PALE, 1.0)
        marker = "o" if len(times) == 1 else None
        axes.plot(times, probs[:, k], marker=marker, color=color, lw=width)
    if picture.threshold is not None:
        axes.axhline(picture.threshold, color=_INK, ls="--", lw=0.8)
    axes.set(ylim=(0, 1.02), xlabel="time (s)", ylabel="probability")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
