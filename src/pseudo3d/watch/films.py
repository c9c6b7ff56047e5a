"""Video files that grow frame by frame: the clip of an event, and recordings in parts."""

import io
import math
import re
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import VideoError
from pseudo3d.watch.overlay import fitted

Picture = UInt8[np.ndarray, "h w 3"]
_TICK = Fraction(1, 1000)  # s, of time stamps
_RECORDING = re.compile(r".+_\d{8}T\d{6}\.\d{3}Z\.mp4")  # what `name_of` gives a source
_RATE = 30.0  # Hz that a player is told; frames carry their own times


class _Writer(VideoWriter):
    """Codes fast enough to keep up with a camera, a file half as large again."""

    def _open(self, width: int, height: int) -> None:
        super()._open(width, height)
        self._stream.options = {"crf": "23", "preset": "veryfast"}
        self._stream.codec_context.gop_size = 60


class Film:
    """One file; it appears under its name when closed, playable.

    All frames have the size of the first one: later ones of another size get borders.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = self.last = 0.0  # s, of its frames on the monotonic clock
        self._size: tuple[int, int] | None = None
        self._writer = _Writer(path, _RATE, tick=_TICK)

    @property
    def count(self) -> int:
        """Frames in it."""
        return self._writer.count

    @property
    def seconds(self) -> float:
        """From its first to its newest frame."""
        return self.last - self.first

    def add(self, image: Picture, taken: float) -> None:
        """Append a frame.

        Raises:
            VideoError: the disk refuses it; what was written is gone.
        """
        if self._size is None:
            self._size, self.first, self.last = image.shape[:2], taken, taken
        elif taken <= self.last:
            return
        whole = np.require(fitted(image, self._size), requirements=["C", "W"])
        frame = torch.from_numpy(whole)
        times = torch.tensor([taken - self.first], dtype=torch.float64)
        try:
            self._writer.write(frame.permute(2, 0, 1)[:, None], times)
        except VideoError:
            self.drop()
            raise
        self.last = taken

    def close(self) -> None:
        """Finish the file.

        Raises:
            VideoError: it holds no frame, or the disk refuses it.
        """
        self._writer.__exit__(None, None, None)

    def drop(self) -> None:
        """Leave no file behind."""
        with suppress(VideoError, OSError):
            self._writer.__exit__(VideoError, None, None)


class Ring:
    """The last seconds of a source, coded as JPEG: before an event begins nobody knows of it.

    Args:
        seconds: how far back it goes.
        room: bytes it may take.
    """

    def __init__(self, seconds: float, room: int = 64 << 20) -> None:
        self.seconds, self.room, self.nbytes = seconds, room, 0
        self.forgot = -math.inf  # s, time of the newest frame there was no room for
        self._frames: deque[tuple[float, bytes]] = deque()

    def add(self, image: Picture, taken: float) -> None:
        if self.seconds <= 0:
            return
        coded = io.BytesIO()
        Image.fromarray(image).save(coded, "JPEG", quality=90)
        self._frames.append((taken, coded.getvalue()))
        self.nbytes += coded.tell()
        while self._frames[0][0] < taken - self.seconds or self.nbytes > self.room:
            when, old = self._frames.popleft()
            self.nbytes -= len(old)
            self.forgot = when if when >= taken - self.seconds else self.forgot
            if not self._frames:
                return

    def since(self, taken: float) -> list[tuple[float, Picture]]:
        """The frames from a moment on."""
        return [
            (time, np.asarray(Image.open(io.BytesIO(coded))))
            for time, coded in self._frames
            if time >= taken
        ]


def name_of(*words: str, wall: float) -> str:
    """A file name that sorts by time and holds no sign a file system minds."""
    stamp = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    parts = [re.sub(r"[^\w.-]+", "-", word).strip("-.")[:60] for word in words]
    return "_".join(filter(None, [*parts[:1], f"{stamp}Z", *parts[1:]])) + ".mp4"


def tidy(folder: Path, keep: int) -> list[Path]:
    """Remove the oldest recordings of a folder until the others take at most `keep` bytes.

    Other files, clips of events among them, are not touched.
    """
    files = [path for path in folder.glob("*.mp4") if _RECORDING.fullmatch(path.name)]
    files.sort(key=lambda path: path.stat().st_mtime)
    sizes = [path.stat().st_size for path in files]
    gone: list[Path] = []
    while sum(sizes[len(gone) :]) > keep and len(gone) < len(files) - 1:
        files[len(gone)].unlink(missing_ok=True)
        gone.append(files[len(gone)])
    return gone
