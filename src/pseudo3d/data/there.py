"""Whether a file is there, whatever its name."""

from pathlib import Path


def is_file(path: Path) -> bool:
    """Like `Path.is_file`; a name that no disk can hold is of no file, either."""
    try:
        return path.is_file()
    except OSError:  # longer than names can be, or behind a folder that may not be entered
        return False


def is_dir(path: Path) -> bool:
    """Like `Path.is_dir`, in the same way."""
    try:
        return path.is_dir()
    except OSError:
        return False


def exists(path: Path) -> bool:
    """Like `Path.exists`, in the same way."""
    try:
        return path.exists()
    except OSError:
        return False
