"""Clips as batches of frames: how a 2-D network runs on video without a change to its `forward`.

Frames of clips follow one another in the batch, (N * T, C, H, W), so everything a 2-D network does
to one image it does to every frame: views, permutes, functional pooling, control flow. Only what
looks along time must know which frames belong together, and a `Clock` tells it.
"""

import threading
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from pseudo3d.errors import Pseudo3dError

Layout = Literal["frames", "tokens", "tokens second"]  # where a layer keeps the batch of frames
Head = Literal["mean", "frames"]


class Clock:
    """How many clips, of how many frames, are under way: one count for every thread.

    A thread that has none takes the latest one: autograd's own threads compute again what gradient
    checkpointing has forgotten. Copies of a network (deepcopy, pickle) get a clock of their own,
    shared by all their parts.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._latest: tuple[int, int] | None = None

    @property
    def now(self) -> tuple[int, int] | None:
        """(clips, frames of each); None before the first call."""
        return getattr(self._own, "now", self._latest)

    @now.setter
    def now(self, count: tuple[int, int]) -> None:
        self._own.now = self._latest = count

    def __reduce__(self) -> Any:
        return Clock, ()


class Timed(nn.Module):
    """Base of the parts that look along time; `stride` thins out the frames on the way.

    Args:
        steady: no part of the network changes the number of frames, so that any other number is
            an error.
    """

    def __init__(self, clock: Clock, stride: int = 1, steady: bool = True) -> None:
        super().__init__()
        self.clock, self.stride, self.steady = clock, stride, steady

    def clips(self, x: Tensor, layout: Layout = "frames") -> Float[Tensor, "n c t h w"]:
        """A batch of frames, or of their tokens, as clips."""
        if self.clock.now is None:
            raise Pseudo3dError(
                "a part of a converted network was called outside of it; call the network on clips "
                "(N, C, T, H, W)"
            )
        n, t = self.clock.now
        frames = x.shape[1] if layout == "tokens second" else x.shape[0]
        if frames % n or (self.steady and frames != n * t):
            raise Pseudo3dError(
                f"a temporal convolution got {frames} frames of {n} clips with {t} frames each; "
                "the network splits or joins images of the batch before it: leave this layer out "
                "with where="
            )
        if layout == "frames":
            return x.reshape(n, frames // n, *x.shape[1:]).transpose(1, 2)
        if layout == "tokens second":
            x = x.transpose(0, 1)
        return x.reshape(n, frames // n, *x.shape[1:]).permute(0, 3, 1, 2)[..., None]

    def frames(
        self, x: Float[Tensor, "n c t h w"], layout: Layout = "frames", like: Tensor | None = None
    ) -> Tensor:
        """Back to a batch of frames; in the plain memory layout if `like` has it."""
        if layout == "frames":
            y = x.transpose(1, 2).flatten(0, 1)
            return y.contiguous() if like is not None and like.is_contiguous() else y
        y = x[..., 0].permute(0, 2, 3, 1).flatten(0, 1)
        return y.transpose(0, 1) if layout == "tokens second" else y.contiguous()


class Converted(nn.Module):
    """A 2-D network that takes clips; made by `convert`.

    `net` is the copy of the 2-D network with temporal partners in it, its weights under their own
    names; `report` says what was done to it.

    Shape:
        (N, C, T, H, W) -> (N, K), the mean over the frames; (N, T, K) with head="frames";
        (N, K, T, H, W) of a network that answers with maps.
    """

    report: Any = None
    plan: Any = None

    def __init__(self, net: nn.Module, clock: Clock, head: Head = "mean") -> None:
        super().__init__()
        self.net, self.clock, self.head = net, clock, head

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Any:
        """What the 2-D network answers, for clips."""
        shape = tuple(x.shape)
        if len(shape) != 5:
            raise Pseudo3dError(
                f"input has shape {shape}: {len(shape)} axes where a converted network takes 5, "
                "(N, C, T, H, W); a batch of images (N, C, H, W) is images[:, :, None]"
            )
        clips, length = shape[0], shape[2]
        self.clock.now = (clips, length)
        out = self.net(as_frames(x))
        return tree_map_only(Tensor, lambda y: join(y, clips, self.head), out)

    def partners(self) -> dict[str, nn.Module]:
        """The parts that look along time, by name: for a learning rate of their own."""
        return {name: m for name, m in self.named_modules() if isinstance(m, Timed)}

    def extra_repr(self) -> str:
        return f"head={self.head!r}"


def as_frames(x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "nt c h w"]:
    """The frames of clips, one clip after the other; a channels-last clip gives such frames."""
    return x.transpose(1, 2).flatten(0, 1)


def join(y: Tensor, clips: int, head: Head) -> Tensor:
    """What a 2-D network says of frames, for clips: vectors averaged, maps with a time axis."""
    y = y.reshape(clips, y.shape[0] // clips, *y.shape[1:])
    if y.ndim <= 3 and head == "mean":
        return y.mean(1)
    return y.transpose(1, 2) if y.ndim == 5 else y
