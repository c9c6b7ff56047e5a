"""One labeled video, and how its bytes are reached."""

import os
from dataclasses import dataclass
from pathlib import Path

from pseudo3d.data.decode import Source
from pseudo3d.data.video import probe


@dataclass(frozen=True, kw_only=True)
class Item:
    """One labeled video, or one labeled span of it."""

    path: Path
    label: str
    group: str | None = None
    split: str | None = None
    start: float | None = None  # s from the first frame
    end: float | None = None  # s from the first frame

    @property
    def whole(self) -> str:
        """What it is a span of."""
        return os.path.normpath(self.path)

    def fetch(self) -> Source:
        """What the readers of videos take: the file, or its bytes where it lies in another."""
        return self.path

    def stamp(self) -> tuple[object, ...]:
        """Facts that differ when the content does, without reading it.

        Raises:
            OSError: the file is not there.
        """
        stat = self.path.stat()
        return self.path.resolve(), stat.st_size, stat.st_mtime_ns

    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    def check(self) -> None:
        """Find what is unreadable before it is needed, without decoding it all.

        Raises:
            FileNotFoundError: no such file.
            VideoError: no frame can be read.
        """
        probe(self.path)

    def extent(self) -> tuple[int, int, int]:
        """Frames, and upright height and width in pixels, by what the file declares.

        Raises:
            FileNotFoundError: no such file.
            VideoError: no frame can be read.
        """
        info = probe(self.path)
        turned = info.rotation % 180 != 0
        height, width = (info.width, info.height) if turned else (info.height, info.width)
        frames = info.declared_frames or info.duration * info.fps
        if self.end is not None or self.start is not None:
            seconds = (self.end or info.duration) - (self.start or 0.0)
            frames = seconds * (info.fps or 30.0)
        return int(frames), height, width
