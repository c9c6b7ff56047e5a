"""Arrays kept on disk with a checksum behind them; to numpy they are the files they ever were."""

import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

_MARK = b"\npseudo3d crc32 "


def write_array(file: IO[bytes], array: np.ndarray) -> None:
    """Write an .npy file and the checksum of its values.

    As `np.save` does, but for its error on a full disk, which is without a cause.
    """
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)
    file.write(_MARK + f"{_sum(array):08x}".encode())


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """An array as it was written.

    Raises:
        ValueError: it is not; files from before there were checksums only have to be long enough.
    """
    array: np.ndarray = _loaded(path)
    check_array(path, array)
    return array


def map_array(path: Path) -> np.ndarray[Any, Any]:
    """An array on disk, mapped into memory; only its length is compared.

    Raises:
        ValueError: the file is too short or too long.
    """
    array = _loaded(path, mmap_mode="c")
    spare = path.stat().st_size - array.offset - array.nbytes
    if spare not in (0, len(_MARK) + 8):
        raise ValueError(f"{spare} bytes follow the values")
    return array


def _loaded(path: Path, **options: Any) -> Any:
    try:
        return np.load(path, **options)
    except OSError:
        raise
    except Exception as err:  # numpy reads a header as Python: a damaged one fails in any way
        raise ValueError(f"its header is damaged: {err}") from err


def check_array(path: Path, array: np.ndarray) -> None:
    """Compare values in memory with the checksum in the file they came from.

    Raises:
        ValueError: they differ.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_MARK) - 8))
        tail = file.read()
    if tail.startswith(_MARK) and tail[len(_MARK) :] != f"{_sum(array):08x}".encode():
        raise ValueError("its values do not match their checksum")


def _sum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)
