"""Tasks for `Isolated`: videos of strangers, read in a process of their own."""

from pathlib import Path
from typing import Any

from pseudo3d.data.video import read_video


def frames(path: Path, **how: Any) -> dict[str, Any]:
    """What `read_video` gives, as plain values: frames (C, T, H, W), times, fps, problem.

    Args:
        how: start, end, size, gray, as of `read_video`.
    """
    found = read_video(path, **how)
    return {
        "frames": found.frames.numpy(),
        "times": found.times.numpy(),
        "fps": found.info.fps,
        "problem": found.problem,
    }
