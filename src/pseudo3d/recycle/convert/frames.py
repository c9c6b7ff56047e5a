"""Clips as batches of frames: how a 2-D network runs on video without a change to its `forward`.

Frames of clips follow one another in the batch, (N * T, C, H, W), so everything a 2-D network does
to one image it does to every frame: views, permutes, functional pooling, control flow. Only what
looks along time must know which frames belong together, and a `Clock` tells it.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from pseudo3d.errors import Pseudo3dError

Layout = Literal["frames", "tokens", "tokens second"]  # where a layer keeps the batch of frames
Head = Literal["mean", "frames"]
Count = tuple[int, int]  # clips, frames of each
_KEPT = 256  # forwards that parts may be computed again for
# Private to torch. Without them everything runs but what gradient checkpointing computes again.
_AT: Callable[[], Any] | None = getattr(torch._C, "_current_autograd_node", None)
_NEXT: Callable[[], int] | None = getattr(torch._C._autograd, "_get_sequence_nr", None)


class Clock:
    """How many clips, of how many frames, are under way: one count for every thread.

    Gradient checkpointing computes parts again when their forward is over, in any of autograd's
    threads, and other forwards may have been since. Autograd numbers what it will go back through,
    so the number of the step it is at tells the forward. Copies of a network (deepcopy, pickle) get
    a clock of their own, shared by all their parts.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._past: deque[tuple[range, Count]] = deque(maxlen=_KEPT)

    @property
    def now(self) -> Count | None:
        """(clips, frames of each); None where nothing is under way.

        Raises:
            Pseudo3dError: a part is computed again, and for which forward cannot be told.
        """
        own: Count | None = getattr(self._own, "now", None)
        if own is not None:
            return own
        step = None if _AT is None else _AT()
        if step is None:
            return None
        number = step._sequence_nr()
        found = {count for numbers, count in self._past if number in numbers}
        if len(found) != 1:
            told = ", ".join(f"{n} x {t}" for n, t in sorted(found)) or f"none of the last {_KEPT}"
            raise Pseudo3dError(
                "gradient checkpointing computes a part again, and it cannot be told for which "
                f"forward (clips x frames: {told}); call backward() after each forward, in its "
                "thread"
            )
        return found.pop()

    def begin(self, count: Count) -> tuple[Count | None, int]:
        """Enter a forward of this thread; gives what `end` wants."""
        before = getattr(self._own, "now", None)
        self._own.now = count
        return before, _number()

    def end(self, count: Count, begun: tuple[Count | None, int]) -> None:
        """Leave it."""
        self._own.now, first = begun
        if (last := _number()) > first:
            self._past.append((range(first, last), count))

    def __reduce__(self) -> Any:
        return Clock, ()


def _number() -> int:
    """Of the next step that autograd will go back through; none is counted while torch compiles."""
    return 0 if _NEXT is None or torch.compiler.is_compiling() else _NEXT()


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
        if (now := self.clock.now) is None:
            raise Pseudo3dError(
                "a part of a converted network was called outside of it; call the network on clips "
                "(N, C, T, H, W)"
            )
        n, t = now
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
        clips, length = count = shape[0], shape[2]
        if clips < 1 or length < 1:
            raise Pseudo3dError(f"input has shape {shape}; wanted a clip at least, and a frame")
        begun = self.clock.begin(count)
        try:
            out = self.net(as_frames(x))
        finally:
            self.clock.end(count, begun)
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
