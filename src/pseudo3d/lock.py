"""One writer per folder: a second run into the same place is refused, a killed one blocks nothing.

The system holds the lock (`flock`), not a file: it ends with the process, however that ends. The
file `.lock` only carries it and says whose it is.
"""

import errno
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

from pseudo3d.errors import Pseudo3dError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_DRAFT = re.compile(r"\..+\.(\d+)\.part(\..+)?")  # .NAME.PID.part, what every writer here writes to
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_held: dict[Path, tuple[int, int]] = {}  # folder -> locked file and thread
_log = logging.getLogger(__name__)


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Be the one writer of a folder, which is made where it is missing; calls may be nested.

    Half-written files that a killed writer left directly in it are removed. Processes forked
    meanwhile do not share the lock; other threads of the same process are refused, too.

    Raises:
        Pseudo3dError: another run writes there, or the folder cannot be written to.
    """
    folder = Path(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        real = folder.resolve()
        nested = real in _held and _held[real][1] == get_ident()
        fd = -1 if nested else _take(real / LOCK)
    except OSError as err:
        raise Pseudo3dError(
            f"{folder} cannot be written to: {err.strerror or err}; name another folder"
        ) from err
    if nested:
        yield
        return
    _held[real] = fd, get_ident()
    try:
        with suppress(OSError):  # on a full disk the lock holds all the same, only nameless
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        sweep(real)
        yield
    finally:
        _leave(real, made)


def sweep(folder: Path, *, deep: bool = False) -> None:
    """Remove half-written files that killed writers left; the caller is the folder's one writer."""
    for path in folder.glob("**/.*.part*" if deep else ".*.part*"):
        found = _DRAFT.fullmatch(path.name)
        if found and int(found[1]) != os.getpid() and path.is_file():
            path.unlink(missing_ok=True)


def _take(path: Path) -> int:
    """The locked file; a name that was unlinked by its owner between two steps is tried again."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(fd, path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise Pseudo3dError(_refusal(fd, path)) from None
        if err.errno not in _NO_LOCKS:
            raise
        _log.warning("%s: this file system has no locks; start only one run there", path.parent)


def _refusal(fd: int, path: Path) -> str:
    pid, _, host = os.pread(fd, 300, 0).decode(errors="replace").strip().partition(" ")
    where = "" if host in ("", socket.gethostname()) else f" on {host}"
    return (
        f"{path.parent} is being written by process {pid or '(just starting)'}{where}; wait for "
        "it, stop it, or name another folder"
    )


def _leave(folder: Path, made: bool) -> None:
    """Let go and leave no trace; in a forked child there is nothing to let go."""
    if (held := _held.pop(folder, None)) is None:
        return
    with suppress(OSError):
        (folder / LOCK).unlink()
    os.close(held[0])
    if made:
        with suppress(OSError):  # not empty: something was written
            folder.rmdir()


def _forget() -> None:
    """In a forked child: the lock is its parent's alone, and ends with the parent."""
    for fd, _ in _held.values():
        os.close(fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
