"""Where a run is kept: a folder, or an address such as s3://bucket/run; whole files or none."""

import errno
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pseudo3d.data.shards.storage import Storage, address_of, is_remote, open_storage
from pseudo3d.errors import Pseudo3dError, require

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Place:
    """Files by names such as `done/part-1.json`; every worker of a run reaches the same ones.

    Raises:
        Pseudo3dError: (by its methods, too) the disk or the store refuses something.
    """

    def __init__(self, address: str | Path) -> None:
        remote = is_remote(address)
        self.path = None if remote else Path(address).absolute()  # None: no folder of this machine
        self.address = address_of(address).rstrip("/") if remote else str(self.path)
        self._home = lru_cache(self._open)

    def _open(self, folder: str) -> Storage:
        return open_storage(f"{self.address}/{folder}" if folder else self.address)

    def _at(self, name: str) -> tuple[Storage, str]:
        folder, _, file = name.rpartition("/")
        return self._home(folder), file

    def _store(self) -> Any:
        """What fsspec has for the address; a listing it remembers is forgotten."""
        fsspec: Any = require("fsspec", "cluster")
        store = fsspec.core.url_to_fs(self.address)[0]
        store.invalidate_cache()
        return store

    def read(self, name: str) -> bytes:
        """A whole file."""
        home, file = self._at(name)
        return home.read(file)

    def stream(self, name: str) -> BinaryIO:
        """A file to read in."""
        home, file = self._at(name)
        return home.stream(file)

    def names(self, folder: str) -> list[str]:
        """Names of the whole files in a folder, sorted; none where there is no folder."""
        if self.path is None:
            self._store()
        return [name for name in self._home(folder).names() if name[:1] not in (".", "")]

    def below(self) -> list[str]:
        """Addresses of all files there and in its folders, sorted; nothing hidden."""
        if self.path is not None:
            walk = os.walk(self.path)  # asks the disk for nothing but names
            below = [Path(home, file) for home, _, files in walk for file in files]
            found = [path.relative_to(self.path).as_posix() for path in below]
        else:
            store = self._store()
            root = len(store._strip_protocol(self.address))
            found = [name[root:].lstrip("/") for name in store.find(self.address)]
        shown = [name for name in found if not f"/{name}".count("/.")]
        return [f"{self.address}/{name}" for name in sorted(shown)]

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step; nobody else may write the same one at this time."""
        home, file = self._at(name)
        if self.path is None:
            self._store().makedirs(f"{self.address}/{name}".rpartition("/")[0], exist_ok=True)
        with home.create(file) as out:
            out.write(data)

    def claim(self, name: str, data: bytes) -> bool:
        """Write a file unless it is there; of several who try in a folder, one succeeds."""
        if self.path is None:
            if self._store().exists(f"{self.address}/{name}"):
                return False
            self.write(name, data)
            return True
        path = self.path / name
        draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.{os.getpid()}.part")
        try:
            self.write(draft.relative_to(self.path).as_posix(), data)
            return _named(draft, path)
        except OSError as err:
            raise Pseudo3dError(
                f"{path} cannot be written: {err.strerror or err}; mend that and repeat the "
                "command, it goes on"
            ) from err
        finally:
            draft.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it is there."""
        if self.path is None:
            store, where = self._store(), f"{self.address}/{name}"
            if store.exists(where):
                store.rm(where, recursive=True)
        elif (path := self.path / name).is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _named(draft: Path, path: Path) -> bool:
    """Give a file its name unless that is taken."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError as err:
        if err.errno not in _NO_LINKS:
            raise
        if path.exists():  # a disk without links: two who come in the same moment both succeed
            return False
        draft.replace(path)
    return True
