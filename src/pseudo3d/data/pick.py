"""Read single frames of a video by number, and decode no more than that takes.

The packets of a file say when its frames are shown without decoding any; a wanted frame then costs
the frames from its key frame on. Where packets cannot be trusted, the file is read whole.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from pseudo3d.data.decode import (
    LOOSE,
    NEAR,
    Source,
    decoded,
    name_of,
    opened,
    packets,
    size_of,
)
from pseudo3d.data.sampling import nearest
from pseudo3d.data.video import image_of, read_video

_log = logging.getLogger(__name__)
# One packet is one shown frame; other codecs hide frames or code two at once.
_PLAIN = {"av1", "ffv1", "h264", "hevc", "mjpeg", "vp9"}
_LARGEST = 2**28  # bytes of a file whose packets are read through, a quarter of a second


@dataclass(frozen=True, kw_only=True)
class Index:
    """When the frames of a file are shown, in ticks of its clock."""

    stamps: Int64[np.ndarray, " n"]  # increasing
    keys: Int64[np.ndarray, " k"]  # numbers of the key frames
    tick: Fraction  # s

    @property
    def times(self) -> Float64[Tensor, " n"]:
        """Seconds from the first frame, the same numbers as decoding gives."""
        first, tick = int(self.stamps[0]), self.tick
        ticks = (self.stamps - first).tolist()
        return torch.tensor([float(t * tick) for t in ticks], dtype=torch.float64)


def index_file(path: Source) -> Index | None:
    """Read the time stamps of all packets; None where only decoding tells what is shown when.

    Raises:
        VideoError: the file cannot be opened.
    """
    if (size_of(path) or 0) > _LARGEST:
        return None
    with opened(path) as (container, stream):
        if container.format.name in LOOSE or stream.codec_context.name not in _PLAIN:
            return None
        stamps, keys = [], []
        try:
            for packet in packets(container, stream):
                if packet.size == 0:  # the end
                    continue
                if packet.pts is None or packet.is_corrupt or packet.is_discard:
                    return None
                stamps.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except av.FFmpegError:
            return None
        tick, declared = stream.time_base, stream.frames
    shown = np.array(sorted(stamps), dtype=np.int64)
    steps = np.diff(shown)
    if not keys or (len(steps) and steps.min() * tick <= NEAR):
        return None
    if declared not in (0, len(shown)) or shown[0] != min(keys):
        return None
    return Index(stamps=shown, keys=np.searchsorted(shown, sorted(keys)), tick=tick)


@dataclass(frozen=True, kw_only=True)
class FileFrames:
    """Frames that are still in their file; `take` decodes those it is asked for."""

    path: Source
    index: Index
    first: int  # number in the file of the first frame
    times: Float64[Tensor, " t"]  # s from the file's first frame
    size: int  # pixels, the shorter side
    gray: bool

    @property
    def pixels(self) -> UInt8[np.ndarray, "c t h w"]:
        """All of them."""
        return self.take(torch.arange(len(self.times))).numpy()

    def take(self, index: Tensor) -> UInt8[Tensor, "c t h w"]:
        """Frames by number, repeats allowed."""
        return self.clips([index])[0]

    def clips(self, indices: Sequence[Tensor]) -> list[UInt8[Tensor, "c t h w"]]:
        """Several clips from one decoding."""
        found = self.picked(indices)
        if found is None:  # the packets promised frames that do not come
            whole = read_video(self.path, size=self.size, gray=self.gray)
            shown = self._instead(whole.times)
            found = [whole.frames[:, shown[index]] for index in indices]
        return found

    def _instead(self, times: Float64[Tensor, " n"]) -> Int64[Tensor, " m"]:
        """For each frame that was promised the number of one of those that came.

        Where the end is missing, the same share of what is there: not its last frame again and
        again.
        """
        came = int((times < float(self.times[-1]) + NEAR).sum())
        first = int((times < float(self.times[0]) - NEAR).sum())
        if float(times[-1]) >= float(self.times[-1]) - NEAR or came <= first:
            return nearest(times, self.times)
        _log.warning(
            "%s: %d of %d frames decode; clips are taken from those",
            name_of(self.path), came - first, len(self.times),
        )  # fmt: skip
        return torch.linspace(first, came - 1, len(self.times)).round().long()

    def picked(self, indices: Sequence[Tensor]) -> list[UInt8[Tensor, "c t h w"]] | None:
        """`clips`, or None where the file does not hold what its packets promise."""
        wanted = torch.unique(torch.cat(list(indices)))
        images = pick(self, (wanted + self.first).tolist())
        if images is None:
            return None
        return [images[:, torch.searchsorted(wanted, index)] for index in indices]


def file_frames(
    path: Source,
    index: Index,
    span: tuple[float | None, float | None] = (None, None),
    *,
    size: int,
    gray: bool = False,
) -> FileFrames | None:
    """The frames with start <= time < end, still in their file; None when there are none."""
    start, end = span
    times = index.times
    first = int((times < (start or 0.0) - NEAR).sum())
    stop = len(times) if end is None else int((times < end - NEAR).sum())
    if stop <= first:
        return None
    kept = times[first:stop]
    return FileFrames(path=path, index=index, first=first, times=kept, size=size, gray=gray)


def pick(frames: FileFrames, numbers: Sequence[int]) -> UInt8[Tensor, "c t h w"] | None:
    """Decode the frames with these increasing numbers; None if one of them does not come."""
    index, found = frames.index, list[Tensor]()
    last = len(index.stamps)  # number of the frame that was decoded last
    coming: Any = iter(())
    with opened(frames.path) as (container, stream):
        try:
            for number in numbers:
                stamp = int(index.stamps[number])
                key = index.keys[np.searchsorted(index.keys, number, side="right") - 1]
                jump = last > number or key > last + 1
                if jump:
                    container.seek(stamp, stream=stream, backward=True)
                    coming = decoded(container, stream)
                frame = next(coming)
                if jump and not frame.key_frame:
                    return None
                while frame.pts is not None and frame.pts < stamp:
                    frame = next(coming)
                if frame.pts != stamp:
                    return None
                shape = found[0].shape if found else None
                found.append(image_of(frame, frames.gray, frames.size, shape))
                last = number
        except (av.FFmpegError, StopIteration):
            return None
    return torch.stack(found, dim=1)
