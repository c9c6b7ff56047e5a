"""Arrays of MXNet's .params files, which GluonCV's weights are; MXNet itself is not needed.

The layout is that of MXNDArraySave: a list of arrays, then a list of names.
"""

from math import prod
from struct import error, unpack_from

import numpy as np
import torch
from torch import Tensor

_LIST = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA  # what an array begins with
_TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")


def is_params(start: bytes) -> bool:
    """A list of arrays begins with its own number."""
    return int.from_bytes(start[:8], "little") == _LIST


def read_params(data: bytes) -> dict[str, Tensor]:
    """Named arrays; the prefixes `arg:` and `aux:` are removed.

    Raises:
        ValueError: broken off, or arrays of a kind that holds no weights.
    """
    try:
        return _Reader(data).read()
    except error as err:
        raise ValueError("broken off") from err


class _Reader:
    """A place in the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 16  # behind the number of the list and a reserved one

    def take(self, kind: str) -> int:
        """One number of a struct format."""
        (value,) = unpack_from(f"<{kind}", self.data, self.at)
        self.at += {"I": 4, "i": 4, "Q": 8, "q": 8}[kind]
        return int(value)

    def read(self) -> dict[str, Tensor]:
        """All arrays by their names."""
        arrays = [self.array() for _ in range(self.take("Q"))]
        names = [self.text() for _ in range(self.take("Q"))]
        if len(names) != len(arrays):
            raise ValueError(f"{len(arrays)} arrays and {len(names)} names")
        plain = [name.removeprefix("arg:").removeprefix("aux:") for name in names]
        return dict(zip(plain, arrays, strict=True))

    def text(self) -> str:
        """A length and as many bytes."""
        length = self.take("Q")
        if self.at + length > len(self.data):
            raise ValueError("broken off within a name")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def array(self) -> Tensor:
        """Shape, device, type and numbers of one array, in any of four versions."""
        first = self.take("I")
        if first in (_V2, _V3) and (storage := self.take("i")) != 0:
            raise ValueError(f"a sparse array (storage {storage})")
        new = first in (_V1, _V2, _V3)
        shape = [self.take("q" if new else "I") for _ in range(self.take("I") if new else first)]
        if len(shape) > 8 or min(shape, default=1) < 0:
            raise ValueError(f"an array of shape {tuple(shape[:9])}")
        if not shape:  # an array that was never filled ends here
            return torch.zeros(0)
        self.at += 8  # the device it was on
        kind = self.take("i")
        if not 0 <= kind < len(_TYPES):
            raise ValueError(f"an array of type {kind}")
        dtype = np.dtype(_TYPES[kind])
        size = prod(shape) * dtype.itemsize
        if self.at + size > len(self.data):
            raise ValueError("broken off within an array")
        values = np.frombuffer(self.data, dtype, prod(shape), self.at).reshape(shape)
        self.at += size
        return torch.from_numpy(values.astype(np.float32 if dtype.kind == "f" else dtype))
