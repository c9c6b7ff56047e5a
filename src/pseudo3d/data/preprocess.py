"""What happens to a video between file and network, as data that travels in the checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Real, UInt8
from torch import Tensor

from pseudo3d.data.transforms import center_crop
from pseudo3d.errors import Pseudo3dError, unknown

Color = Literal["rgb", "bgr", "gray", "flow"]
Sampling = Literal["uniform", "dense"]
CHANNELS: dict[str, int] = {"rgb": 3, "bgr": 3, "gray": 1, "flow": 2}  # of each color
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Which frames a network takes, how large, and how bytes become its numbers.

    With x = bytes / scale, the base channels are (x - mean) / std; with `difference`, as many
    channels follow that hold (x[t] - x[t - 1]) / difference_std, zero at the first frame: what
    moves.

    Raises:
        Pseudo3dError: a value out of range, or values that do not go together.
    """

    frames: int = 16
    sampling: Sampling = "uniform"  # spread over the whole video, or consecutive
    step: int = 1  # source frames between two taken; dense only
    fps: float | None = None  # Hz; dense only: take frames by time instead of by number
    resize: int  # pixels, the shorter side
    size: tuple[int, int]  # pixels, (height, width) cut out of the middle
    color: Color = "rgb"
    difference: bool = False
    scale: float = 255.0  # bytes are divided by it; 1 for weights of Caffe
    mean: tuple[float, ...]  # of each base channel, after `scale`
    std: tuple[float, ...]
    difference_std: float = 0.1

    def __post_init__(self) -> None:
        for name, allowed in (("sampling", get_args(Sampling)), ("color", get_args(Color))):
            if (value := getattr(self, name)) not in allowed:
                raise Pseudo3dError(f"{name} is {value!r}; wanted one of {', '.join(allowed)}")
        self._check_time()
        self._check_size()
        self._check_values()

    def _check_time(self) -> None:
        for name in ("frames", "step"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise Pseudo3dError(f"{name} is {value!r}; wanted a whole number, 1 or more")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise Pseudo3dError(f"fps is {self.fps!r}; wanted frames per second above 0")
        if self.sampling == "uniform" and (self.step != 1 or self.fps is not None):
            raise Pseudo3dError(
                f"step={self.step}, fps={self.fps} with sampling='uniform', which spreads the "
                "frames over the whole video; use sampling='dense' or leave them out"
            )
        if self.fps is not None and self.step != 1:
            raise Pseudo3dError(
                f"step={self.step} and fps={self.fps} both set the pace; leave one out"
            )

    def _check_size(self) -> None:
        sides = (self.resize, *self.size)
        if len(sides) != 3 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise Pseudo3dError(
                f"resize is {self.resize!r}, size {self.size!r}; wanted pixels, an integer and "
                "(height, width)"
            )
        if min(self.size) > self.resize:
            raise Pseudo3dError(
                f"size {self.size} is larger than resize {self.resize}, so every crop would have a "
                f"black border; set resize to {min(self.size)} or more"
            )

    def _check_values(self) -> None:
        want = CHANNELS[self.color]
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) != want or not all(math.isfinite(v) for v in value):
                raise Pseudo3dError(
                    f"{name} is {value!r}; color {self.color!r} wants {want} finite value(s)"
                )
        for name, value in (("std", min(self.std)), ("scale", self.scale)):
            if not (math.isfinite(value) and value > 0):
                raise Pseudo3dError(f"{name} is {getattr(self, name)!r}; wanted values above 0")
        if not (math.isfinite(self.difference_std) and self.difference_std > 0):
            raise Pseudo3dError(
                f"difference_std is {self.difference_std!r}; wanted a value above 0"
            )

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return CHANNELS[self.color] * (2 if self.difference else 1)

    def crop(self, clips: UInt8[Tensor, "*n h w"]) -> UInt8[Tensor, "*n h2 w2"]:
        """Cut `size` out of the middle."""
        return center_crop(clips, self.size)

    def normalize(self, clips: Real[Tensor, "n c t h w"]) -> Float[Tensor, "n c2 t h w"]:
        """Turn frames as read (RGB or gray, 0..255) into the network's input, float32.

        Gray frames are repeated for a color network; RGB frames become luma for a gray one.

        Raises:
            Pseudo3dError: not five axes, or channels that are neither the network's nor RGB nor
                gray.
        """
        if clips.ndim != 5:
            raise Pseudo3dError(f"clips have shape {tuple(clips.shape)}; wanted (N, C, T, H, W)")
        x = self._colors(clips)
        n, c, *rest = x.shape
        out = torch.empty(
            (n, self.channels, *rest),
            dtype=torch.float32,
            device=x.device,
            memory_format=torch.channels_last_3d,  # what the convolutions take
        )
        for i in range(c):  # one pass over the bytes
            offset = x.new_tensor(-self.mean[i] / self.std[i], dtype=torch.float32)
            torch.add(offset, x[:, i], alpha=1 / (self.scale * self.std[i]), out=out[:, i])
            if self.difference:
                seen = x[:, i].float() / (self.scale * self.difference_std)
                torch.sub(seen[:, 1:], seen[:, :-1], out=out[:, c + i, 1:])
                out[:, c + i, 0] = 0
        return out

    def _colors(self, x: Tensor) -> Tensor:
        """RGB or gray as read -> the base channels in their order."""
        have, want = x.shape[1], CHANNELS[self.color]
        if have == 1 and want == 3:
            return x.expand(-1, 3, -1, -1, -1)
        if have == 3 and want == 1:
            x = x.float()
            return torch.einsum("ncthw,c->nthw", x, x.new_tensor(_LUMA))[:, None]
        if have == 3 and self.color == "flow":
            return x[:, :2]  # flow stored as video: u, v and a third channel that says nothing
        if have != want:
            raise Pseudo3dError(
                f"clips have shape {tuple(x.shape)}: {have} channels where color {self.color!r} "
                f"takes {want}. Axes are (N, C, T, H, W)."
            )
        return x.flip(1) if self.color == "bgr" else x

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        plain = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """From `to_dict`, or the same after a trip through JSON.

        Raises:
            Pseudo3dError: an unknown or missing field, or values that do not go together.
        """
        known = {f.name: f for f in fields(cls)}
        for key in values:
            if key not in known:
                raise Pseudo3dError(unknown("field of preprocessing", key, known))
        missing = [k for k, f in known.items() if f.default is MISSING and k not in values]
        if missing:
            raise Pseudo3dError(f"preprocessing lacks {', '.join(missing)}")
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)
