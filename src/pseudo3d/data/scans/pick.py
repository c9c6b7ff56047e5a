"""Choosing one volume where a file holds several."""

from pathlib import Path

from pseudo3d.data.scans.scan import ScanError


def pick(path: Path, count: int, index: int | None, what: str) -> int:
    """The volume to read: the only one, or the one asked for.

    Raises:
        ScanError: several and none chosen, or a number that is not there.
    """
    if index is None:
        if count > 1:
            raise ScanError(
                f"{path} holds {count} {what} where one volume is meant; choose one with "
                f"--index 0 to {count - 1} (in Python index=)"
            )
        return 0
    if not 0 <= index < count:
        raise ScanError(f"{path} has no volume {index}: it holds {count} {what}, counted from 0")
    return index
