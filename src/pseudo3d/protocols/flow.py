"""Optical flow as video: computed once, stored without loss, read like any other video.

A flow frame holds the horizontal motion in its red channel and the vertical one in the green:
128 is rest, one pixel is 127 / 20 steps, more than 20 pixels are cut off.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from pseudo3d.data.video import probe, stream_video
from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import require
from pseudo3d.protocols.base import Entry, Progress

BOUND = 20.0  # pixels
Gray = UInt8[np.ndarray, "h w"]
Compute = Callable[[Gray, Gray], Float[np.ndarray, "h w 2"]]


def dis() -> Compute:
    """Dense inverse search (Kroeger et al., ECCV 2016), as OpenCV has it.

    Raises:
        ImportError: OpenCV is not installed.
    """
    cv2 = require("cv2", "flow")
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return lambda before, after: solver.calc(before, after, None)


def flow_video(source: Path, out: Path, size: int, compute: Compute | None = None) -> Path:
    """Write the flow of a video whose shorter side is scaled to `size`; done before: nothing.

    The last frame is shown twice, so that flow and video have the same frames and times.
    """
    if out.exists():
        return out
    compute = compute or dis()
    info = probe(source)
    with VideoWriter(out, info.fps or 25.0, lossless=True, tick=info.tick) as writer:
        last: Gray | None = None
        coded: torch.Tensor | None = None
        times: list[float] = []
        for part in stream_video(source, size=size, gray=True):
            for image, time in zip(part.frames[0].numpy(), part.times.tolist(), strict=True):
                if last is not None:
                    coded = _coded(compute(last, image))
                    writer.write(coded, torch.tensor(times[-1:], dtype=torch.float64))
                last = image
                times.append(time)
        if coded is None:  # one frame
            height, width = (0, 0) if last is None else last.shape
            coded = _coded(np.zeros((height, width, 2), np.float32))
        writer.write(coded, torch.tensor(times[-1:], dtype=torch.float64))
    return out


def _coded(flow: Float[np.ndarray, "h w 2"]) -> UInt8[torch.Tensor, "3 1 h w"]:
    steps = np.rint(np.clip(flow, -BOUND, BOUND) * (127 / BOUND) + 128).astype(np.uint8)
    rest = np.full_like(steps[..., :1], 128)
    return torch.from_numpy(np.concatenate([steps, rest], axis=2)).permute(2, 0, 1)[:, None]


def flow_entries(
    entries: Sequence[Entry],
    folder: Path,
    size: int,
    compute: Compute | None = None,
    progress: Progress | None = None,
) -> tuple[Entry, ...]:
    """The same entries with their flow in place of their video, computed where it is not there."""
    out = []
    for done, entry in enumerate(entries, start=1):
        source = entry.item.path
        stat = source.stat()
        key = repr((str(source.resolve()), stat.st_size, stat.st_mtime_ns, size)).encode()
        name = f"{source.stem}-{hashlib.sha256(key).hexdigest()[:12]}.mp4"
        out.append(replace(entry, path=flow_video(source, folder / name, size, compute)))
        if progress is not None:
            progress(done, len(entries))
    return tuple(out)
