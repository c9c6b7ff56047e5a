"""What a network wants to see: a clip made from noise by following the gradient of one class.

The paper shows such clips of P3D, made with DeepDraw (Qiu et al., ICCV 2017): small steps uphill,
each at another offset, smoothed in between, from small pictures to large ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import VideoWriter
from pseudo3d.engine.judge import known
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.modes import plain
from pseudo3d.models.network import Network

_LUMA = (0.299, 0.587, 0.114)
_LEAST = 16  # pixels, the shorter side of the smallest octave
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How a clip is drawn; pixels of the network's input, bytes of 0 to 255."""

    steps: int = 120  # in each octave
    octaves: tuple[float, ...] = (0.5, 0.75, 1.0)  # of the network's height and width
    rate: float = 4.0  # bytes that a step moves a typical pixel, at first; half as much at the end
    jitter: int = 4  # pixels, largest offset of a step
    blur: tuple[float, float] = (2.0, 0.5)  # pixels, of a step, from start to end of an octave
    time_blur: float = 0.7  # frames, of a step
    variation: float = 0.15  # weight of the total variation beside the class's gradient
    noise: float = 20.0  # bytes, standard deviation of the first clip
    contrast: float = 120.0  # bytes, that an octave's strongest pixels are away from rest
    fade: float = 0.01  # of the distance to gray, lost in each step
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.octaves or not all(0 < o <= 1 for o in self.octaves):
            raise ValueError(
                f"steps is {self.steps}, octaves {self.octaves}; wanted 1 step or more, and sizes "
                "above 0, at most 1"
            )
        if min(self.jitter, *self.blur, self.time_blur, self.variation, self.noise, self.fade) < 0:
            raise ValueError("jitter, blur, time_blur, variation, noise, fade: wanted 0 or more")


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """A drawn clip and what the network says to it."""

    frames: UInt8[Tensor, "3 t h w"]
    label: str
    probability: float  # of the label, for the bytes as they are


def imagine(
    net: Network, label: str, how: Drawing | None = None, progress: Progress | None = None
) -> Imagined:
    """Draw the clip that a class answers to most.

    What is raised is the class's logit against all others together: a logit alone also grows by
    what every class likes.

    Raises:
        WeightsError: the network does not know its classes or its preprocessing.
        Pseudo3dError: an unknown class, or a network that takes flow, which is no picture.
    """
    (pre, classes), how = known(net), how or Drawing()
    if label not in classes:
        raise Pseudo3dError(unknown("class of this network", label, classes))
    if pre.color == "flow":
        raise Pseudo3dError("the network takes optical flow; only frames (rgb, gray) can be drawn")
    net, target, rng = plain(net), classes.index(label), torch.Generator().manual_seed(how.seed)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    sizes = [tuple(max(_LEAST, round(side * o)) for side in pre.size) for o in how.octaves]
    shape = (1, 1 if pre.color == "gray" else 3, pre.frames, *sizes[0])
    rest = rest_color(pre).to(device)
    x = rest + how.noise * torch.randn(shape, generator=rng).to(device)
    total = len(sizes) * how.steps
    for octave, size in enumerate(sizes):
        x = F.interpolate(x, (pre.frames, *size), mode="trilinear", align_corners=False)
        for step in range(how.steps):
            y = _step(net, pre, x, target, how, step / how.steps, rng)
            x = (rest + (1 - how.fade) * (y - rest)).clamp(0, 255)
            if progress is not None:
                progress(octave * how.steps + step + 1, total)
        x = _stretched(x, rest, how.contrast)
    frames = x.round().to(torch.uint8)
    with torch.no_grad():
        probability = float(net(pre.normalize(frames)).float().softmax(1)[0, target])
    shown = frames[0].cpu().expand(3, -1, -1, -1)
    return Imagined(frames=shown.contiguous(), label=label, probability=probability)


def _step(
    net: Network,
    pre: Preprocessing,
    x: Tensor,
    target: int,
    how: Drawing,
    part: float,
    rng: torch.Generator,
) -> Tensor:
    """One step uphill and what keeps it a picture; `part` of the octave is done."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        move = torch.randint(-how.jitter, how.jitter + 1, (2,), generator=rng).tolist()
        logits = net(normalize(pre, x.roll(move, dims=(-2, -1))))[0].float()
        others = torch.cat([logits[:target], logits[target + 1 :]])
        goal = logits[target] - others.logsumexp(0) if len(others) else logits[target]
        rough = x.diff(dim=-2).abs().sum() + x.diff(dim=-1).abs().sum()
        up, rougher = (torch.autograd.grad(value, x)[0] for value in (goal, rough))
    first, last = how.blur
    for axis in (-2, -1):
        up = smooth(up, first + (last - first) * part, axis)
    up = smooth(up, how.time_blur, axis=-3)
    up = up / up.std().clamp_min(1e-12) - how.variation * rougher
    return x.detach() + how.rate * (1 - part / 2) * up


def write_clip(
    clip: UInt8[Tensor, "3 t h w"], path: str | Path, fps: float = 8.0, least: int = 256
) -> None:
    """Write a drawn clip as MP4, enlarged to a shorter side of `least` pixels or more.

    Raises:
        VideoError: the file cannot be written.
    """
    factor = max(1.0, least / min(clip.shape[2:]))
    size = [round(side * factor) for side in clip.shape[2:]]
    frames = clip.transpose(0, 1).float()
    large = F.interpolate(frames, size, mode="bicubic", align_corners=False)
    with VideoWriter(path, fps) as writer:
        writer.write(large.round().clamp(0, 255).to(torch.uint8).transpose(0, 1))


def _stretched(x: Tensor, rest: Tensor, contrast: float) -> Tensor:
    """Strong enough to be seen: one pixel in a hundred is `contrast` or more away from `rest`."""
    away = (x - rest).abs()
    strong = away.flatten().kthvalue(max(1, round(0.99 * away.numel()))).values
    return (rest + (x - rest) * (contrast / strong.clamp_min(1)).clamp_min(1)).clamp(0, 255)


def rest_color(pre: Preprocessing) -> Float[Tensor, "1 c 1 1 1"]:
    """The frames' color, in bytes, that is 0 for the network: where a clip starts and fades to."""
    color = torch.tensor(pre.mean) * pre.scale
    return (color.flip(0) if pre.color == "bgr" else color).view(1, -1, 1, 1, 1)


def smooth(x: Float[Tensor, "*n"], sigma: float, axis: int) -> Float[Tensor, "*n"]:
    """Gaussian blur along one axis; the ends are repeated."""
    radius = math.ceil(3 * sigma)
    if radius == 0:
        return x
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (weights / weights.sum()).to(x).view(1, 1, -1)
    rows = x.movedim(axis, -1)
    padded = F.pad(rows.reshape(-1, 1, rows.shape[-1]), (radius, radius), mode="replicate")
    return F.conv1d(padded, kernel).view(rows.shape).movedim(-1, axis)


def normalize(
    pre: Preprocessing, frames: Float[Tensor, "n c t h w"]
) -> Float[Tensor, "n c2 t h w"]:
    """`Preprocessing.normalize` for frames in bytes' range, with a gradient.

    That one writes into a result made beforehand, which is faster and cannot be differentiated.
    """
    x = frames
    if pre.color == "gray" and x.shape[1] == 3:
        x = torch.einsum("ncthw,c->nthw", x, x.new_tensor(_LUMA))[:, None]
    elif pre.color == "bgr":
        x = x.flip(1)
    x = x / pre.scale
    mean, std = (x.new_tensor(values).view(1, -1, 1, 1, 1) for values in (pre.mean, pre.std))
    base = (x - mean) / std
    if not pre.difference:
        return base
    moved = x.diff(dim=2) / pre.difference_std
    return torch.cat([base, F.pad(moved, (0, 0, 0, 0, 1, 0))], dim=1)
