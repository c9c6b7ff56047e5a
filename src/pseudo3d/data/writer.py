"""Write frames as a video file."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from pseudo3d.errors import VideoError


class VideoWriter:
    """Write an H.264 MP4 chunk by chunk; the file appears under its name only when complete.

    Odd sizes are padded by one row or column, unless `lossless`. A key frame every `gop` frames
    keeps short clips cheap to read. The same frames give the same bytes on every run.

    Args:
        path: a file; a buffer takes the bytes instead.
        fps: Hz.
        crf: quality of x264, 0 (best) to 51.
        gop: most frames from one key frame to the next.
        lossless: keep every RGB value as it is (x264 in RGB); `crf` means nothing then.
        fast: half the cost of decoding for a file a tenth larger.
        jpeg: every frame a JPEG of its own, larger, but any frame costs one frame; `gop`,
            `lossless` and `fast` mean nothing then.
        tick: s, unit of the file's time stamps, for `write` with times; None counts frames.

    Raises:
        VideoError: nothing was written, or the disk refused it.
    """

    def __init__(
        self,
        path: str | Path | BytesIO,
        fps: float,
        crf: int = 20,
        *,
        gop: int = 12,
        lossless: bool = False,
        fast: bool = False,
        jpeg: bool = False,
        tick: Fraction | None = None,
    ) -> None:
        if not (math.isfinite(fps) and Fraction(fps).limit_denominator(1001) > 0):
            raise ValueError(f"fps is {fps!r}: wanted frames per second, 0.001 or more")
        self._buffer = path if isinstance(path, BytesIO) else None
        self.path = Path("buffer") if isinstance(path, BytesIO) else Path(path)
        self.rate = Fraction(fps).limit_denominator(1001)
        self.gop, self.lossless, self.jpeg = gop, lossless and not jpeg, jpeg
        self._quality = {"crf": str(crf), **({"tune": "fastdecode"} if fast else {})}
        if jpeg:  # crf 20 becomes 3 on the scale of FFmpeg's JPEGs, 2 (best) to 31
            level = str(max(2, round(crf / 6.5)))
            self._quality = {"qmin": level, "qmax": level}
        elif lossless:  # decodes four times as fast without arithmetic coding
            self._quality = {"qp": "0", "preset": "veryfast", "coder": "cavlc"}
        self.tick = tick or 1 / self.rate
        self.count, self._next = 0, 0  # frames, and the first time stamp that is free
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> "VideoWriter":
        return self

    def write(
        self, frames: UInt8[Tensor, "3 t h w"], times: Float64[Tensor, " t"] | None = None
    ) -> None:
        """Append frames; all calls give the same height and width.

        Args:
            times: s, increasing from 0, when each frame is shown; None shows them evenly.
        """
        if frames.ndim != 4 or frames.shape[0] != 3 or frames.dtype != torch.uint8:
            got = f"{tuple(frames.shape)} {frames.dtype}"
            raise ValueError(f"frames are {got}: wanted (3, T, H, W) torch.uint8")
        images = frames.permute(1, 2, 3, 0).cpu().numpy()
        height, width = (0 if self.lossless else side % 2 for side in frames.shape[2:])
        images = np.pad(images, ((0, 0), (0, height), (0, width), (0, 0)), mode="edge")
        stamps: list[int | None] = [None] * len(images)
        if times is not None:
            stamps = [round(time / float(self.tick)) for time in times.tolist()]
        with self._saying_why():
            if self._container is None:
                self._open(images.shape[2], images.shape[1])
            elif (self._stream.height, self._stream.width) != images.shape[1:3]:
                raise ValueError(f"frames of {images.shape[1:3]} after others of another size")
            for image, stamp in zip(images, stamps, strict=True):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts, frame.time_base = max(self._next, stamp or 0), self.tick
                self.count, self._next = self.count + 1, frame.pts + 1
                self._container.mux(self._stream.encode(frame))

    def _open(self, width: int, height: int) -> None:
        if self._buffer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(self._buffer or str(self._part), "w", format="mp4")
        codec = "mjpeg" if self.jpeg else "libx264rgb" if self.lossless else "libx264"
        self._stream = self._container.add_stream(codec, rate=self.rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "rgb24" if self.lossless else "yuv420p"
        if self.jpeg:
            self._stream.pix_fmt = "yuvj420p"
        # With mbtree, x264 writes other bytes on each run on machines with AVX-512.
        self._stream.options = {**self._quality, **({} if self.jpeg else {"mbtree": "0"})}
        self._stream.codec_context.time_base = self.tick
        self._stream.codec_context.gop_size = self.gop
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
            if self._buffer is None:
                self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if not self.count:
            raise VideoError(f"{self.path} is not written: no frames were given")
        with self._saying_why():
            self._container.mux(self._stream.encode())
            self._container.close()
            if self._buffer is None:
                self._part.replace(self.path)


def write_video(
    path: str | Path, frames: UInt8[Tensor, "3 t h w"], fps: float, crf: int = 20
) -> None:
    """Write RGB frames as an H.264 MP4; see `VideoWriter`."""
    with VideoWriter(path, fps, crf) as writer:
        writer.write(frames)
