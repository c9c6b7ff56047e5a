"""What a decoder does with a video: check it against the limits, and cut it as `predict` does.

Runs in a process of its own; what comes in is not trusted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from pseudo3d.data.cache import Frames
from pseudo3d.data.dataset import ClipSpec, view_indices
from pseudo3d.data.decode import ANY_TEXT, decoded, first_frame
from pseudo3d.data.pick import file_frames, index_file
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import stream_video
from pseudo3d.engine.windows import Cutter, Piece, Window, Windows
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Limits
from pseudo3d.serve.wire import Message

_CHUNK = 32  # frames decoded before the limits are looked at again
_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0"}  # a file must not open others
_MARKS: tuple[tuple[int, bytes, str], ...] = (  # place, bytes, FFmpeg's name of the container
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
    (4, b"skip", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (0, b"FLV\x01", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"GIF8", "gif"),
    (0, b"\x30\x26\xb2\x75", "asf"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
)


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How videos are cut: what the network takes, how it was trained, what was asked for."""

    pre: Preprocessing
    plan: Windows
    trained: tuple[float, float]  # s: typical and longest clip
    limits: Limits

    @property
    def spec(self) -> ClipSpec:
        """Of one window's clips."""
        return ClipSpec(preprocessing=self.pre, canvas=self.pre.size)


@dataclass(frozen=True)
class _Facts:
    """What a file declares."""

    fps: float
    height: int  # pixels, upright
    width: int


def cut(path: Path, how: Cutting) -> Iterator[Message]:
    """Windows of a video as bytes: one message for the file, one per window, one for the end.

    Raises:
        Problem: the file is no video, or goes beyond a limit.
        VideoError: it cannot be read.
    """
    facts = _checked(path, how.limits)
    yield Message({"type": "video", "fps": facts.fps, "height": facts.height, "width": facts.width})
    fps = facts.fps or 25.0
    cutter = Cutter(how.plan, how.trained, how.pre, fps)
    picked = _picked(path, how, cutter)
    if picked is not None:
        window, times = picked
        yield _message(window, times, how)
        yield _end(times, None)
        return
    times = []
    for window in cutter.cut(_pieces(path, how, times)):
        yield _message(window, times, how)
    if "MemoryError" in (cutter.problem or ""):  # no fault of the file's end
        raise MemoryError
    yield _end(times, cutter.problem)


def _picked(path: Path, how: Cutting, cutter: Cutter) -> tuple[Window, list[float]] | None:
    """The only window of a short video, from the frames it needs alone."""
    if how.pre.sampling != "uniform" or (index := index_file(path)) is None:
        return None
    frames = file_frames(path, index, size=how.pre.resize, gray=how.pre.color == "gray")
    if frames is None:
        return None
    _check_length(len(frames.times), float(frames.times[-1]), how.limits)
    window = cutter.only(frames)
    return None if window is None else (window, frames.times.tolist())


def _pieces(path: Path, how: Cutting, times: list[float]) -> Iterator[Piece]:
    """Frames in pieces; every one is held against the limits before it is cut."""
    pre = how.pre
    for video in stream_video(path, chunk=_CHUNK, size=pre.resize, gray=pre.color == "gray"):
        times += video.times.tolist()
        _check_length(len(times), times[-1], how.limits)
        yield Piece(Frames(pixels=video.frames.numpy(), times=video.times), video.problem)


def _check_length(frames: int, seconds: float, limits: Limits) -> None:
    if frames > limits.frames:
        raise Problem(
            "too_large",
            f"the video has more than {limits.frames} frames, the most this service takes; send "
            "a part of it",
        )
    if not seconds <= limits.seconds:
        raise Problem(
            "too_large",
            f"the video lasts {seconds:.0f} s, this service takes {limits.seconds:g} s; send a "
            "part of it",
        )


def _checked(path: Path, limits: Limits) -> _Facts:
    """Look at the first bytes and the headers; nothing is decoded before they are in order."""
    container = _container(path)
    options = {**_OPTIONS, "max_pixels": str(limits.pixels)}
    try:
        with av.open(str(path), options=options, **ANY_TEXT) as file:
            return _facts(path, file, limits)
    except (av.FFmpegError, UnicodeError) as err:
        raise Problem(
            "unreadable",
            f"{path} begins like {container} but cannot be opened ({type(err).__name__}): damaged "
            "or cut short; convert it with ffmpeg and send that",
        ) from err


def _facts(path: Path, file: Any, limits: Limits) -> _Facts:
    """What an open file declares, within the limits; its first frame tells how it is turned."""
    if not file.streams.video:
        raise Problem("unreadable", f"{path} holds no video stream; send a video")
    stream = file.streams.video[0]
    if stream.codec_context is None:
        raise Problem(
            "unreadable", f"{path} holds a kind of video unknown here; convert it (ffmpeg)"
        )
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    _check_length(stream.frames, seconds if math.isfinite(seconds) else 0.0, limits)
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= limits.pixels:
        told = f"of {width} x {height} pixels" if width * height else "without a size, or larger"
        raise Problem(
            "too_large",
            f"{path} has frames {told}, this service takes {limits.pixels} pixels; scale it down",
        )
    stream.thread_type = "NONE"
    turned = first_frame(path, decoded(file, stream)).rotation % 180 != 0
    return _Facts(
        float(stream.average_rate or 0), *((width, height) if turned else (height, width))
    )


def _container(path: Path) -> str:
    """The kind of container by the first bytes: FFmpeg is not asked about anything else.

    It would follow a playlist to other files, and take text for a film of letters.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        raise Problem("unreadable", f"{path} is empty (0 bytes); send the file again")
    for place, mark, name in _MARKS:
        if head[place : place + len(mark)] == mark:
            return name
    if any(_ticks(head, start, packet) for packet in (188, 192, 204) for start in range(packet)):
        return "mpegts"
    raise Problem(
        "unreadable",
        f"{path} is no video: it begins with {head[:8]!r}; send MP4, MOV, MKV, WebM, AVI, MPEG, "
        "FLV, OGG, WMV or GIF",
    )


def _ticks(head: bytes, start: int, packet: int) -> bool:
    """Whether the sync byte of an MPEG transport stream comes packet after packet."""
    found = head[start::packet]
    return len(found) >= 4 and set(found) == {0x47}


def _message(window: Window, times: list[float], how: Cutting) -> Message:
    clips = torch.stack(window.clips)
    start, end = window.span
    return Message(
        {
            "type": "window",
            "start": start,
            "end": end,
            "shape": list(clips.shape),
            "times": _middle_times(times, window, how),
        },
        clips.numpy().tobytes(),
    )


def _middle_times(times: list[float], window: Window, how: Cutting) -> list[float]:
    """When the frames of the window's middle clip are shown, s."""
    start, end = window.span
    inside = [t for t in times if start - 1e-6 <= t < end - 1e-6]
    inside = inside or [max((t for t in times if t <= start), default=times[0])]
    spec = ClipSpec(preprocessing=how.pre, canvas=how.pre.size, views=len(window.clips))
    shown = torch.tensor(inside, dtype=torch.float64)
    index: Tensor = view_indices(shown, spec)[len(window.clips) // 2]
    return [float(t) for t in shown[index]]


def _end(times: list[float], problem: str | None) -> Message:
    frame = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.04
    return Message(
        {
            "type": "end",
            "frames": len(times),
            "duration": times[-1] + frame,
            "problem": problem,
        }
    )
