"""What a stream is made of: operators that take chunks of frames and keep what they need later.

A chunk is (N, C, T, H, W) in dense channels-last memory, or None where no frame came. How many
frames an operator has put out depends on the number of frames it was given and on nothing else, so
that what it keeps is the same however the stream was cut into chunks. Nothing is changed in place:
what is kept may be the very memory of a chunk, and states of the past stay what they were.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pseudo3d.nn.shift import TimeShift
from pseudo3d.runtime.streaming.rope import EMPTY, Rope, drop, entire, length, own, take, whole
from pseudo3d.runtime.views import dense

Chunk = Tensor | None
Kept = tuple[Rope, ...]
Border = Literal["zeros", "replicate", "lowest"]


class Span(NamedTuple):
    """Where a push begins and ends."""

    given: int  # frames that have come to the first input before it
    done: int  # frames put out before it
    total: int  # and after it
    last: bool  # no more will come


class Operator(Protocol):
    """One step of a stream."""

    keeps: int  # ropes it keeps

    def count(self, given: tuple[int, ...], last: bool) -> int:
        """Frames put out once so many have come from each input."""

    def push(self, chunks: tuple[Chunk, ...], kept: Kept, span: Span) -> tuple[Chunk, Kept]:
        """Frames that come out now, and what is kept."""


class Compute(Protocol):
    """What a window does with its frames, `spare` as in `PackedConv`."""

    def __call__(self, x: Rope, other: Chunk, spare: bool) -> Tensor:
        """(m - 1) * stride + length frames -> m frames."""


class Window:
    """A convolution or pooling over a window of frames; it may add another stream to its output.

    It keeps the padded frames from the first one that the next output needs, and of the other
    stream what came too early: that is the delay of a network that looks ahead.

    Args:
        around: frames of border before and after the stream.
        ceil: windows that have started count at the end, as `MaxPool` has it.
    """

    keeps = 2
    spare = False  # nobody else needs the frames of the other stream: their memory may take results

    def __init__(
        self,
        compute: Compute,
        length: int,
        stride: int,
        around: tuple[int, int] = (0, 0),
        border: Border = "zeros",
        ceil: bool = False,
    ) -> None:
        self.compute, self.length, self.stride = compute, length, stride
        self.around, self.border, self.ceil = around, border, ceil

    def count(self, given: tuple[int, ...], last: bool) -> int:
        """Frames put out once so many have come from each input."""
        frames = given[0]
        if frames == 0:
            return 0
        if self.ceil and last:
            room = frames - min(self.length, frames)
            found = -(-room // self.stride) + 1
            found -= (found - 1) * self.stride >= frames
        else:
            padded = self.around[0] + frames + (self.around[1] if last else 0)
            found = max(0, (padded - self.length) // self.stride + 1)
        return min(found, *given[1:]) if len(given) > 1 else found

    def push(self, chunks: tuple[Chunk, ...], kept: Kept, span: Span) -> tuple[Chunk, Kept]:
        """Frames that come out now, and what is kept."""
        count = span.total - span.done
        if self.length == self.stride == 1 and kept == _NOTHING and _together(chunks, count):
            return self.compute((chunks[0],), chunks[1], self.spare), kept  # type: ignore[arg-type]
        x = self._gather(chunks[0], kept[0], span)
        other = kept[1]
        if len(chunks) > 1 and chunks[1] is not None:
            other = (*other, chunks[1])
        y = None
        if count:
            need = (count - 1) * self.stride + self.length
            seen = self._closed(x, need) if span.last else x
            beside = take(other, count)
            free = self.spare and (len(beside) > 1 or not kept[1])  # a state is never written over
            y = self.compute(take(seen, need), entire(beside), free)
        if span.last:
            return y, (EMPTY, EMPTY)
        return y, (drop(x, count * self.stride), drop(other, count) if other else EMPTY)

    def _gather(self, chunk: Chunk, kept: Rope, span: Span) -> Rope:
        """Padded frames from the first that is needed on, as far as they have come."""
        if chunk is None:
            return kept
        if span.given == 0:
            return (*self._edge(chunk[:, :, :1], self.around[0]), chunk)
        over = span.done * self.stride - self.around[0] - span.given  # steps longer than windows
        return drop((chunk,), over) if over > 0 else (*kept, chunk)

    def _closed(self, x: Rope, need: int) -> Rope:
        """With as much of the border behind as is needed."""
        return (*x, *self._edge(x[-1][:, :, -1:], need - length(x)))

    def _edge(self, frame: Tensor, count: int) -> Rope:
        """Frames of border, like the one beside them."""
        if count <= 0:
            return EMPTY
        if self.border != "replicate":
            frame = torch.full_like(frame, 0.0 if self.border == "zeros" else -torch.inf)
        return (dense(frame).clone(),) * count


_NOTHING: Kept = (EMPTY, EMPTY)


def _together(chunks: tuple[Chunk, ...], count: int) -> bool:
    """Whether both streams bring what is put out now, and nothing else."""
    return all(x is not None and x.shape[2] == count for x in chunks)


class Sum:
    """The sum of two streams; what one has ahead of the other is kept."""

    keeps = 2

    def count(self, given: tuple[int, ...], last: bool) -> int:
        """Frames put out once so many have come from each."""
        return min(given)

    def push(self, chunks: tuple[Chunk, ...], kept: Kept, span: Span) -> tuple[Chunk, Kept]:
        """Frames that come out now, and what is kept."""
        count, y = span.total - span.done, None
        pairs = zip(kept, chunks, strict=True)
        a, b = (old if new is None else (*old, new) for old, new in pairs)
        if count:
            y = dense(whole(take(a, count)) + whole(take(b, count)))
        return y, (drop(a, count), drop(b, count))


class Each:
    """What looks at every frame by itself."""

    keeps = 0

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        self.compute = compute

    def count(self, given: tuple[int, ...], last: bool) -> int:
        """As many as came."""
        return given[0]

    def push(self, chunks: tuple[Chunk, ...], kept: Kept, span: Span) -> tuple[Chunk, Kept]:
        """Frames that come out now, and nothing."""
        (x,) = chunks
        return (None if x is None else self.compute(x)), ()


class Filled:
    """`FillPiece`: at the end the last frame comes again until the length is a multiple."""

    keeps = 1

    def __init__(self, piece: int) -> None:
        self.piece = piece

    def count(self, given: tuple[int, ...], last: bool) -> int:
        """As many as came, and at the end what is missing."""
        return given[0] + (-given[0] % self.piece if last else 0)

    def push(self, chunks: tuple[Chunk, ...], kept: Kept, span: Span) -> tuple[Chunk, Kept]:
        """Frames that come out now, and the newest one while its piece is not full."""
        (x,), (newest,) = chunks, kept
        if x is not None:
            newest = (x[:, :, -1:],)
        if span.last:
            missing = span.total - span.given - (0 if x is None else x.shape[2])
            last = newest * missing
            return entire(last if x is None else (x, *last)), (EMPTY,)
        return x, (own(newest) if span.total % self.piece else EMPTY,)


class Shifted:
    """`TimeShift`: channels from the frame before, and, offline, from the frame after.

    It keeps the channels that go into the next frame, and offline the newest frame, which waits.
    """

    keeps = 2

    def __init__(self, shift: TimeShift) -> None:
        self.shift = shift
        self.ahead = int(shift.direction == "offline")

    def count(self, given: tuple[int, ...], last: bool) -> int:
        """Offline, one less than came until the end."""
        return given[0] if last else max(0, given[0] - self.ahead)

    def push(self, chunks: tuple[Chunk, ...], kept: Kept, span: Span) -> tuple[Chunk, Kept]:
        """Frames that come out now, and what is kept."""
        waiting = kept[1] if chunks[0] is None else (*kept[1], chunks[0])
        count = span.total - span.done
        if count == 0:
            return None, (kept[0], own(waiting))
        x = whole(waiting)
        late, early = self.shift.split(x.shape[1])
        passed = x[:, late : late + early]
        first = kept[0][0] if kept[0] else torch.zeros_like(passed[:, :, :1])
        before = torch.cat([first, passed[:, :, : count - 1]], 2)
        after = F.pad(x[:, :late, 1:], (0, 0, 0, 0, 0, int(span.last)))
        parts = [before, x[:, late + early :, :count]]
        y = dense(torch.cat([after[:, :, :count], *parts] if late else parts, 1))
        return y, (own((passed[:, :, count - 1 : count],)), own(drop((x,), count)))
