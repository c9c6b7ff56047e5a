"""Decode every video once: scaled frames as bytes on disk, mapped into memory.

The cache is sized before it is filled. Training reads each clip many times, and decoding costs more
than everything else the loader does.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from pseudo3d.data.decode import Source
from pseudo3d.data.item import Item
from pseudo3d.data.kept import check_array, map_array, read_array, write_array
from pseudo3d.data.pick import FileFrames, Index, file_frames, index_file
from pseudo3d.data.transforms import short_side
from pseudo3d.data.video import Video, read_video
from pseudo3d.errors import Pseudo3dError, VideoError

Progress = Callable[[int, int], None]
SHARE_OF_DISK = 0.5  # of the free space, at most
HELD_INDEXES = 10_000  # files whose frame times a process remembers, some 3 KB each
HELD_BYTES = 512 * 2**20  # frames a process keeps in memory; the rest is mapped when it is read
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """The user's cache folder: $XDG_CACHE_HOME/pseudo3d/frames, or ~/.cache/pseudo3d/frames."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pseudo3d" / "frames"


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of one item, scaled."""

    pixels: UInt8[np.ndarray, "c t h w"]
    times: Float64[Tensor, " t"]  # s from the first frame

    def take(self, index: Tensor) -> UInt8[Tensor, "c t h w"]:
        """Frames by number, repeats allowed."""
        return torch.from_numpy(self.pixels[:, index.numpy()])

    def clips(self, indices: Sequence[Tensor]) -> list[UInt8[Tensor, "c t h w"]]:
        """Several clips."""
        return [self.take(index) for index in indices]


@dataclass
class FrameStore:
    """Frames of manifest items at one scale, decoded once when there is a folder to keep them.

    Args:
        resize: shorter side in pixels.
        gray: one channel instead of RGB.
        folder: where decoded frames live; None decodes what is asked for on every read.
    """

    resize: int
    gray: bool = False
    folder: Path | None = None
    quarantined: dict[Path, str] = field(default_factory=dict)  # file -> what is wrong with it
    _held: dict[Item, Frames] = field(default_factory=dict, repr=False)
    _indexes: dict[Path, Index | None] = field(default_factory=dict, repr=False)
    _room: int = HELD_BYTES

    def read(self, item: Item) -> Frames | FileFrames:
        """The item's frames: from the cache, or without a folder still in their file.

        Raises:
            VideoError: the file cannot be read.
            Pseudo3dError: the folder cannot hold the frames.
        """
        if self.folder is None:
            return self._in_file(item)
        if item in self._held:
            return self._held[item]
        pixels, times = self._keep(item, self.folder)
        try:
            return self._kept(item, pixels, times)
        except (ValueError, EOFError, FileNotFoundError) as err:
            _log.warning("%s is damaged (%s); %s is decoded again", pixels, err, item.path)
            pixels.unlink(missing_ok=True)
        return self._kept(item, *self._keep(item, self.folder))

    def _in_file(self, item: Item) -> Frames | FileFrames:
        """The item's frames, not decoded yet where the file tells their times."""
        source = item.fetch()
        index = self._indexes[item.path] if item.path in self._indexes else index_file(source)
        if len(self._indexes) < HELD_INDEXES:
            self._indexes[item.path] = index
        if index is not None:
            span = (item.start, item.end)
            found = file_frames(source, index, span, size=self.resize, gray=self.gray)
            if found is not None:
                return found
        video = self._decode(item, source)
        return Frames(pixels=video.frames.numpy(), times=video.times)

    def _kept(self, item: Item, pixels: Path, times: Path) -> Frames:
        """The item's frames out of the cache; compared with their checksum if memory holds them."""
        frames = Frames(pixels=map_array(pixels), times=torch.from_numpy(read_array(times)))
        if len(frames.times) != frames.pixels.shape[1]:
            raise ValueError(f"{frames.pixels.shape[1]} frames with {len(frames.times)} times")
        if frames.pixels.nbytes <= self._room:
            frames = replace(frames, pixels=np.array(frames.pixels))
            check_array(pixels, frames.pixels)
            self._room -= frames.pixels.nbytes
            self._held[item] = frames
        return frames

    def _keep(self, item: Item, folder: Path) -> tuple[Path, Path]:
        """The item's two files in the cache, written if they are not there.

        Reading them back is left out: numpy's header parser is not safe in threads (CPython 3.11).
        """
        stem = folder / _key(item, self.resize, self.gray)
        pixels, times = stem.with_suffix(".npy"), stem.with_suffix(".t.npy")
        if not pixels.exists() or not times.exists():
            video = self._decode(item, item.fetch())
            _write(times, video.times.numpy())
            _write(pixels, video.frames.numpy())
        return pixels, times

    def __getstate__(self) -> dict[str, Any]:
        """Frames do not travel to other processes."""
        return {**self.__dict__, "_held": {}, "_indexes": {}, "_room": HELD_BYTES}

    def fill(self, items: Sequence[Item], progress: Progress | None = None) -> None:
        """Decode what is not there yet, on all cores; unreadable files go to `quarantined`.

        Without a folder, only the first frame of each file is read, of shards not even that.
        """

        def one(item: Item) -> tuple[Path, str | None]:
            try:
                if self.folder is None:
                    item.check()
                else:
                    self._keep(item, self.folder)
            except (VideoError, FileNotFoundError) as err:
                return item.path, str(err)
            return item.path, None

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for done, (path, problem) in enumerate(pool.map(one, items), start=1):
                if problem is not None:
                    self.quarantined[path] = problem
                if progress is not None:
                    progress(done, len(items))

    def check_scale(self, resize: int, gray: bool) -> None:
        """Refuse frames of another scale or color than a network takes.

        Raises:
            ValueError: they differ.
        """
        if (self.resize, self.gray) != (resize, gray):
            raise ValueError(
                f"frames are stored with resize={self.resize}, gray={self.gray}; the network takes "
                f"resize={resize}, gray={gray}: make the FrameStore with these"
            )

    def bytes_needed(self, items: Sequence[Item]) -> int:
        """Size of the filled cache, from what the files declare; unreadable files count nothing."""
        total = 0
        for item in items:
            try:
                frames, height, width = item.extent()
            except (VideoError, FileNotFoundError):
                continue
            h, w = short_side(height, width, self.resize)
            total += frames * h * w * (1 if self.gray else 3)
        return total

    def _decode(self, item: Item, source: Source) -> Video:
        return read_video(
            source,
            start=item.start or 0.0,
            end=item.end,
            size=self.resize,
            gray=self.gray,
        )


def fits(folder: Path, needed: int) -> bool:
    """Whether `needed` bytes leave half of the free disk space free."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    return needed <= SHARE_OF_DISK * shutil.disk_usage(there).free


def _key(item: Item, resize: int, gray: bool) -> str:
    text = (*item.stamp(), item.start, item.end, resize, gray)
    return hashlib.sha256(repr(text).encode()).hexdigest()[:32]


def _write(path: Path, array: np.ndarray) -> None:
    """Save through a temporary name, so that a killed run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{id(array)}")
    try:
        with draft.open("wb") as file:
            write_array(file, array)
        draft.replace(path)
    except OSError as err:
        raise Pseudo3dError(
            f"{path.parent} cannot keep decoded frames: {err.strerror or err}; free some space, "
            "name another folder (--cache FOLDER), or decode at every use (--cache none)"
        ) from err
    finally:
        draft.unlink(missing_ok=True)
