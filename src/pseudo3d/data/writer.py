"""Write frames as a video file."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from pseudo3d.errors import VideoError


class VideoWriter:
    """Write an H.264 MP4 chunk by chunk; the file appears under its name only when complete.

    Odd sizes are padded by one row or column. A key frame every 12 frames keeps short clips
    cheap to read. The same frames give the same bytes on every run.

    Args:
        fps: Hz.
        crf: quality of x264, 0 (lossless) to 51.

    Raises:
        VideoError: nothing was written, or the disk refused it.
    """

    def __init__(self, path: str | Path, fps: float, crf: int = 20) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps is {fps!r}: wanted frames per second > 0")
        self.path = Path(path)
        self.rate = Fraction(fps).limit_denominator(1001)
        self.crf = crf
        self.count = 0
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frames: UInt8[Tensor, "3 t h w"]) -> None:
        """Append frames; all calls give the same height and width."""
        if frames.ndim != 4 or frames.shape[0] != 3 or frames.dtype != torch.uint8:
            got = f"{tuple(frames.shape)} {frames.dtype}"
            raise ValueError(f"frames are {got}: wanted (3, T, H, W) torch.uint8")
        height, width = frames.shape[2:]
        images = frames.permute(1, 2, 3, 0).cpu().numpy()
        images = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._saying_why():
            if self._container is None:
                self._open(images.shape[2], images.shape[1])
            elif (self._stream.height, self._stream.width) != images.shape[1:3]:
                raise ValueError(f"frames of {height}x{width} after others of another size")
            for image in images:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts, frame.time_base = self.count, 1 / self.rate
                self.count += 1
                self._container.mux(self._stream.encode(frame))

    def _open(self, width: int, height: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._part), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=self.rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        # With mbtree, x264 writes other bytes on each run on machines with AVX-512.
        self._stream.options = {"crf": str(self.crf), "mbtree": "0"}
        self._stream.codec_context.gop_size = 12
        self._stream.codec_context.thread_count = 1

    @contextmanager
    def _saying_why(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as err:
            full = getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            cause = "the disk is full" if full else str(err)
            raise VideoError(
                f"{self.path} cannot be written: {cause}; free some space or write elsewhere"
            ) from err

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._container is not None:
                with suppress(OSError, av.FFmpegError):
                    self._container.close()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if not self.count:
            raise VideoError(f"{self.path} is not written: no frames were given")
        with self._saying_why():
            self._container.mux(self._stream.encode())
            self._container.close()
            self._part.replace(self.path)


def write_video(
    path: str | Path, frames: UInt8[Tensor, "3 t h w"], fps: float, crf: int = 20
) -> None:
    """Write RGB frames as an H.264 MP4; see `VideoWriter`."""
    with VideoWriter(path, fps, crf) as writer:
        writer.write(frames)
