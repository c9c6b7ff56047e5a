"""Read every scan once: voxels as they are, or at one spacing, on disk and mapped into memory.

The cache is sized from headers before it is filled. Unpacking, sorting slices and resampling are
paid once; what is mapped costs memory only where it is touched.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pseudo3d.data.cache import SHARE_OF_DISK, default_folder, fits
from pseudo3d.data.kept import map_array, write_array
from pseudo3d.data.scans.grid import orient, resampled, resampled_size
from pseudo3d.data.scans.partners import partners
from pseudo3d.data.scans.read import peek_scan, read_scan
from pseudo3d.data.scans.scan import Scan, ScanError, Triple, scan_of, world_axes
from pseudo3d.data.scans.source import Peek

Progress = Callable[[int, int], None]
_log = logging.getLogger(__name__)
_FORM = 2  # of the files; another number makes older ones unknown
_WORLD = "RL", "AP", "SI"


def scan_folder() -> Path:
    """The user's cache folder for scans, beside the one for frames."""
    return default_folder().with_name("scans")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A scan and how to read it; see `read_scan`."""

    path: Path
    series: str | None = None
    index: int | None = None
    allow_nonuniform: bool = False

    def peek(self) -> Peek:
        """Its header."""
        return peek_scan(self.path, **self._how())

    def read(self) -> Scan:
        """Its voxels."""
        return read_scan(self.path, **self._how())

    def _how(self) -> dict[str, Any]:
        how = {"series": self.series, "index": self.index}
        return how | {"allow_nonuniform": self.allow_nonuniform}


@dataclass
class ScanCache:
    """Scans in one orientation and spacing, kept in a folder.

    Integers stay integers (resampled ones are rounded), so that a CT takes two bytes a voxel.

    Args:
        folder: where they are kept.
        spacing: mm along (depth, height, width), after `layout`; None keeps the file's own.
        layout: letters as of `orient`, "SAR"; None keeps the file's axes.
    """

    folder: Path
    spacing: Triple | None = None
    layout: str | None = None
    quarantined: dict[Path, str] = field(default_factory=dict)  # file -> what is wrong with it

    def bytes_needed(self, requests: Sequence[Request]) -> int:
        """Size of the filled cache, from headers; what cannot be read counts nothing."""
        total = 0
        for request in requests:
            with suppress(ScanError, OSError):
                total += self._bytes(request.peek())
        return total

    def check_room(self, requests: Sequence[Request]) -> int:
        """`bytes_needed`, if that leaves enough of the disk.

        Raises:
            ScanError: it does not.
        """
        needed = self.bytes_needed(requests)
        if not fits(self.folder, needed):
            raise ScanError(
                f"{self.folder}: the scans would take {needed / 1e9:.1f} GB, more than "
                f"{SHARE_OF_DISK:.0%} of the free space; name another folder, a coarser spacing, "
                "or read scans anew at every use"
            )
        return needed

    def fill(self, requests: Sequence[Request], progress: Progress | None = None) -> None:
        """Read what is not there yet; what cannot be read goes to `quarantined`."""
        for done, request in enumerate(requests, start=1):
            try:
                self._keep(request)
            except (ScanError, FileNotFoundError) as err:
                self.quarantined[request.path] = str(err)
            if progress is not None:
                progress(done, len(requests))

    def read(self, request: Request) -> Scan:
        """The scan, its voxels mapped from disk; read from its file first if it is not there.

        Changes to the voxels stay in memory.

        Raises:
            ScanError: the file cannot be read, or the folder cannot hold it.
        """
        stem = self._keep(request)
        try:
            return self._kept(request, stem)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as err:
            _log.warning("%s.npy is damaged (%s); %s is read again", stem, err, request.path)
            stem.with_suffix(".npy").unlink(missing_ok=True)
        return self._kept(request, self._keep(request))

    def _kept(self, request: Request, stem: Path) -> Scan:
        about = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        array = map_array(stem.with_suffix(".npy"))
        affine = np.array(about.pop("affine"), dtype=np.float64)
        return scan_of(torch.from_numpy(array), affine, source=request.path, **about)

    def _keep(self, request: Request) -> Path:
        """The path, without suffix, of a scan's two files; written if they are not there."""
        stem = self.folder / self._key(request)
        if not (stem.with_suffix(".npy").exists() and stem.with_suffix(".json").exists()):
            scan = self._prepare(request.read())
            about = {"affine": scan.affine.tolist(), "kind": scan.kind, "units": scan.units}
            _write(stem.with_suffix(".json"), json.dumps(about | {"meta": scan.meta}).encode())
            _write(stem.with_suffix(".npy"), scan.array.contiguous().numpy())
        return stem

    def _prepare(self, scan: Scan) -> Scan:
        stored = scan.array.dtype
        if self.layout is not None:
            scan = orient(scan, self.layout)
        if self.spacing is not None:
            scan = resampled(scan, self.spacing)
        if scan.array.dtype != stored:  # averages of whole numbers stay within their range
            scan = scan.with_array(scan.array.round().to(stored))
        return scan

    def _bytes(self, found: Peek) -> int:
        if self.spacing is None:
            return found.nbytes
        size, spacing = list(found.shape[1:]), list(found.spacing)
        if self.layout is not None:
            have = [axis for axis, _ in world_axes(found.affine)]
            want = [next(i for i, w in enumerate(_WORLD) if c in w) for c in self.layout]
            size = [size[have.index(w)] for w in want]
            spacing = [spacing[have.index(w)] for w in want]
        there = resampled_size(tuple(size), tuple(spacing), self.spacing)  # type: ignore[arg-type]  # three each
        return round(found.nbytes * np.prod(there) / np.prod(size))

    def _key(self, request: Request) -> str:
        path = request.path.resolve()
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
        else:
            files = [path, *partners(path)]
        stats = [(str(p), (s := p.stat()).st_size, s.st_mtime_ns) for p in files]
        how = (request.series, request.index, request.allow_nonuniform)
        text = repr((_FORM, stats, how, self.spacing, self.layout))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write(path: Path, content: bytes | np.ndarray) -> None:
    """Save through a temporary name, so that a killed run leaves no half file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                write_array(file, content)
        draft.replace(path)
    except OSError as err:
        raise ScanError(
            f"{path.parent} cannot keep scans: {err.strerror or err}; free some space or name "
            "another folder"
        ) from err
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
