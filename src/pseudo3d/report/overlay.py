"""Heat over the frames of a video: as a film, a GIF, a row of frames, and a curve over time.

Colors are matplotlib's inferno over the frame in gray, so that a colored thing in the video is not
taken for heat; one scale holds for all frames, so a frame without heat stays gray.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from pseudo3d.data.writer import VideoWriter
from pseudo3d.report.files import font, save_bytes, save_figure
from pseudo3d.report.plots import class_color

_INK, _GRID, _HOT = "#222222", "#DDDDDD", "#D1426F"
_MAP = "inferno"
_SHARE = 0.85  # of the color where the heat is 1
_GIF = 240  # pixels, the longer side of a GIF's frames at most


@dataclass(frozen=True, kw_only=True)
class Curves:
    """How the answer went while the hottest parts of a clip went, and while they came."""

    shares: tuple[float, ...]
    deleted: tuple[float, ...]
    inserted: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is written beside the heat."""

    times: Float[np.ndarray, " t"]  # s
    importance: Float[np.ndarray, " t"]  # shares, 1 in all
    title: str  # the class and how sure the network is
    verdict: str  # whether the map can be believed
    tested: Curves | None = None
    unit: str = "s"  # of the times


class Part(NamedTuple):
    """Some frames of a film, in order."""

    frames: UInt8[np.ndarray, "t h w 3"]
    heat: Float[np.ndarray, "t h w"]
    times: Float[np.ndarray, " t"]  # s


def blend(
    frames: UInt8[np.ndarray, "t h w 3"], heat: Float[np.ndarray, "t h w"]
) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames in gray with heat, 0 to 1, in color over them.

    Raises:
        ValueError: their sizes differ.
    """
    if frames.shape[:3] != heat.shape:
        raise ValueError(f"frames {frames.shape[:3]} and heat {heat.shape}; wanted the same size")
    out = np.empty_like(frames)
    colors = (matplotlib.colormaps[_MAP](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.float32)
    for image, warm, made in zip(frames, heat, out, strict=True):  # a frame at a time in floats
        gray = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        share = (_SHARE * np.clip(warm, 0, 1))[..., None].astype(np.float32)
        color = colors[(np.clip(warm, 0, 1) * 255).astype(np.uint8)]
        made[:] = np.rint(gray[..., None] * (1 - share) + color * share)
    return out


def strip_png(
    frames: UInt8[np.ndarray, "t h w 3"],
    heat: Float[np.ndarray, "t h w"],
    story: Story,
    path: str | Path,
    *,
    columns: int = 8,
) -> Path:
    """Draw frames as they are and with their heat, and the importance of all of them below.

    Raises:
        ValueError: sizes that differ.
        Pseudo3dError: the file cannot be written.
    """
    taken = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
    over = blend(frames[taken], heat[taken])
    height, width = frames.shape[1:3]
    tall = 10.5 / len(taken) * height / width
    figure = Figure(figsize=(10.5, 2 * tall + 2.4), layout="constrained")
    grid = figure.add_gridspec(3, len(taken), height_ratios=[tall, tall, 1.5])
    for column, number in enumerate(taken):
        for row, image in enumerate((frames[number], over[column])):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                digits = 2 if story.unit == "s" else 0
                when = f"{story.times[number]:.{digits}f}"
                axes.set_title(f"{when} {story.unit}", fontsize=8, color=_INK)
    curve = figure.add_subplot(grid[2, :])
    _curve(curve, story, taken)
    figure.colorbar(ScalarMappable(cmap=_MAP), ax=curve, label="heat", pad=0.01)
    figure.suptitle(story.title, fontsize=12, color=_INK)
    figure.supxlabel(story.verdict, fontsize=8, color=_INK)
    return save_figure(figure, path)


def importance_png(story: Story, path: str | Path) -> Path:
    """Draw which moments matter; where the map was tested, how the answer went beside it.

    Raises:
        Pseudo3dError: the file cannot be written.
    """
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    if story.tested is None:
        _curve(figure.subplots(), story)
    else:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        _curve(left, story)
        for name, values in (("taken away", "deleted"), ("put back", "inserted")):
            color = class_color(("deleted", "inserted").index(values))
            answers = getattr(story.tested, values)
            right.plot(story.tested.shares, answers, color=color, marker=".", label=name)
        right.set(xlabel="share of the clip, hottest first", ylabel="answer")
        right.set_ylim(bottom=min(0, right.get_ylim()[0]))
        right.legend(frameon=False, fontsize=9)
        _plain(right)
    figure.suptitle(story.title, fontsize=12, color=_INK)
    figure.supxlabel(story.verdict, fontsize=8, color=_INK)
    return save_figure(figure, path)


def _curve(axes: Axes, story: Story, marked: Iterable[int] = ()) -> None:
    """Importance in percent over time, and what every frame would have if all were alike."""
    percent = 100 * story.importance
    axes.fill_between(story.times, percent, color=_HOT, alpha=0.25, lw=0)
    axes.plot(story.times, percent, color=_HOT, lw=1.6, marker=".")
    for number in marked:
        axes.axvline(story.times[number], color=_GRID, lw=0.8, zorder=0)
    axes.axhline(100 / len(percent), color=_INK, ls="--", lw=0.8, label="all alike")
    axes.set(ylim=(0, None), xlabel=f"time ({story.unit})", ylabel="importance (%)")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=8)


def overlay_gif(
    frames: UInt8[np.ndarray, "t h w 3"],
    heat: Float[np.ndarray, "t h w"],
    path: str | Path,
    fps: float = 8.0,
) -> Path:
    """Write frames with their heat as a GIF that repeats.

    Raises:
        ValueError: sizes that differ.
        Pseudo3dError: the file cannot be written.
    """
    images = [Image.fromarray(image) for image in blend(frames, heat)]
    for image in images:
        image.thumbnail((_GIF, _GIF))
    buffer = BytesIO()
    pace = max(20, round(1000 / fps))  # ms; browsers slow down what is faster
    images[0].save(
        buffer, format="gif", save_all=True, append_images=images[1:], duration=pace, loop=0
    )
    return save_bytes(path, buffer.getvalue())


def overlay_mp4(parts: Iterable[Part], story: Story, path: str | Path, fps: float) -> Path:
    """Write a film of frames with their heat, and below them where in the curve they are.

    Parts are drawn and written one after another, so that a film of any length fits into memory.

    Raises:
        VideoError: no frame came, or the file cannot be written.
    """
    under: _Under | None = None
    with VideoWriter(path, fps) as writer:
        for part in parts:
            images = blend(part.frames, part.heat)
            under = under or _Under(story, images.shape[2], images.shape[1])
            drawn = np.stack(
                [
                    np.concatenate([image, under.at(float(time))])
                    for image, time in zip(images, part.times, strict=True)
                ]
            )
            writer.write(torch.from_numpy(drawn).permute(3, 0, 1, 2))
    return Path(path)


class _Under:
    """The strip below a film: the title, the curve, and a line at the moment that is shown."""

    def __init__(self, story: Story, width: int, height: int) -> None:
        tall = max(44, height // 4)
        tall += (height + tall) % 2  # the codec wants an even height
        self.image = Image.new("RGB", (width, tall), "white")
        draw, size = ImageDraw.Draw(self.image), max(10, tall // 4)
        title = story.title
        while len(title) > 2 and draw.textlength(title, font(size)) > width - 8:
            title, size = (title, size - 1) if size > 9 else (title[:-2] + "…", size)
        draw.text((4, 2), title, _INK, font(size))
        self.top, self.bottom, self.times = size + 8, tall - 4, story.times
        most = max(float(story.importance.max()), 1e-9)
        points = [
            (self._x(time), self.bottom - (self.bottom - self.top) * value / most)
            for time, value in zip(story.times, story.importance, strict=True)
        ]
        ends = [(points[-1][0], self.bottom), (points[0][0], self.bottom)]
        draw.polygon([*points, *ends], fill="#F3CBD8")
        if len(points) > 1:
            draw.line(points, fill=_HOT, width=2)

    def _x(self, time: float) -> float:
        first, last = float(self.times[0]), float(self.times[-1])
        share = min(1.0, max(0.0, (time - first) / max(last - first, 1e-9)))
        return 4 + share * (self.image.width - 8)

    def at(self, time: float) -> UInt8[np.ndarray, "h w 3"]:
        """The strip with the line at a moment."""
        image = self.image.copy()
        x = self._x(time)
        ImageDraw.Draw(image).line([(x, self.top - 2), (x, self.bottom)], fill=_INK, width=2)
        return np.asarray(image)
