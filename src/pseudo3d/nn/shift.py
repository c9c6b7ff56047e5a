"""Temporal shift: some channels come from the frame before or after, at no cost in arithmetic.

TSM (Lin, Gan, Han, ICCV 2019, arXiv 1811.08383): a 2-D network whose residual branches look at
shifted features, so that its 2-D convolutions mix frames.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.blocks import Basic, Bottleneck, PairSpec

Direction = Literal["offline", "online"]


class TimeShift(nn.Module):
    """Moves one channel in `part` a frame back and as many a frame on; zeros come in at the ends.

    Args:
        part: 8 moves an eighth of the channels each way.
        direction: "online" takes features of past frames only, as a live stream has no others.
    Shape:
        (N, C, T, H, W) -> (N, C, T, H, W)
    Raises:
        ValueError: a part below 2, an unknown direction.
    """

    def __init__(self, part: int = 8, direction: Direction = "offline") -> None:
        super().__init__()
        if part < 2:
            raise ValueError(f"part is {part}; wanted 2 or more, one channel in so many moves")
        if direction not in ("offline", "online"):
            raise ValueError(f"direction is {direction!r}; wanted 'offline' or 'online'")
        self.part, self.direction = part, direction

    def split(self, channels: int) -> tuple[int, int]:
        """How many channels come from the frame after, and from the frame before."""
        moved = channels // self.part
        return (moved if self.direction == "offline" else 0), moved

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h w"]:
        after, before = self.split(x.shape[1])
        late = F.pad(x[:, :after, 1:], (0, 0, 0, 0, 0, 1))
        early = F.pad(x[:, after : after + before, :-1], (0, 0, 0, 0, 1, 0))
        return torch.cat([late, early, x[:, after + before :]], dim=1)

    def extra_repr(self) -> str:
        return f"part={self.part}, direction={self.direction!r}"


class ShiftedBasic(Basic):
    """The 2-D basic block on shifted features; the shortcut sees them where they were.

    Shape: as `Basic`.
    """

    def __init__(self, cin: int, width: int, shift: TimeShift, stride: int = 1) -> None:
        super().__init__(cin, width, PairSpec(mix=None), stride)
        self.shift = shift

    def branch(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        """What is added to the shortcut."""
        return super().branch(self.shift(x))


class ShiftedBottleneck(Bottleneck):
    """The 2-D bottleneck on shifted features; the shortcut sees them where they were.

    Shape: as `Bottleneck`.
    """

    def __init__(self, cin: int, width: int, shift: TimeShift, stride: int = 1) -> None:
        super().__init__(cin, width, PairSpec(mix=None), stride)
        self.shift = shift

    def branch(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h2 w2"]:
        """What is added to the shortcut."""
        return super().branch(self.shift(x))
