"""Frames with their times in, decisions out: a network on a camera.

Nothing of a stream is kept in the network's object: `push` gives a new state and leaves the old
one as it was, so one network serves any number of streams.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.sampling import nearest
from pseudo3d.engine.judge import Judge, judge, known
from pseudo3d.engine.pace import Pace, check_frame, prepared
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.network import Network
from pseudo3d.runtime.runner import TORCH, Runner, Runtime, open_runner

if TYPE_CHECKING:
    from pseudo3d.engine.stream import Stream
    from pseudo3d.engine.streamstate import StreamState

Mode = Literal["auto", "stream", "window"]
Precision = Literal["fp32", "bf16"]
_OFTEN = 0.25  # s between two decisions, at most, where the caller does not say
_FINER = 8  # most frames kept for one that is taken


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a network sees in a stream now."""

    time: float  # s, of the newest frame
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]  # every class, the most probable first
    frames: int  # of the stream so far


@dataclass(frozen=True, kw_only=True)
class LiveState:
    """Where a stream is: the frames a window still needs, or the state of a `Stream`."""

    frames: int = 0
    last: float | None = None  # s, time of the newest frame
    decided: float | None = None  # s, time of the newest decision
    kept: tuple[tuple[float, Tensor], ...] = ()  # times, and cropped frames (C, H, W)
    due: float = -math.inf  # s, when the stream takes its next frame
    stream: "StreamState | None" = None

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        kept = sum(frame.nbytes for _, frame in self.kept)
        return kept + (self.stream.nbytes if self.stream is not None else 0)


class Live:
    """A network on streams of frames; made by `Live.open`.

    Frames are taken by their times at the pace of training, whatever the camera's rate is; a frame
    that comes late is held. Time that runs backwards, or stands still for longer than a window,
    starts the stream anew. Frames may change their size at any moment.
    """

    def __init__(self, judge: Judge, stream: "Stream | None", every: float | None) -> None:
        self._judge, self._stream = judge, stream
        self.classes: tuple[str, ...] = judge.classes
        self.preprocessing: Preprocessing = judge.pre
        self.mode: Literal["stream", "window"] = "window" if stream is None else "stream"
        card = judge.run.card
        self.pace = Pace.of(judge.pre, card.training if card is not None else {})
        self.every = min(self.pace.seconds / 4, _OFTEN) if every is None else every

    @classmethod
    def open(
        cls,
        weights: str | Path | Network | Runner,
        *,
        runtime: Runtime = "auto",
        precision: Precision | None = None,
        threads: int | None = None,
        mode: Mode = "auto",
        every: float | None = None,
    ) -> "Live":
        """Make a network ready for streams, its first pass included.

        Args:
            weights: a checkpoint, what `p3d export` wrote, or a network that is open already.
            mode: "stream" looks at each frame once and keeps what its layers still need; "window"
                looks at the newest window again for every decision; "auto" streams causal networks.
            every: s between two decisions; None decides four times in a window, or more often.
        Raises:
            Pseudo3dError: a network of scans or of optical flow, or a mode it cannot run in.
            WeightsError: the file cannot be used, or does not know its classes and preprocessing.
        Example:
            >>> live = Live.open("weights.safetensors")
            >>> decision, state = live.push(frame, 0.0, live.start())
        """
        if mode not in get_args(Mode):
            raise TypeError(unknown("mode", mode, get_args(Mode)))
        if every is not None and not (math.isfinite(every) and every >= 0):
            raise Pseudo3dError(f"every is {every!r}; wanted seconds, 0 or more")
        net, stream = _network(weights, runtime, precision, threads), None
        pre = _video_input(net)
        if mode == "stream" or (mode == "auto" and _causal(net)):
            stream = _stream(net, precision or "fp32", pre.frames)
            ready = Judge(run=net, pre=pre, classes=known(net)[1], batch=1)
        else:
            ready = judge(_fast(net, precision), 1)
        live = cls(ready, stream, every)
        live._warm_up()
        return live

    def start(self) -> LiveState:
        """A stream of which nothing has been seen."""
        return LiveState()

    def push(
        self, frame: UInt8[ndarray, "h w 3"] | UInt8[Tensor, "h w 3"], time: float, state: LiveState
    ) -> tuple[Decision | None, LiveState]:
        """Look at the next frame of a stream.

        Args:
            frame: red, green, blue.
            time: s, when it was taken, on any clock.
        Returns:
            A decision, where one is due, and the state for the next frame.
        Raises:
            Pseudo3dError: no such frame, or no such time.
        """
        check_frame(frame, time)
        if state.last is not None and not 0 <= time - state.last <= max(self.pace.seconds, 1.0):
            state = LiveState(frames=state.frames)
        state = replace(state, frames=state.frames + 1, last=time)
        if self._stream is None:
            probs, state = self._windowed(frame, time, state)
        else:
            probs, state = self._streamed(self._stream, frame, state)
        if probs is None:
            return None, state
        return self._decision(probs, state), replace(state, decided=time)

    def _is_due(self, state: LiveState) -> bool:
        before = -math.inf if state.decided is None else state.decided
        return state.last is not None and state.last >= before + self.every - 1e-6

    def _windowed(
        self, frame: Any, now: float, state: LiveState
    ) -> tuple[Float[Tensor, " k"] | None, LiveState]:
        """Keep the frame; where a decision is due, look at the window that ends with it."""
        kept, pace = state.kept, self.pace
        if not kept or now - kept[-1][0] >= pace.period / _FINER:
            kept = (*kept, (now, prepared(frame, self.preprocessing)))
        while len(kept) > 2 and kept[1][0] <= now - pace.seconds - pace.period:
            kept = kept[1:]
        state = replace(state, kept=kept)
        if not self._is_due(state):
            return None, state
        times = torch.tensor([time for time, _ in kept], dtype=torch.float64)
        gap = float(times[-1] - times[0]) / max(len(kept) - 1, 1)
        wanted = pace.wanted(now, gap)
        if float(times[0]) > float(wanted[0]) + gap / 2:  # the window is not full yet
            return None, state
        clip = torch.stack([kept[i][1] for i in nearest(times, wanted).tolist()], dim=1)
        return self._judge(clip[None])[0], state

    def _streamed(
        self, stream: "Stream", frame: Any, state: LiveState
    ) -> tuple[Float[Tensor, " k"] | None, LiveState]:
        """Take the frame when it is due, more than once where the camera is too slow."""
        now, period = state.last or 0.0, self.pace.period
        if now < state.due - period / _FINER:
            return None, state
        begun = math.isfinite(state.due)
        late = int((now - state.due) / period + 1e-6) if begun else 0
        image = prepared(frame, self.preprocessing)
        before = [old for _, old in state.kept]  # the frame taken last, or none
        chunk = torch.stack([*before, *(before * late), image], dim=1)[None]
        clip = self.preprocessing.normalize(chunk)[:, :, len(before) :]
        logits, inner = stream.step(clip, state.stream or stream.start())
        due = (state.due if begun else now) + (late + 1) * period
        state = replace(state, stream=inner, due=due, kept=((now, image),))
        if not self._is_due(state) or 2 * inner.frames < self.pace.count:
            return None, state  # the first frames alone say little
        if logits is None or stream.period > 1 or stream.delay:  # as if it ended now
            logits = stream.decide(inner)
        return logits[0].float().softmax(0), state

    def _decision(self, probs: Tensor, state: LiveState) -> Decision:
        values = probs.tolist()
        order = sorted(range(len(values)), key=lambda i: -values[i])
        top = tuple((self.classes[i], values[i]) for i in order)
        label, probability = top[0]
        return Decision(
            time=state.last or 0.0,
            label=label,
            probability=probability,
            top=top,
            frames=state.frames,
        )

    def _warm_up(self) -> None:
        """The first pass packs weights; it must not delay the first decision of a stream."""
        gray = torch.full((*self.preprocessing.size, 3), 128, dtype=torch.uint8)
        if self._stream is not None:
            self.push(gray, 0.0, self.start())
        else:
            clip = [prepared(gray, self.preprocessing)] * self.pace.count
            self._judge(torch.stack(clip, dim=1)[None])


def _network(
    weights: str | Path | Network | Runner,
    runtime: Runtime,
    precision: Precision | None,
    threads: int | None,
) -> Any:
    """What `weights` means: a network of a checkpoint, or a runner of an exported file."""
    if not isinstance(weights, str | Path):
        return weights
    path = Path(weights)
    if path.suffix.lower() in TORCH and runtime in ("auto", "torch"):
        from pseudo3d.weights import load

        if threads is not None:
            torch.set_num_threads(threads)
        return load(path)
    return open_runner(path, runtime=runtime, precision=precision, threads=threads)


def _fast(net: Network | Runner, precision: Precision | None) -> Network | Runner:
    if not isinstance(net, Network) or precision in (None, "fp32"):
        return net
    from pseudo3d.runtime.lower import optimize

    return optimize(net, precision=precision)


def _causal(net: Network | Runner) -> bool:
    """Whether no output of a network needs a later frame, by its config."""
    cfg = getattr(net, "cfg", None) if isinstance(net, Network) else None
    return bool(getattr(cfg, "causal", False)) or getattr(cfg, "shift", None) == "online"


def _stream(net: Network | Runner, precision: Precision, memory: int) -> "Stream":
    if not isinstance(net, Network):
        raise Pseudo3dError(
            "an exported network runs in windows only; for mode='stream' give the checkpoint"
        )
    from pseudo3d.engine.stream import Stream

    return Stream(net, precision=precision, memory=memory)


def _video_input(net: Network | Runner) -> Preprocessing:
    """How frames are prepared, of a network that takes frames of a camera."""
    pre, _ = known(net)
    if pre.color == "flow":
        raise Pseudo3dError(
            "the network takes optical flow, which a camera does not give; use one trained on RGB"
        )
    return pre
