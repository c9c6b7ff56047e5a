"""Whole files or none: what a report writes appears under its name only when complete."""

import errno
import os
from pathlib import Path

from pseudo3d.errors import Pseudo3dError


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
