"""Recognition frame by frame: every frame is looked at once, and a decision is there at any moment.

Where others compute a whole window again for each new frame, a stream keeps what its layers still
need of the past. What it keeps is given and returned, never held in the network, so that streams do
not disturb each other, and one can be forked by keeping an old state.
"""

import hashlib
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pseudo3d.engine.streamstate import StreamState
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network, check_floats
from pseudo3d.runtime.agree import difference
from pseudo3d.runtime.inference import inference
from pseudo3d.runtime.streaming.program import Program
from pseudo3d.weights import load

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LIMITS = {"fp32": 1e-5, "bf16": 5e-2}  # relative error of the logits that is still rounding


class Stream:
    """A network for frames that come one after the other, on the CPU.

    A causal network's logits never wait for later frames. A network that looks ahead is streamed
    as well; its features come `delay` frames late, and `decide` closes the gap as the end of a
    video would.

    Args:
        model: a network of the library, or its weights.
        precision: "bf16" is about twice as fast where the processor computes in it.
        memory: decide from the last so many frames (the mean of the features that came out for
            them); None: from the whole stream, as from a whole clip.
    Raises:
        Pseudo3dError: a network that is not made for frames, or whose stream would compute
            something else than the network.
    Example:
        >>> stream = Stream("weights.safetensors")
        >>> state = stream.start()
        >>> for frame in camera:
        ...     logits, state = stream.step(frame, state)
    """

    def __init__(
        self,
        model: Network | str | Path,
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        memory: int | None = None,
    ) -> None:
        if precision not in _TYPES:
            raise ValueError(f"precision is {precision!r}; wanted 'fp32' or 'bf16'")
        if memory is not None and memory < 1:
            raise ValueError(f"memory is {memory}; wanted a number of frames, or None for all")
        net = model if isinstance(model, Network) else load(model)
        _check(net)
        self.name, self.card, self.cfg, self.precision = net.name, net.card, net.cfg, precision
        self.memory = memory
        self._program = Program(net, _TYPES[precision])
        self._head = [p.detach().float().clone() for p in net.head.parameters()]
        self.period, self.delay = self._program.period, self._program.delay
        self._recent = None if memory is None else -(-memory // self.period)
        self._owner = _fingerprint(net, precision, self._recent)
        self._prove(net)

    def start(self, streams: int = 1) -> StreamState:
        """The state of streams of which nothing has been seen.

        Args:
            streams: how many are stepped together.
        """
        if streams < 1:
            raise ValueError(f"streams is {streams}; wanted at least 1")
        features = self._head[0].shape[1]
        if self._recent is None:
            pooled = torch.zeros(streams, features, 1, dtype=torch.float64)
        else:
            pooled = torch.zeros(streams, features, 0)
        return StreamState(
            owner=self._owner,
            seen=(0,) * streams,
            counted=(0,) * streams,
            size=None,
            pooled=pooled,
            kept=((),) * self._program.keeps,
            period=self.period,
        )

    @inference
    def step(
        self, frames: Float[Tensor, "n c h w"] | Float[Tensor, "n c t h w"], state: StreamState
    ) -> tuple[Float[Tensor, "n k"] | None, StreamState]:
        """Look at the next frame, or frames, of each stream; prepared as the card says.

        Returns:
            Logits from what has passed the last stage (None while nothing has), and the state
            afterwards. The one given stays what it was.
        Raises:
            Pseudo3dError: frames that do not go on with these streams.
        """
        chunk = frames if frames.ndim == 5 else frames[:, :, None]
        self._check_frames(chunk, frames, state)
        features, kept = self._program.push(chunk, state.kept, state.seen[0])
        pooled, counted = self._pool(features, state)
        new = chunk.shape[2]
        state = StreamState(
            owner=state.owner,
            seen=tuple(n + new for n in state.seen),
            counted=counted,
            size=(chunk.shape[3], chunk.shape[4]),
            pooled=pooled,
            kept=kept,
            period=self.period,
        )
        return (self._logits(pooled, counted) if counted[0] else None), state

    @inference
    def decide(self, state: StreamState) -> Float[Tensor, "n k"]:
        """Logits as if the streams ended now: those of the whole clip so far, at any frame.

        Raises:
            Pseudo3dError: nothing has been seen.
        """
        self._check_state(state)
        if state.frames == 0:
            raise Pseudo3dError("nothing has been seen yet; step at least one frame, then decide")
        features, _ = self._program.push(None, state.kept, state.seen[0], last=True)
        return self._logits(*self._pool(features, state))

    def _pool(self, features: Tensor | None, state: StreamState) -> tuple[Tensor, tuple[int, ...]]:
        """Sum of the features so far, or the latest of them."""
        if features is None:
            return state.pooled, state.counted
        new = features.shape[2]
        counted = tuple(n + new for n in state.counted)
        if self._recent is None:
            return state.pooled + features.double().sum(2, keepdim=True), counted
        latest = torch.cat([state.pooled, features], 2)[:, :, -self._recent :]
        return latest.clone(), counted

    def _logits(self, pooled: Tensor, counted: tuple[int, ...]) -> Tensor:
        if self._recent is None:
            mean = pooled[:, :, 0] / pooled.new_tensor(counted)[:, None]
        else:
            mean = pooled.mean(2)
        return F.linear(mean.float(), *self._head)

    def _check_state(self, state: StreamState) -> None:
        if state.owner != self._owner:
            why = "a stream goes on with the weights, precision and memory it began with"
            if state.period is None:
                why = "it was saved by an older version, which noted the classifier's weights only"
            raise Pseudo3dError(
                f"a state of {state.owner!r} was given to {self._owner!r}; {why}. Begin anew with "
                "start()."
            )

    def _check_frames(self, chunk: Tensor, given: Tensor, state: StreamState) -> None:
        self._check_state(state)
        check_floats(given, "frames")
        shape, wanted = tuple(given.shape), self.cfg.in_channels
        if chunk.ndim != 5 or chunk.shape[1] != wanted or min(shape) < 1:
            raise Pseudo3dError(
                f"frames have shape {shape}; wanted (N, {wanted}, H, W), or (N, {wanted}, T, H, W) "
                "for several frames at once"
            )
        if chunk.shape[0] != len(state.seen):
            raise Pseudo3dError(
                f"frames of {chunk.shape[0]} streams, a state of {len(state.seen)}; begin with "
                f"start(streams={chunk.shape[0]}), or see StreamState.stack and split"
            )
        broken = (~torch.isfinite(chunk.sum((1, 2, 3, 4), dtype=torch.float32))).nonzero()
        if len(broken):
            raise Pseudo3dError(
                f"frames of stream {', '.join(map(str, broken.flatten().tolist()))} hold NaN or "
                "infinite numbers; leave them out: the state given is still good"
            )
        size = (chunk.shape[3], chunk.shape[4])
        if state.size not in (None, size):
            raise Pseudo3dError(
                f"frames of {size[0]} x {size[1]} pixels in a stream of {state.size[0]} x "
                f"{state.size[1]}; resize them, or begin anew with start()"
            )

    def _prove(self, net: Network) -> None:
        """Compare with the network on a small clip, whole periods and a rest, in pieces.

        Raises:
            Pseudo3dError: the stream computes something else.
        """
        draw = torch.Generator().manual_seed(0)
        length = 2 * self.period + 1
        clip = torch.randn(1, net.cfg.in_channels, length, 32, 32, generator=draw)
        whole, self._recent = self._recent, None
        try:
            state = self.start()
            for start, end in ((0, 1), (1, self.period + 1), (self.period + 1, length)):
                _, state = self.step(clip[:, :, start:end], state)
            error = difference(net, clip, self.decide(state))
        finally:
            self._recent = whole
        limit = _LIMITS[self.precision]
        if not error <= limit:
            raise Pseudo3dError(
                f"the stream of {self.name} differs from the network by {error:.1e} where "
                f"{limit:.0e} is rounding; run it on windows and report this"
            )


def _check(net: Network) -> None:
    """Refuse what has no stream."""
    if type(net).forward is not Network.forward:
        raise Pseudo3dError(
            f"{net.name} gives a label for every voxel of a whole scan, so it cannot be streamed; "
            "wanted a network that gives one answer for a clip"
        )
    if (device := net.head.weight.device.type) != "cpu":
        raise ValueError(f"the network is on {device!r}; a stream is for the CPU: model.cpu()")


def _fingerprint(net: Network, precision: str, recent: int | None) -> str:
    """Tells states of one network from those of another, by every weight and statistic."""
    found = hashlib.sha256(f"{net.cfg}|{precision}|{recent}".encode())
    for name, value in net.state_dict().items():
        if value.is_floating_point():  # batch norm's counts of batches change no answer
            found.update(name.encode())
            found.update(value.float().contiguous().numpy())
    return f"{net.name or type(net).__name__}-{found.hexdigest()[:12]}"
