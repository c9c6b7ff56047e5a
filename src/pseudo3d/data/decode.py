"""Open a video file and decode its frames in time order; what `video` and `survey` share."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from numpy.typing import NDArray

from pseudo3d.errors import VideoError

NEAR = 1e-6  # s; a span written as a rounded decimal still meets its frame
LOOSE = {"avi", "mpeg"}  # containers without presentation times: after a seek they are guessed anew


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file; give its container and its video stream (None when it has none).

    Raises:
        FileNotFoundError: no such file.
        av.FFmpegError: not a file FFmpeg can open.
    """
    with av.open(str(path), metadata_errors="replace") as container:
        pictures = Disposition.attached_pic  # the cover of an audio file is no video
        streams = [s for s in container.streams.video if not s.disposition & pictures]
        stream = streams[0] if streams and container.format.name != "tty" else None
        if stream is not None:
            stream.thread_type = "NONE"
        yield container, stream


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """`open_stream` with the errors of a user: one sentence with the way out."""
    if path.is_dir():
        raise VideoError(f"{path} is a folder, not a video: give a file, or scan the folder")
    if path.exists() and not path.stat().st_size:
        raise VideoError(f"{path} is empty (0 bytes): copy it again, or leave it out")
    try:
        with open_stream(path) as (container, stream):
            if stream is None:
                raise VideoError(f"{path} holds no video stream: leave it out")
            yield container, stream
    except av.FFmpegError as err:
        if isinstance(err, FileNotFoundError):
            raise
        raise VideoError(
            f"{path} cannot be opened as a video ({type(err).__name__}): damaged, cut short or "
            "no video; convert it with ffmpeg, or leave it out"
        ) from err


def first_frame(path: Path, frames: Iterator[Any]) -> Any:
    """Decode one frame, or say that there is none."""
    try:
        return next(frames)
    except (av.FFmpegError, StopIteration) as err:
        raise VideoError(
            f"{path}: no frame can be decoded ({type(err).__name__}): damaged or cut short; "
            "re-encode it with ffmpeg, or leave it out"
        ) from err


def timed(frames: Iterator[Any], first: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """Give each frame its time from the first one; times increase."""
    origin, tick, step = first.pts or 0, stream.time_base, 1 / float(stream.average_rate or 25)
    last = -math.inf
    for frame in frames:
        time = last if frame.pts is None else float((frame.pts - origin) * tick)
        if time <= last + NEAR:  # no time stamp, or one that damage has put out of order
            time = max(last + step, 0.0)
        last = time
        yield time, frame


def frames_from(container: Any, stream: Any, first: Any, rest: Iterator[Any], start: float) -> Any:
    """Decode from the key frame before `start`, or from the first frame if none is sure."""
    target = (first.pts or 0) + int(start / stream.time_base)
    loose = first.pts is None or container.format.name in LOOSE
    if loose or target <= first.pts:
        yield first
        yield from rest
    elif sought := _sought(container, stream, first.pts, target):
        yield from sought
    else:  # the seek has spoiled this container
        with open_stream(Path(container.name)) as (fresh, begin):
            yield from fresh.decode(begin)


def _sought(container: Any, stream: Any, origin: int, target: int) -> Iterator[Any] | None:
    """Seek; None unless a key frame at or before `target` comes out first."""
    with suppress(av.FFmpegError, StopIteration, OverflowError):
        container.seek(target, stream=stream, backward=True)
        frames = container.decode(stream)
        frame = next(frames)
        if frame.key_frame and frame.pts is not None and origin <= frame.pts <= target:
            return chain([frame], frames)
    return None


def upright(array: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
    """Turn (and mirror) an (H, W, C) image as the display matrix of its frame says."""
    # not frame.side_data: it and the frame hold each other, so that hundreds of frames would wait
    # in memory for the garbage collector
    matrix = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # PyAV's lack
    return array if matrix is None else turned(array, matrix)


def turned(array: NDArray[np.uint8], matrix: Any) -> NDArray[np.uint8]:
    """Turn (and mirror) an (H, W, C) image by a display matrix, nine 32-bit numbers as bytes."""
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()  # x' = ax + cy, y' = bx + dy
    if abs(b) > abs(a):
        array, a, d = array.swapaxes(0, 1), c, b
    return array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
