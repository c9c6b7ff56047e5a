"""Open a video file and decode its frames in time order; what `video` and `survey` share."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from numpy.typing import NDArray

from pseudo3d.data.limits import check_pixels, most_pixels
from pseudo3d.errors import VideoError

NEAR = 1e-6  # s; a span written as a rounded decimal still meets its frame
_ALONE = {"protocol_whitelist": "file"}  # a playlist leads nowhere: no network, no other files
# Titles that are no UTF-8 are no errors; PyAV 19 always does so and lost the option.
ANY_TEXT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
_ALIGNED = 2**22  # pixels
_LISTS = {"concat", "dash", "hls", "tty"}  # what FFmpeg takes texts for
LOOSE = {"avi", "mpeg"}  # containers without presentation times: after a seek they are guessed anew


@dataclass(frozen=True)
class Blob:
    """A video that is no file of its own: its bytes, and the name it is spoken of by."""

    path: Path
    data: bytes = field(repr=False)


Source = Path | Blob


def name_of(source: str | Source) -> Path:
    """What a video is called."""
    return source.path if isinstance(source, Blob) else Path(source)


def size_of(source: Source) -> int | None:
    """Bytes; None where there is no such file."""
    if isinstance(source, Blob):
        return len(source.data)
    return source.stat().st_size if source.exists() else None


@contextmanager
def open_stream(source: Source) -> Iterator[tuple[Any, Any]]:
    """Open a file; give its container and its video stream (None when it has none).

    Raises:
        FileNotFoundError: no such file.
        av.FFmpegError: not a file FFmpeg can open.
        VideoError: larger frames than are allowed.
    """
    file = BytesIO(source.data) if isinstance(source, Blob) else str(source)
    with av.open(file, options=dict(_ALONE), **ANY_TEXT) as container:
        pictures = Disposition.attached_pic  # the cover of an audio file is no video
        streams = [s for s in container.streams.video if not s.disposition & pictures]
        stream = streams[0] if streams and container.format.name not in _LISTS else None
        if stream is not None:
            stream.thread_type = "NONE"
            _limit(name_of(source), stream.codec_context)
        yield container, stream


def _limit(path: Path, codec: Any) -> None:
    """Hold a decoder to frames of a size; None is a codec that FFmpeg does not know."""
    if codec is not None:
        check_pixels(path, codec.width, codec.height)
        # FFmpeg itself keeps to it where frames are larger than the header says; it counts what it
        # aligns rows to
        codec.options = {**codec.options, "max_pixels": str(most_pixels() + _ALIGNED)}


@contextmanager
def opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """`open_stream` with the errors of a user: one sentence with the way out."""
    path = name_of(source)
    if not isinstance(source, Blob) and path.is_dir():
        raise VideoError(f"{path} is a folder, not a video: give a file, or scan the folder")
    if size_of(source) == 0:
        raise VideoError(f"{path} is empty (0 bytes): copy it again, or leave it out")
    try:
        with open_stream(source) as (container, stream):
            if stream is None:
                raise VideoError(f"{path} holds no video stream: leave it out")
            if stream.codec_context is None:
                raise VideoError(f"{path} is coded in a way unknown here: convert it with ffmpeg")
            yield container, stream
    except av.FFmpegError as err:
        if isinstance(err, FileNotFoundError):
            raise
        raise VideoError(
            f"{path} cannot be opened as a video ({type(err).__name__}): damaged, cut short or "
            "no video; convert it with ffmpeg, or leave it out"
        ) from err


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream.

    A file may begin another stream on its way. PyAV does not know it, and ends with an IndexError
    at its first packet, which is read then; the rest of the file is there.
    """
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:
            continue
        return


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    """The frames of a stream."""
    for packet in packets(container, stream):
        yield from packet.decode()


def hidden_frames(source: Source) -> int:
    """Frames in the file that its edit list does not show, as a trim without re-encoding leaves.

    Raises:
        VideoError: the file cannot be opened.
    """
    with opened(source) as (container, stream):
        return sum(packet.is_discard for packet in packets(container, stream))


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


def frames_from(
    source: Source, opened: tuple[Any, Any], first: Any, rest: Iterator[Any], start: float
) -> Any:
    """Decode from the key frame before `start`, or from the first frame if none is sure."""
    container, stream = opened
    target = (first.pts or 0) + int(start / stream.time_base)
    loose = first.pts is None or container.format.name in LOOSE
    if loose or target <= first.pts:
        yield first
        yield from rest
    elif sought := _sought(container, stream, first.pts, target):
        yield from sought
    else:  # the seek has spoiled this container
        with open_stream(source) as (fresh, begin):
            yield from decoded(fresh, begin)


def _sought(container: Any, stream: Any, origin: int, target: int) -> Iterator[Any] | None:
    """Seek; None unless a key frame at or before `target` comes out first."""
    with suppress(av.FFmpegError, StopIteration, OverflowError):
        container.seek(target, stream=stream, backward=True)
        frames = decoded(container, stream)
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
