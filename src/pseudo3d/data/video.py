"""Read the frames of a video file through PyAV; `write_video` is here by name, too.

Times are presentation times in seconds from the first frame, so a recording that starts late
starts at 0 here. Frames stand upright: the display matrix of the file is applied.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.nn import functional

from pseudo3d.data.decode import (
    NEAR,
    Source,
    decoded,
    first_frame,
    frames_from,
    hidden_frames,
    name_of,
    opened,
    timed,
    upright,
)
from pseudo3d.data.limits import check_frames, check_pixels, check_scaled
from pseudo3d.data.writer import VideoWriter, write_video
from pseudo3d.errors import VideoError

__all__ = [
    "VIDEO_SUFFIXES",
    "Video",
    "VideoInfo",
    "VideoWriter",
    "probe",
    "read_video",
    "stream_video",
    "write_video",
]

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".webm", ".wmv",
})
# fmt: on


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file says about its video stream, and when its first frame is shown."""

    path: Path
    container: str
    codec: str
    pixel_format: str
    width: int  # pixels, as coded, before rotation
    height: int  # pixels, as coded, before rotation
    rotation: int  # degrees counterclockwise that bring the coded frame upright
    declared_frames: int  # 0 when the container does not say
    fps: float  # Hz, average; 0 when unknown
    duration: float  # s, as declared; 0 when unknown
    start: float  # s, presentation time of the first frame
    tick: Fraction  # s, unit of the time stamps


@dataclass(frozen=True, kw_only=True)
class Video:
    """Decoded frames with their times."""

    frames: UInt8[Tensor, "c t h w"]
    times: Float64[Tensor, " t"]  # s from the first frame of the file, increasing
    info: VideoInfo
    problem: str | None = None  # why frames are missing at the end, in words


def probe(path: str | Source) -> VideoInfo:
    """Read what a file declares, and decode its first frame.

    Raises:
        FileNotFoundError: no such file.
        VideoError: no frame can be read.
    """
    name, source = name_of(path), Path(path) if isinstance(path, str) else path
    with opened(source) as (container, stream):
        return describe(name, container, stream, first_frame(name, decoded(container, stream)))


def describe(path: Path, container: Any, stream: Any, first: Any) -> VideoInfo:
    """Collect the facts of an open stream; `first` is its first frame."""
    codec = stream.codec_context
    duration = 0.0
    if stream.duration is not None:
        duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration = container.duration / 1e6
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=codec.name,
        pixel_format=codec.format.name if codec.format else first.format.name,
        width=codec.width,
        height=codec.height,
        rotation=first.rotation,
        declared_frames=stream.frames,
        fps=float(stream.average_rate or 0),
        duration=duration,
        start=0.0 if first.pts is None else float(first.pts * stream.time_base),
        tick=stream.time_base,
    )


def read_video(
    path: str | Source,
    *,
    start: float = 0.0,
    end: float | None = None,
    size: int | tuple[int, int] | None = None,
    gray: bool = False,
) -> Video:
    """Read the frames with start <= time < end; only the span (from its key frame) is decoded.

    A damaged file gives the frames before the damage, and `problem` says so.

    Args:
        start: s from the first frame.
        end: s from the first frame; None reads to the end.
        size: pixels; (height, width), or the length of the shorter side. Frames are scaled
            by an antialiased bilinear filter on uint8, up as well as down.
        gray: one channel instead of red, green, blue.

    Raises:
        FileNotFoundError: no such file.
        VideoError: no frame of the span can be read.
    """
    parts = list(stream_video(path, start=start, end=end, size=size, gray=gray))
    if len(parts) == 1:
        return parts[0]
    return Video(
        frames=torch.cat([p.frames for p in parts], dim=1),
        times=torch.cat([p.times for p in parts]),
        info=parts[0].info,
        problem=parts[-1].problem,
    )


def stream_video(
    path: str | Source,
    *,
    chunk: int = 64,
    start: float = 0.0,
    end: float | None = None,
    size: int | tuple[int, int] | None = None,
    gray: bool = False,
) -> Iterator[Video]:
    """Read like `read_video`, `chunk` frames at a time; only the last part tells a problem.

    Args:
        chunk: most frames in one part; all but the last part have exactly so many.
    """
    name, source = name_of(path), Path(path) if isinstance(path, str) else path
    _check_request(chunk, start, end, size)
    with opened(source) as (container, stream):
        frames = decoded(container, stream)
        first = first_frame(name, frames)
        info = describe(name, container, stream, first)
        frames = frames_from(source, (container, stream), first, frames, start)
        images: list[Tensor] = []
        times: list[float] = []
        whole, count, last, problem = start <= 0, 0, 0.0, None
        try:
            for time, frame in timed(frames, first, stream):
                last = time
                if end is not None and time >= end - NEAR:
                    whole = False
                    break
                count += 1
                check_frames(name, count)
                if time < start - NEAR:
                    continue
                if len(images) == chunk:
                    yield _video(images, times, info, None)
                    images, times = [], []
                shape = images[0].shape if images else None
                images.append(image_of(frame, gray, size, shape))
                times.append(time)
        except av.FFmpegError as err:
            problem = f"decoding fails after {count} frames ({type(err).__name__})"
        if whole and problem is None:
            problem = _loss(source, info.declared_frames, count)
        if not images:
            raise VideoError(_no_frames(name, start, end, last, problem))
        yield _video(images, times, info, problem)


def _loss(source: Source, declared: int, count: int) -> str | None:
    if count < declared:
        declared -= hidden_frames(source)
    return f"silent loss: {declared} frames declared, {count} decoded" if count < declared else None


def _check_request(chunk: int, start: float, end: float | None, size: Any) -> None:
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}: at least 1 frame is wanted")
    if not math.isfinite(start) or start < 0 or (end is not None and not end > start):
        raise ValueError(f"span from {start!r} to {end!r} s: wanted 0 <= start < end")
    if size is not None and np.min(size) < 1:
        raise ValueError(f"size is {size!r}: wanted pixels >= 1, a short side or (height, width)")


def _no_frames(path: Path, start: float, end: float | None, last: float, why: str | None) -> str:
    if why:
        return f"{path}: {why}, none of them in the span asked for; re-encode it or leave it out"
    upto = "the end" if end is None else f"{end:g} s"
    return (
        f"{path}: no frame from {start:g} s to {upto}; the frames read end at {last:.3f} s: "
        "correct start and end"
    )


def image_of(
    frame: Any, gray: bool, size: int | tuple[int, int] | None, shape: Any
) -> UInt8[Tensor, "c h w"]:
    """Turn one decoded frame upright, to 8 bits per channel and to its size."""
    check_pixels("the video", frame.width, frame.height)  # any frame may have a size of its own
    # one thread: swscale's own cost more than they bring, and must not be forked
    array = frame.to_ndarray(format="gray" if gray else "rgb24", threads=1)
    array = upright(array.reshape(frame.height, frame.width, -1), frame)
    image = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
    height, width = image.shape[1:]
    if isinstance(size, int):
        scale = size / min(height, width)
        size = (round(height * scale), round(width * scale))
        check_scaled((height, width), size)
    if shape is not None:  # a stream may change its size on the way: the first one holds
        size = (shape[1], shape[2])
    if size is None or tuple(size) == (height, width):
        return image
    return functional.interpolate(image[None], tuple(size), mode="bilinear", antialias=True)[0]


def _video(images: list[Tensor], times: list[float], info: VideoInfo, why: str | None) -> Video:
    return Video(
        frames=torch.stack(images, dim=1),
        times=torch.tensor(times, dtype=torch.float64),
        info=info,
        problem=why,
    )
