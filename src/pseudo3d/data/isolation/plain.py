"""Values that go from process to process as JSON and raw bytes, without pickle."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pseudo3d.errors import Pseudo3dError

_KINDS = "biufc"  # of numpy arrays: numbers
_TYPE = re.compile(r"[<>|=]?[biufc][0-9]{1,2}")  # as numpy writes them
_AXES = 8


def plain(value: Any) -> tuple[Any, bytes]:
    """A value as JSON and raw bytes: numbers, texts, lists, dicts, bytes, paths, arrays.

    Raises:
        Pseudo3dError: a value of another type.
    """
    parts: list[bytes] = []
    return _plain(value, parts), b"".join(parts)


def _plain(value: Any, parts: list[bytes]) -> Any:
    """Every JSON object has one key, which says what it stands for."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in _KINDS:
        return _plain(value.item(), parts)
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, list):
        return [_plain(part, parts) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(part, parts) for part in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(part, parts) for key, part in value.items()}}
    if isinstance(value, bytes):
        parts.append(value)
        return {"bytes": len(value)}
    if hasattr(value, "__array__"):  # a tensor, too
        array = np.ascontiguousarray(value)
        if array.dtype.kind in _KINDS:
            parts.append(array.tobytes())
            return {"array": [array.dtype.str, np.shape(value)]}
    raise Pseudo3dError(
        f"a value of type {type(value).__name__} does not go from process to process; wanted "
        "numbers, texts, bytes, paths, arrays, and lists, tuples and dicts of them"
    )


def unplain(told: Any, data: bytes) -> Any:
    """The value that `plain` described; the sender is not trusted.

    Raises:
        Pseudo3dError: it describes none.
    """
    place = 0

    def take(size: Any) -> bytes:
        nonlocal place
        if not isinstance(size, int) or not 0 <= size <= len(data) - place:
            raise Pseudo3dError(f"a message promises {size!r} bytes and has {len(data) - place}")
        place += size
        return data[place - size : place]

    try:
        return _value(told, take)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as err:
        if isinstance(err, Pseudo3dError):
            raise
        raise Pseudo3dError(f"a message of a form unknown here ({type(err).__name__})") from err


def _value(told: Any, take: Callable[[Any], bytes]) -> Any:
    if isinstance(told, list):
        return [_value(part, take) for part in told]
    if not isinstance(told, dict):
        return told
    ((kind, of),) = told.items()
    if kind == "dict":
        return {key: _value(part, take) for key, part in of.items()}
    if kind == "tuple":
        return tuple(_value(part, take) for part in of)
    if kind == "path":
        return Path(of)
    if kind == "bytes":
        return take(of)
    if kind != "array":
        raise KeyError(kind)
    name, shape = str(of[0]), tuple(of[1])
    if not _TYPE.fullmatch(name) or len(shape) > _AXES or any(type(n) is not int for n in shape):
        raise TypeError(name)
    dtype = np.dtype(name)
    count = 1
    for axis in shape:
        count *= axis
    if min(shape, default=0) < 0:
        raise ValueError(shape)
    return np.frombuffer(bytearray(take(count * dtype.itemsize)), dtype).reshape(shape)
