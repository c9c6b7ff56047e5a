"""Tensor code on clips and scans alike: resize, crop, augment.

Everything works on (..., C, T, H, W) or (N, C, T, H, W); a scan has its slices in T's place.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from pseudo3d.data.share import Draws, draws_for
from pseudo3d.errors import Pseudo3dError

Pair = tuple[int, int]


def short_side(height: int, width: int, side: int) -> Pair:
    """(height, width) scaled so that the shorter one is `side` pixels, aspect kept."""
    if height <= width:
        return side, max(side, round(width * side / height))
    return max(side, round(height * side / width)), side


def resize(video: Shaped[Tensor, "c t h w"], size: int | Pair) -> Shaped[Tensor, "c t h2 w2"]:
    """Scale every frame with antialiasing; bytes stay bytes (26 times cheaper than in floats).

    Args:
        size: (height, width) in pixels, or the shorter side.
    """
    h, w = video.shape[-2:]
    target = short_side(h, w, size) if isinstance(size, int) else size
    if (h, w) == target:
        return video
    frames = video.transpose(0, 1)
    scaled = F.interpolate(frames, target, mode="bilinear", antialias=True, align_corners=False)
    return scaled.transpose(0, 1)


def center_crop(clips: Shaped[Tensor, "*n h w"], size: Pair) -> Shaped[Tensor, "*n h2 w2"]:
    """Cut (height, width) out of the middle; an axis that is shorter is filled up with zeros."""
    for axis, want in ((-2, size[0]), (-1, size[1])):
        have = clips.shape[axis]
        if have > want:
            clips = clips.narrow(axis, (have - want) // 2, want)
        elif have < want:
            before = (want - have) // 2
            pad = [before, want - have - before]
            clips = F.pad(clips, pad if axis == -1 else [0, 0, *pad])
    return clips


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of a training clip; every frame of a clip is changed alike.

    A mirror image is another action wherever left and right are told apart, so `flip` is off
    unless it is declared harmless or `swap` names the label each label becomes.
    """

    rotate: float = 0.0  # degrees, drawn from [-rotate, rotate]
    zoom: tuple[float, float] = (1.0, 1.0)  # factor of size
    stretch: float = 0.0  # width over height changes by a factor up to 1 + stretch, or its inverse
    shear: float = 0.0  # columns per row, drawn from [-shear, shear]
    shift: float = 0.0  # fraction of the crop's side
    brightness: float = 0.0  # value times 1 +- brightness
    contrast: float = 0.0  # distance from the clip's mean times 1 +- contrast
    saturation: float = 0.0  # distance from gray times 1 +- saturation; RGB only
    flip: bool = False
    swap: Mapping[str, str] = field(default_factory=dict)  # label -> label of its mirror image

    def __post_init__(self) -> None:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom is {self.zoom}; wanted 0 < low <= high")
        if self.swap and not self.flip:
            raise ValueError("swap is given and flip is off; set flip=True to draw mirror images")
        for name in ("rotate", "stretch", "shear", "shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted 0 or more")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted 0 <= {name} < 1")

    def check_flow(self) -> None:
        """Refuse what is no change of optical flow.

        Raises:
            Pseudo3dError: changes of light, which would make motion out of rest.
        """
        light = ("brightness", "contrast", "saturation")
        lit = {name: value for name in light if (value := getattr(self, name))}
        if lit:
            came = ", ".join(f"{name}={value!r}" for name, value in lit.items())
            cure = " ".join(f"--set augment.{name}=0" for name in lit)
            raise Pseudo3dError(
                f"augment changes light ({came}), of which optical flow has none; leave it ({cure})"
            )

    def swap_labels(self, classes: tuple[str, ...]) -> Tensor:
        """Label of the mirror image for each label, (K,).

        Raises:
            Pseudo3dError: `swap` names a label that is not among `classes`, or is no exchange.
        """
        index = {name: i for i, name in enumerate(classes)}
        out = list(range(len(classes)))
        for a, b in self.swap.items():
            if a not in index or b not in index:
                raise Pseudo3dError(
                    f"flip swaps {a!r} with {b!r}, but the classes are {', '.join(classes)}"
                )
            if any(out[i] not in (i, j) for i, j in ((index[a], index[b]), (index[b], index[a]))):
                raise Pseudo3dError(
                    f"flip swaps {a!r} with {b!r}, one of which is swapped with another label; "
                    "wanted each label in one pair"
                )
            out[index[a]], out[index[b]] = index[b], index[a]
        return torch.tensor(out)


def augment(
    clips: Float[Tensor, "n c t h w"],
    size: Pair,
    how: Augment,
    rng: torch.Generator | Draws,
    *,
    flow: bool = False,
) -> tuple[Float[Tensor, "n c2 t h2 w2"], Tensor]:
    """Cut a randomly turned, scaled, shifted and lit window out of each clip.

    Without changes it is the center crop: one pixel of the clip is one pixel of the output at
    zoom 1.

    Args:
        flow: the channels are motion right and down, 128 is none; a third one is left out. Motion
            is mirrored, turned and scaled as the picture is; for light see `Augment.check_flow`.
    Returns:
        The clips with (height, width) = `size`, and which of them were mirrored, bool (N,).
    """
    if flow:
        clips = clips[:, :2] - 128  # so that what lies outside the picture rests
    n, c, t, h, w = clips.shape
    draws = draws_for(n, rng)
    draw = 2 * draws.uniform(8) - 1
    mirrored = (draw[3] < 0) if how.flip else torch.zeros(n, dtype=torch.bool)
    x, y = _slopes(draw, how, mirrored)
    move = draw[5:7] * how.shift
    # affine_grid wants both ends in [-1, 1]
    out_size = torch.tensor([size[1], size[0]])
    off_x, off_y = (math.fmod(a - b, 2) for a, b in ((size[1], w), (size[0], h)))  # half pixels
    row_x = torch.cat([x * out_size / w, (2 * move[:1].T * size[1] + off_x) / w], 1)
    row_y = torch.cat([y * out_size / h, (2 * move[1:].T * size[0] + off_y) / h], 1)
    theta = torch.stack([row_x, row_y], 1).to(clips.device)
    grid = F.affine_grid(theta, [n, 1, *size], align_corners=False)
    out = F.grid_sample(
        clips.reshape(n, c * t, h, w), grid, mode="bilinear", align_corners=False
    ).reshape(n, c, t, *size)
    if flow:
        out = (_turned(out, torch.stack([x, y], 1)) + 128).clamp(0, 255)
    return _light(out, how, draw[7], draws), mirrored.to(clips.device)


def _slopes(draw: Tensor, how: Augment, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels right and down in the input, for a pixel of the output in each direction, (N, 2)."""
    low, high = (math.log(z) for z in how.zoom)
    zoom = torch.exp(low + (draw[1] + 1) / 2 * (high - low))
    wide = torch.exp(draw[2] * math.log(1 + how.stretch) / 2)
    angle, shear = draw[0] * math.radians(how.rotate), draw[4] * how.shear
    # mirror, shear, turn, then scale each axis
    side = torch.where(mirrored, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x = torch.stack([side * cos, shear * cos - sin], 1) / (zoom * wide)[:, None]
    y = torch.stack([side * sin, shear * sin + cos], 1) / (zoom / wide)[:, None]
    return x, y


def _turned(motion: Tensor, slope: Tensor) -> Tensor:
    """Motion as the output shows it, from whose pixels `slope` (N, 2, 2) leads to the input's."""
    back = torch.linalg.inv(slope).to(motion)[..., None, None, None]
    # not by a matrix product, which autocast would round
    return back[:, :, 0] * motion[:, :1] + back[:, :, 1] * motion[:, 1:]


def _light(clips: Tensor, how: Augment, draw: Tensor, draws: Draws) -> Tensor:
    """Brightness by `draw` in [-1, 1], contrast and saturation by draws of their own."""
    n, c = clips.shape[:2]
    more = 2 * draws.uniform(2) - 1
    light, contrast, color = (
        (1 + d * most).to(clips).view(n, 1, 1, 1, 1)
        for d, most in zip(
            (draw, *more), (how.brightness, how.contrast, how.saturation), strict=True
        )
    )
    if how.contrast:
        mean = clips.mean(dim=(1, 2, 3, 4), keepdim=True)
        clips = mean + (clips - mean) * contrast
    if how.saturation and c == 3:
        gray = clips.mean(dim=1, keepdim=True)
        clips = gray + (clips - gray) * color
    return clips * light
