"""Cut a long recording into one short video per segment."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from pseudo3d.data.video import Video, stream_video
from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.detection import Span

_CHUNK = 16  # frames in memory at a time


@dataclass
class _Part:
    """A segment on its way to its file."""

    path: Path
    start: float  # s
    end: float  # s
    stack: ExitStack | None = None
    writer: VideoWriter | None = None
    first: float = 0.0  # s, time of its first frame


def cut_video(
    path: str | Path,
    segments: Sequence[Span],
    folder: str | Path,
    *,
    margin: float = 0.0,
    name: str | None = None,
) -> list[Path]:
    """Write every segment as `NAME_NUMBER_LABEL.mp4`, in one pass over the recording.

    Frames keep their times; sound is left out. Segments may overlap. A file appears only when it is
    complete, and one without a frame is not written.

    Args:
        margin: s, shown before and after each segment, too.
        name: of the files; None takes the recording's stem. Recordings of one stem in several
            folders need names of their own, or their segments replace each other.
    Returns:
        The files, in order of the segments' start.
    Raises:
        Pseudo3dError: the margin is no length.
        VideoError: the recording cannot be read, or a part cannot be written.
    """
    if not 0 <= margin < float("inf"):
        raise Pseudo3dError(f"margin is {margin!r}; wanted seconds, 0 or more")
    path, folder = Path(path), Path(folder)
    parts = [
        _Part(folder / _file(name or path.stem, n, s.label), s.start - margin, s.end + margin)
        for n, s in enumerate(sorted(segments, key=lambda s: s.start), start=1)
    ]
    if not parts:
        return []
    waiting, written = list(parts), list[_Part]()
    videos = stream_video(path, chunk=_CHUNK)
    first = next(videos)
    with ExitStack() as all_:
        for video in chain([first], videos):
            for part in list(waiting):
                _feed(part, video, first, all_)
                if float(video.times[-1]) >= part.end:
                    waiting.remove(part)
                    _close(part, written)
            if not waiting:
                break
        for part in waiting:
            _close(part, written)
    return [part.path for part in parts if part in written]


def _feed(part: _Part, video: Video, first: Video, all_: ExitStack) -> None:
    """Write the frames of a chunk that belong to a part."""
    inside = (video.times >= part.start) & (video.times < part.end)
    if not inside.any():
        return
    times = video.times[inside]
    if part.writer is None:
        info = first.info
        part.stack = all_.enter_context(ExitStack())
        writer = VideoWriter(part.path, info.fps or 25.0, tick=info.tick)
        part.writer, part.first = part.stack.enter_context(writer), float(times[0])
    part.writer.write(torch.as_tensor(video.frames[:, inside]), times - part.first)


def _close(part: _Part, written: list[_Part]) -> None:
    """Finish the file of a part."""
    if part.stack is not None:
        part.stack.close()
        written.append(part)


def _file(name: str, number: int, label: str) -> str:
    return f"{name}_{number:03d}_{re.sub(r'[^-.0-9A-Za-z_]+', '_', label) or 'segment'}.mp4"
