"""Whole files or none: what a report writes appears under its name only when complete."""

import errno
import os
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import ImageFont

from pseudo3d.errors import Pseudo3dError

_DPI = 150


def save_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file in one step, with its folder.

    Raises:
        Pseudo3dError: the disk refuses it.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        return part.replace(path)
    except OSError as err:
        part.unlink(missing_ok=True)
        full = err.errno in (errno.ENOSPC, errno.EDQUOT)
        cause = "the disk is full" if full else (err.strerror or str(err))
        raise Pseudo3dError(
            f"{path} cannot be written: {cause}; free some space or write elsewhere"
        ) from err


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG.

    Raises:
        Pseudo3dError: the disk refuses it.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return save_bytes(path, buffer.getvalue())


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: the same everywhere, many scripts."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)
