"""The clip that a network sees of a stretch of video, with its times and its place in the frame."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.cache import Frames
from pseudo3d.data.dataset import ClipSpec, view_indices
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import center_crop
from pseudo3d.data.video import read_video

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Footage:
    """The middle one of the clips that can be taken from a stretch of video."""

    clip: UInt8[Tensor, "c t h w"]  # as read, cropped
    times: Float[Tensor, " t"]  # s from the video's first frame
    box: Box  # top, left, bottom, right of the crop, as parts of the frame's sides


def footage(path: str | Path, pre: Preprocessing, span: tuple[float, float]) -> Footage:
    """Read a stretch of video and take the clip out of it that `predict` would, seen once.

    Raises:
        VideoError: the video cannot be read, or holds nothing in the span.
    """
    video = read_video(path, start=span[0], end=span[1], size=pre.resize, gray=pre.color == "gray")
    frames = Frames(pixels=video.frames.numpy(), times=video.times)
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=1)
    (index,) = view_indices(frames.times, spec)
    clip = center_crop(frames.take(index), pre.size)
    return Footage(clip=clip, times=video.times[index], box=_box(video.frames.shape[2:], pre.size))


def _box(frame: torch.Size, crop: tuple[int, int]) -> Box:
    """Where the middle of a frame lies; a border that was filled up lies outside, below 0."""
    starts = [
        (have - want) // 2 if have >= want else -((want - have) // 2)
        for have, want in zip(frame, crop, strict=True)
    ]
    ends = [start + want for start, want in zip(starts, crop, strict=True)]
    (top, left), (bottom, right), (height, width) = starts, ends, frame
    return top / height, left / width, bottom / height, right / width
