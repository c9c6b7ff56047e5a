"""Errors a user meets, and the two sentences they are made of."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

# Libraries that tell their makers over the network what they are used for, and by which other
# library: without that they are silent.
_TELLING = {"openvino": "openvino_telemetry", "nncf": "openvino_telemetry"}


class Pseudo3dError(ValueError):
    """Something the user gave cannot be used; the message says what came and what to do."""


class VideoError(Pseudo3dError):
    """A video file cannot be read; the message names the file, the cause and the way out."""


class ManifestError(Pseudo3dError):
    """A list of labeled files contradicts itself or the disk."""


class WeightsError(Pseudo3dError):
    """A checkpoint does not fit, is damaged, or is of an unknown kind."""


def unknown(what: str, got: str, known: Iterable[str]) -> str:
    """Say that `got` is no known `what`, with the nearest names.

    Example:
        >>> unknown("model", "p3d36", ["p3d34", "p3d50"])
        "unknown model: 'p3d36'. Did you mean p3d34?"
    """
    names = sorted(known)
    near = get_close_matches(got, names, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
    if not names:
        hint = "There is none."
    return f"unknown {what}: {got!r}. {hint}"


def in_words(err: Exception) -> str:
    """What is wrong, without the number that the system gives it."""
    if isinstance(err, OSError) and err.filename and err.strerror and not err.filename2:
        return f"{err.filename}: {err.strerror}"
    return str(err)


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, without its telemetry, or say which extra brings it.

    Raises:
        ImportError: the library is not installed.
    """
    if (telling := _TELLING.get(module.partition(".")[0])) is not None:
        sys.modules.setdefault(telling, None)  # type: ignore[arg-type]  # for Python: not there
    try:
        return import_module(module)
    except ImportError as err:
        raise ImportError(
            f"{module} is not installed; it comes with `pip install 'pseudo3d[{extra}]'`"
        ) from err
