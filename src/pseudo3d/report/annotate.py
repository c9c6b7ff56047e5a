"""A copy of a video with what was recognized written under every frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw

from pseudo3d.data.video import stream_video
from pseudo3d.data.writer import VideoWriter
from pseudo3d.report.files import font
from pseudo3d.report.plots import check_windows, class_color

_LEAST_HEIGHT = 240  # px; smaller videos are enlarged so that the text can be read
_CHUNK = 8  # frames in memory at a time
_INK, _TRACK = (34, 34, 34), (221, 221, 221)


@dataclass(frozen=True)
class _Layout:
    """Pixels of one output frame: the video on top, a white strip for the words below."""

    width: int
    height: int
    strip: int

    @staticmethod
    def of(height: int, width: int) -> "_Layout":
        factor = max(1.0, _LEAST_HEIGHT / height)
        tall, wide = round(height * factor), round(width * factor)
        strip = max(40, min(tall, wide) // 6)
        even = [max(2, value + value % 2) for value in (wide, tall, strip)]
        return _Layout(width=even[0], height=even[1], strip=even[2])


def _fitted(draw: ImageDraw.ImageDraw, text: str, width: float, size: int) -> tuple[str, int]:
    """Text and size, made smaller and in the end shorter until it fits into `width` pixels."""
    while size > 9 and draw.textlength(text, font(size)) > width:
        size -= 1
    while len(text) > 2 and draw.textlength(text, font(size)) > width:
        text = text[:-2] + "…"
    return text, size


def _strip(layout: _Layout, label: str, share: float, color: str) -> np.ndarray:
    """The words under a frame, uint8 (strip, width, 3): label, bar, per cent."""
    image = Image.new("RGB", (layout.width, layout.strip), "white")
    draw = ImageDraw.Draw(image)
    pad, row = layout.strip // 8, layout.strip * 5 // 8
    percent = f"{100 * share:.0f} %"
    points = max(10, row * 5 // 8)
    space = layout.width - 3 * pad - draw.textlength("100 %", font(points))
    text, size = _fitted(draw, label, space, points)
    draw.text((pad, row / 2 + pad / 2), text, _INK, font(size), anchor="lm")
    right = (layout.width - pad, row / 2 + pad / 2)
    draw.text(right, percent, _INK, font(points), anchor="rm")
    top, bottom, end = row + pad // 2, layout.strip - pad, layout.width - pad
    draw.rectangle((pad, top, end, bottom), fill=_TRACK)
    draw.rectangle((pad, top, pad + share * (end - pad), bottom), fill=color)
    return np.asarray(image)


def _under(image: np.ndarray, strip: np.ndarray, layout: _Layout) -> np.ndarray:
    """The frame at its output size, with the strip below it."""
    size = (layout.width, layout.height)
    if image.shape[1::-1] != size:
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return np.concatenate([image, strip])


def annotate(
    video_path: str | Path,
    times: Float[np.ndarray, " w"],
    probs: Float[np.ndarray, "w k"],
    classes: Sequence[str],
    out_path: str | Path,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Copy a video and write the most probable class and its probability under every frame.

    Each frame shows the window whose center is nearest. Frames are read, drawn and written a few
    at a time, so a video of any length fits into memory; the file appears only when complete.
    Videos less than 240 px high are enlarged. Sound is left out.

    Args:
        times: center of each window, s from the first frame.
        probs: probability of each class in each window.
        progress: called with the frames done.
    Returns:
        The path of the MP4.
    Raises:
        ValueError: the sizes of times, probs and classes do not fit.
        VideoError: the video cannot be read, or the copy cannot be written.
    """
    when, share = check_windows(times, probs, classes)
    best = share.argmax(axis=1)
    border, done = (when[1:] + when[:-1]) / 2, 0
    parts = stream_video(video_path, chunk=_CHUNK)
    first = next(parts)
    layout = _Layout.of(*first.frames.shape[2:])
    strip = lru_cache(maxsize=2)(
        lambda w: _strip(layout, classes[best[w]], float(share[w, best[w]]), class_color(best[w]))
    )
    with VideoWriter(out_path, first.info.fps or 25.0) as writer:
        for part in chain([first], parts):
            windows = np.searchsorted(border, part.times.numpy(), side="right")
            images = part.frames.permute(1, 2, 3, 0).numpy()
            drawn = np.stack(
                [_under(image, strip(w), layout) for image, w in zip(images, windows, strict=True)]
            )
            writer.write(torch.from_numpy(drawn).permute(3, 0, 1, 2))
            done += len(drawn)
            if progress is not None:
                progress(done)
    return Path(out_path)
