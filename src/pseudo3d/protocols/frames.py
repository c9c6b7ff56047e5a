"""Folders of pictures, one per frame, as videos: written once, without loss."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import VideoError

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff"})
FPS = 25.0  # pictures do not say


_RGB = ("img", "image", "frame")  # TSN keeps flow_x_* and flow_y_* beside them


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers.

    Raises:
        VideoError: series of several names, and none or several of them called as frames are.
    """
    series: dict[str, list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        if path.suffix.lower() in PICTURES and not path.name.startswith("."):
            series[re.sub(r"\d+", "#", path.name.lower())].append(path)
    chosen = sorted(series)
    if len(series) > 1:
        chosen = [name for name in chosen if name.startswith(_RGB)]
    if len(chosen) != 1 and series:
        raise VideoError(
            f"{folder} holds pictures called {', '.join(sorted(series)[:5])}; wanted one series of "
            "numbered pictures, or one of several that begins with img, image or frame"
        )
    return sorted(series[chosen[0]] if chosen else [], key=_number)


def _number(path: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.name


def frames_video(folder: Path, out: Path) -> Path:
    """Write a folder of frames as a video, if it is not there yet or older than the folder.

    Raises:
        VideoError: the folder holds no pictures, several series of them, pictures of several
            sizes, or one that cannot be read.
    """
    files = pictures(folder)
    if not files:
        raise VideoError(f"{folder} holds no pictures; wanted one per frame")
    newest = max(path.stat().st_mtime_ns for path in (folder, *files))
    if out.exists() and out.stat().st_mtime_ns >= newest:
        return out
    with VideoWriter(out, FPS, lossless=True) as writer:
        for file in files:
            try:
                with Image.open(file) as image:
                    pixels = np.array(image.convert("RGB"))
                writer.write(torch.from_numpy(pixels).permute(2, 0, 1)[:, None])
            except (ValueError, OSError) as err:
                raise VideoError(f"{file}: {err}; wanted pictures, all of one size") from err
    return out
