"""Orders in which a clip's frames can be shown, to see whether a network minds."""

import torch
from jaxtyping import Int64, Num
from torch import Generator, Tensor

IN_ORDER, SHUFFLED, REVERSED, FROZEN = "in order", "shuffled", "reversed", "frozen"
SPEEDS = {"0.5x speed": 0.5, "2x speed": 2.0}
CONDITIONS = (IN_ORDER, SHUFFLED, REVERSED, FROZEN, *SPEEDS)


def conditions(shuffles: int, speeds: bool = True) -> tuple[str, ...]:
    """What each row of `frame_orders` is: as `CONDITIONS`, shuffled as often as asked for.

    Args:
        speeds: False leaves out the last rows; slices of a scan have no speed.
    """
    names = (IN_ORDER, *[SHUFFLED] * shuffles, *CONDITIONS[2:])
    return names if speeds else names[: -len(SPEEDS)]


def frame_orders(frames: int, shuffles: int, rng: Generator) -> Int64[Tensor, "w t"]:
    """Numbers of the frames of one clip, in every order it is shown in."""
    t = torch.arange(frames)
    return torch.stack(
        [
            t,
            *(torch.randperm(frames, generator=rng) for _ in range(shuffles)),
            t.flip(0),
            torch.full_like(t, frames // 2),
            *(at_speed(frames, speed) for speed in SPEEDS.values()),
        ]
    )


def at_speed(frames: int, speed: float) -> Int64[Tensor, " t"]:
    """The clip played at another speed around its middle.

    Slower shows the middle part, frames repeated; faster leaves frames out and holds the first and
    the last one, as a short video does.
    """
    middle = (frames - 1) / 2
    at = middle + (torch.arange(frames) - middle) * speed
    return at.round().long().clamp(0, frames - 1)


def reorder(
    clips: Num[Tensor, "n c t h w"], order: Int64[Tensor, "n t"]
) -> Num[Tensor, "n c t h w"]:
    """Each clip's frames in its own order: as read, so that differences are taken anew."""
    return torch.stack([clip[:, index] for clip, index in zip(clips, order, strict=True)])
