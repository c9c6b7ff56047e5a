"""What is seen, written under a frame: on the screen and in annotated recordings."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pseudo3d.report.files import font

_INK, _PAPER, _TRACK, _ALARM = (34, 34, 34), (255, 255, 255), (221, 221, 221), (176, 0, 32)
_LEAST, _MOST = 320, 1280  # px of width; other frames are scaled so that words can be read


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is written: the label with its probability, and what is on at the right."""

    label: str
    share: float  # probability
    color: str  # of the bar
    aside: str = ""  # latency, rate
    alarm: bool = False  # an event goes on


def captioned(
    image: UInt8[np.ndarray, "h w 3"], caption: Caption | None
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A frame with a strip below it; without a caption the strip is empty."""
    height, width = image.shape[:2]
    wide = min(max(width, _LEAST), _MOST)
    if wide != width:
        size = (wide, max(1, round(height * wide / width)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return np.concatenate([image, _strip(wide, caption)])


@lru_cache(maxsize=16)
def _strip(width: int, caption: Caption | None) -> UInt8[np.ndarray, "h w 3"]:
    points = max(13, width // 32)
    height = 2 * points + 14
    strip = Image.new("RGB", (width, height), _PAPER)
    if caption is None:
        return np.asarray(strip)
    draw, pad, middle = ImageDraw.Draw(strip), points // 2, 4 + points / 2
    small = font(max(11, points * 3 // 4))
    draw.text((width - pad, middle), caption.aside, _INK, small, anchor="rm")
    room = width - 3 * pad - draw.textlength(caption.aside, small)
    words, ink = f"{caption.label} {caption.share:.0%}", _ALARM if caption.alarm else _INK
    if caption.alarm:
        words = f"● {words}"  # color alone says nothing
    size = points
    while size > 9 and draw.textlength(words, font(size)) > room:
        size -= 1
    while len(words) > 2 and draw.textlength(words, font(size)) > room:
        words = words[:-2] + "…"
    draw.text((pad, middle), words, ink, font(size), anchor="lm")
    top, bottom, end = height - points // 2 - 8, height - 6, width - pad
    draw.rectangle((pad, top, end, bottom), fill=_TRACK)
    full = pad + min(max(caption.share, 0.0), 1.0) * (end - pad)
    draw.rectangle((pad, top, full, bottom), fill=caption.color)
    return np.asarray(strip)


def fitted(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A frame at (height, width), whole, with black borders where its shape is another."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    scale = min(size[0] / height, size[1] / width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(image).resize(inner, Image.Resampling.BILINEAR))
    out = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - small.shape[0]) // 2, (size[1] - small.shape[1]) // 2
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out
