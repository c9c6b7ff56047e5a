"""Arrays out of an archive of numpy that may come from anywhere: no pickle, no surprise in size.

`numpy.load` takes as much memory as a header asks for, before it looks whether the bytes are there.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from struct import error as struct_error
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from pseudo3d.data.limits import check_unpacked

_SUFFIX = ".npy"
_HEADER = 2**16  # bytes: the most that version 1 of the format has room for
_FREE = 2**30  # bytes that may unpack freely: masks, voxels of 0 and 1 pack hundreds of times
# zipfile and zlib say in many ways that an archive is damaged, encrypted or packed unusually
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct_error, EOFError, OSError, KeyError, IndexError,
    NotImplementedError, RuntimeError, SyntaxError, TokenError, TypeError, AttributeError,
    OverflowError,
)  # fmt: skip


@contextmanager
def opened_npz(file: Path | IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open an archive that promises no more than it can hold.

    Raises:
        ValueError: damaged, encrypted, or a bomb; also where reading it inside fails so.
        FileNotFoundError: no such file.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            check_zip(packed)
            yield packed
    except FileNotFoundError:
        raise
    except _DAMAGE as err:
        raise ValueError(f"{type(err).__name__}: {str(err) or 'damaged'}; copy it again") from err


def check_zip(packed: zipfile.ZipFile) -> None:
    """Refuse an archive that would unpack to far more than it is, or whose parts cannot be in it.

    Raises:
        ValueError: a bomb, or damaged.
    """
    place = packed.fp
    size = place.seek(0, 2) if place is not None else 0
    if any(info.compress_size > size for info in packed.infolist()):  # memory is taken before
        raise ValueError("a part says it is larger than the archive; copy it again")
    check_unpacked(sum(info.file_size for info in packed.infolist()), size, _FREE)


def names_in(packed: zipfile.ZipFile) -> list[str]:
    """Names of its arrays."""
    return [n.removesuffix(_SUFFIX) for n in packed.namelist() if n.endswith(_SUFFIX)]


def check_header(start: bytes) -> None:
    """Refuse an array whose header is said to be huge: numpy takes the memory before it looks.

    Args:
        start: its first twelve bytes.
    Raises:
        ValueError: it is.
    """
    length = int.from_bytes(start[8:12] if start[6:7] > b"\x01" else start[8:10], "little")
    if length > _HEADER:
        raise ValueError(f"its header would have {length} bytes")


def header_in(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type, at the beginning of an array's file.

    Raises:
        ValueError: no array of numbers or text.
    """
    check_header(file.read(12))
    file.seek(0)
    version = np.lib.format.read_magic(file)
    one, two = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    shape, fortran, dtype = (one if version == (1, 0) else two)(file)
    if dtype.hasobject:
        raise ValueError("an array of objects, which would need code to be run")
    return shape, fortran, dtype


def array_in(packed: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array.

    Raises:
        ValueError: it is not there, or promises more numbers than it has.
    """
    with packed.open(f"{name}{_SUFFIX}") as file:
        shape, fortran, dtype = header_in(file)
        if min(shape, default=0) < 0:
            raise ValueError(f"{name!r} has shape {shape}")
        size = prod(shape) * dtype.itemsize
        data = bytearray(file.read(size))  # as much as there is
    if len(data) < size:
        raise ValueError(f"{name!r} promises {size} bytes and has {len(data)}")
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
