"""Which frames of a video make a clip.

Two ways: `uniform` spreads a clip's frames over the whole video (short actions of any length);
`dense` takes consecutive frames, counted (`step`) or timed (`fps`), as the P3D paper does. A video
too short for its clip repeats its last frame. Random draws come from the generator that is given.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Generator, Tensor

Indices = Int64[Tensor, " t"]


def uniform(total: int, frames: int, view: int = 0, views: int = 1) -> Indices:
    """One frame from each of `frames` equal parts; each view looks elsewhere within the parts.

    Symmetric: the views of a reversed video are the reversed views, but for the one frame in the
    middle where `frames` and `views` are odd and `total` is even.

    Args:
        total: frames of the video.
    """
    part = 2 * views * frames  # whole numbers of 1 / part of a frame, so that nothing is rounded
    at = (2 * (torch.arange(frames) * views + view) + 1) * total
    lower, upper = at // part, total - 1 - (total * part - at) // part
    return torch.where(2 * at < total * part, lower, upper).clamp(0, total - 1)


def uniform_random(total: int, frames: int, least: float, rng: Generator) -> Indices:
    """`uniform` over a random part of the video, at least the fraction `least`, with jitter.

    Half the draws move every frame within its part, half shift all frames together: changes of
    speed beside changes of start.
    """
    part, start, together = torch.rand(3, generator=rng).tolist()
    span = (least + (1 - least) * part) * total
    within = torch.rand(frames, generator=rng)
    if together < 0.5:
        within = torch.full((frames,), 2 * together)
    at = start * (total - span) + (torch.arange(frames) + within) * span / frames
    return at.long().clamp(0, total - 1)


def dense(total: int, frames: int, step: int, view: int = 0, views: int = 1) -> Indices:
    """Every `step`-th frame; the views' starts are spread evenly over the video."""
    room = max(total - (frames - 1) * step - 1, 0)
    start = room / 2 if views == 1 else room * view / (views - 1)
    return (round(start) + torch.arange(frames) * step).clamp(max=total - 1)


def dense_random(total: int, frames: int, step: int, rng: Generator) -> Indices:
    """Every `step`-th frame from a random start."""
    room = max(total - (frames - 1) * step - 1, 0)
    start = int(torch.randint(room + 1, (1,), generator=rng))
    return (start + torch.arange(frames) * step).clamp(max=total - 1)


def nearest(times: Float64[Tensor, " n"], wanted: Float64[Tensor, " t"]) -> Indices:
    """The frame shown at each wanted second: right for variable frame rates."""
    return (torch.searchsorted(times, wanted + 1e-6, right=True) - 1).clamp(0, len(times) - 1)


def timed(times: Float64[Tensor, " n"], frames: int, fps: float, position: float) -> Indices:
    """`frames` frames at `fps` Hz; `position` in [0, 1] places the clip in the video."""
    length = (frames - 1) / fps
    room = max(float(times[-1] - times[0]) - length, 0.0)
    wanted = times[0] + position * room + torch.arange(frames, dtype=torch.float64) / fps
    return nearest(times, wanted)
