"""Videos to measure on where there are no others: little people, with close key frames."""

from pathlib import Path

import numpy as np
import torch

from pseudo3d.data.rendered.motions import CLASSES, render_clip
from pseudo3d.data.writer import VideoWriter

GOP = 12  # frames, as `p3d pack` writes


def render(folder: Path, count: int = 12, side: int = 256) -> Path:
    """Write videos of 1 to 3 s, one folder per class.

    Args:
        side: pixels, height and width.
    """
    for i in range(count):
        label = CLASSES[i % len(CLASSES)]
        clip = render_clip(label, person=i, size=side)
        frames = torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(3, 0, 1, 2)
        path = folder / label / f"{i:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(path, clip.fps, gop=GOP) as writer:
            writer.write(frames)
    return folder
