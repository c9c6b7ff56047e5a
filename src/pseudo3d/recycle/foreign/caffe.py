"""Arrays of a .caffemodel, read from protobuf's wire format; Caffe itself is not needed.

Only what carries weights is looked at: NetParameter.layer (100), of it name (1) and blobs (7), of a
blob shape (7), data (5, 8) and, in older files, num, channels, height, width (1..4).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
Field = tuple[int, int, int | memoryview]  # number, wire type, value


def is_caffemodel(start: bytes) -> bool:
    """A network begins with its name: field 1, length-delimited."""
    return start[:1] == b"\x0a"


def read_caffemodel(data: bytes) -> dict[str, Tensor]:
    """Blobs as LAYER.0, LAYER.1, ...

    Raises:
        ValueError: not the wire format of a network, or no blobs in it.
    """
    found: dict[str, Tensor] = {}
    for number, wire, layer in _fields(memoryview(data)):
        if number != 100 or wire != _BYTES:
            continue
        name, blobs = "", []
        for inner, kind, value in _fields(layer):  # type: ignore[arg-type]  # bytes, by wire
            if inner == 1 and kind == _BYTES:
                name = bytes(value).decode()
            elif inner == 7 and kind == _BYTES:
                blobs.append(_blob(value))  # type: ignore[arg-type]
        found |= {f"{name}.{i}": blob for i, blob in enumerate(blobs)}
    if not found:
        raise ValueError("no layer with weights in it")
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the low ones first, and where it ends."""
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("broken off within a number")


def _fields(data: memoryview) -> Iterator[Field]:
    """The fields of one message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FLOAT, _DOUBLE):
            length = 4 if wire == _FLOAT else 8
        else:
            raise ValueError(f"unknown kind of field {wire}")
        if number == 0 or at + length > len(data):
            raise ValueError("broken off within a field")
        yield number, wire, data[at : at + length]
        at += length


def _blob(data: memoryview) -> Tensor:
    """One array: its shape, and its numbers packed or one by one."""
    shape: list[int] = []
    legacy = {1: 1, 2: 1, 3: 1, 4: 1}
    parts: list[np.ndarray] = []
    for number, _, value in _fields(data):
        if number == 7 and not isinstance(value, int):
            shape = _dims(value)
        elif number in legacy and isinstance(value, int):
            legacy[number] = value
        elif number in (5, 8) and not isinstance(value, int):
            kind = "<f4" if number == 5 else "<f8"
            parts.append(np.frombuffer(value, kind))
    values = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
    shape = shape or list(legacy.values())
    if int(np.prod(shape)) != values.size:
        raise ValueError(f"{values.size} numbers for a blob of shape {tuple(shape)}")
    return torch.from_numpy(values.reshape(shape))


def _dims(data: memoryview) -> list[int]:
    """BlobShape.dim, packed or one by one."""
    found: list[int] = []
    for number, _, value in _fields(data):
        if number != 1:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            size, at = _varint(value, at)
            found.append(size)
    return found
