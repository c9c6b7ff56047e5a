"""Folders of pictures, one per frame, as videos: written once, without loss."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import VideoError

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff"})
FPS = 25.0  # pictures do not say


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers, where their names have any."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES]
    return sorted(found, key=lambda p: (int("".join(filter(str.isdigit, p.stem)) or 0), p.name))


def frames_video(folder: Path, out: Path) -> Path:
    """Write a folder of frames as a video, if it is not there yet.

    Raises:
        VideoError: the folder holds no pictures, or pictures of several sizes.
    """
    if out.exists():
        return out
    files = pictures(folder)
    if not files:
        raise VideoError(f"{folder} holds no pictures; wanted one per frame")
    with VideoWriter(out, FPS, lossless=True) as writer:
        for file in files:
            with Image.open(file) as image:
                pixels = np.array(image.convert("RGB"))
            try:
                writer.write(torch.from_numpy(pixels).permute(2, 0, 1)[:, None])
            except ValueError as err:
                raise VideoError(f"{file}: {err}; wanted all frames of one size") from err
    return out
