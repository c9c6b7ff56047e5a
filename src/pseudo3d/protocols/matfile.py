"""Read one array of numbers from a MATLAB file of level 5, as `save` writes it without -v7.3.

scipy reads more, but a damaged file can end its process; this reads plain numbers alone.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from pseudo3d.data.limits import LARGEST, RATIO, check_unpacked
from pseudo3d.errors import ManifestError

_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_MATRIX, _PACKED = 14, 15
_NUMBERS = range(6, 16)  # classes of arrays: double, single, whole numbers
_HEAD = 128  # bytes: a text, the version, the order of bytes
_COMPLEX = 0x08


def read_mat(path: Path, name: str) -> np.ndarray:
    """The array of this name, as its numbers are.

    Raises:
        ManifestError: no such file, no such array, or one of another kind.
    """
    try:
        data = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
        if order is None or data[:8] == b"\x89HDF\r\n\x1a\n":
            raise ValueError("no MATLAB file of level 5; save it with -v7")
        for kind, part in _elements(data[_HEAD:], order):
            unpacked = _unpacked(part) if kind == _PACKED else None
            inner = [(kind, part)] if unpacked is None else list(_elements(unpacked, order))
            for of, matrix in inner:
                if of == _MATRIX and (found := _array(matrix, order, name)) is not None:
                    return found
        raise ValueError("the array is not in it")
    except (OSError, ValueError, struct.error, zlib.error) as err:
        raise ManifestError(
            f"{path} cannot be read: {err}; wanted a MATLAB file with {name}"
        ) from err


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each part, one after the other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # up to four bytes, where the length would be
            kind, size = kind & 0xFFFF, kind >> 16
            start, step = at + 4, 8
        else:
            start, step = at + 8, 8 + (size if kind == _PACKED else -(-size // 8) * 8)
        if start + size > len(data) or (step == 8 and size > 4):
            raise ValueError("broken off")
        yield kind, data[start : start + size]
        at += step


def _unpacked(data: bytes) -> bytes:
    """What was compressed; a bomb ends long before it has filled the memory."""
    found = zlib.decompressobj().decompress(data, max(LARGEST, RATIO * len(data)) + 1)
    check_unpacked(len(found), len(data))
    return found


def _array(matrix: bytes, order: str, name: str) -> np.ndarray | None:
    """The numbers of a matrix; None where it has another name."""
    parts = list(_elements(matrix, order))
    if len(parts) < 3 or parts[2][1].decode("latin-1") != name:
        return None
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    kind = flags & 0xFF
    if kind not in _NUMBERS or flags >> 8 & _COMPLEX or len(parts) != 4:
        raise ValueError(f"it is of class {kind}; wanted an array of real numbers")
    shape = np.frombuffer(parts[1][1], f"{order}i4").tolist()
    stored = _TYPES.get(parts[3][0])
    if stored is None:
        raise ValueError(f"numbers of type {parts[3][0]}")
    values = np.frombuffer(parts[3][1], f"{order}{stored}")
    if len(shape) > 8 or min(shape, default=0) < 0 or prod(shape) != values.size:
        raise ValueError(f"{values.size} numbers for an array of shape {tuple(shape[:9])}")
    return values.reshape(shape, order="F")
