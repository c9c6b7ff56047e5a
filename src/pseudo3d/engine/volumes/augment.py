"""Random changes of training scans, in millimeters where the grid has any."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pseudo3d.data.scans.preprocess import Size, Spacing
from pseudo3d.data.share import Draws, draws_for
from pseudo3d.data.transforms import Augment


@dataclass(frozen=True, kw_only=True)
class VolumeAugment(Augment):
    """What `Augment` changes in a clip, with the third axis put in.

    `rotate` turns about the depth axis, `tilt` about the other two. `shift` is a fraction of each
    side, `shear` moves voxels along one axis per voxel of another, `stretch` scales every axis by
    itself. `flip` mirrors left and right (the width), with `swap` for labels that name a side.
    """

    tilt: float = 0.0  # degrees, drawn from [-tilt, tilt]
    flip_height: bool = False
    flip_depth: bool = False
    noise: float = 0.0  # deviation drawn from [0, noise], in deviations of the scan
    field: float = 0.0  # slow change of brightness over the scan, as of a coil, 1 +- field

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tilt", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted 0 or more")
        if not 0 <= self.field < 1:
            raise ValueError(f"field is {self.field!r}; wanted 0 <= field < 1")
        if self.saturation:
            raise ValueError(f"saturation is {self.saturation!r}; scans have no colors, leave it 0")


def augment_volumes(
    volumes: Float[Tensor, "n c d h w"],
    masks: Int64[Tensor, "n d h w"] | None,
    size: Size,
    how: VolumeAugment,
    rng: torch.Generator | Draws,
    spacing: Spacing = (1.0, 1.0, 1.0),
) -> tuple[Float[Tensor, "n c d2 h2 w2"], Int64[Tensor, "n d2 h2 w2"] | None, Tensor]:
    """Cut a randomly turned, scaled, shifted and lit window out of each scan.

    Without changes it is the middle of the scan; beyond the scan its border goes on.

    Returns:
        Scans and masks of `size`, and which of them had left and right exchanged, bool (N,).
    """
    draws = draws_for(len(volumes), rng)
    matrix, mirrored = _matrices(how, draws, spacing)
    grid = _grid(matrix, _shifts(how, draws), tuple(volumes.shape[2:]), size).to(volumes.device)
    out = F.grid_sample(volumes, grid, "bilinear", "border", align_corners=False)
    moved = None
    if masks is not None:
        labels = masks[:, None].float()
        moved = F.grid_sample(labels, grid, "nearest", "border", align_corners=False)
        moved = moved[:, 0].round().long()
    return _light(out, how, draws), moved, mirrored.to(volumes.device)


def _draw(count: int, draws: Draws) -> Tensor:
    """Uniform in [-1, 1], (count, N)."""
    return 2 * draws.uniform(count) - 1


def _matrices(how: VolumeAugment, draws: Draws, spacing: Spacing) -> tuple[Tensor, Tensor]:
    """From output to input, in voxels about the middle, axes (w, h, d): (N, 3, 3)."""
    draw = _draw(10, draws)
    n = draw.shape[1]
    # in the plane of width and height, then the two that leave it
    angles = (
        (0, 1, draw[0] * math.radians(how.rotate)),
        (0, 2, draw[1] * math.radians(how.tilt)),
        (1, 2, draw[2] * math.radians(how.tilt)),
    )
    matrix = torch.eye(3).repeat(n, 1, 1)
    for a, b, angle in angles:
        turn = torch.eye(3).repeat(n, 1, 1)
        turn[:, a, a] = turn[:, b, b] = torch.cos(angle)
        turn[:, a, b], turn[:, b, a] = -torch.sin(angle), torch.sin(angle)
        matrix = matrix @ turn
    low, high = (math.log(z) for z in how.zoom)
    zoom = torch.exp(low + (draw[3] + 1) / 2 * (high - low))
    own = torch.exp(draw[4:7] * math.log(1 + how.stretch) / 2)
    shear = torch.eye(3).repeat(n, 1, 1)
    shear[:, 0, 1], shear[:, 1, 2], shear[:, 0, 2] = draw[7:10] * how.shear
    matrix = matrix @ shear / (zoom * own).T[:, None, :]
    # turning is right in millimeters: voxels -> mm, turn, mm -> voxels
    mm = torch.tensor(spacing[::-1])
    matrix = matrix * mm[None, None, :] / mm[None, :, None]
    flips = draws.uniform(3) < 0.5
    wanted = torch.tensor([how.flip, how.flip_height, how.flip_depth])
    signs = torch.where(flips & wanted[:, None], -1.0, 1.0)
    return matrix * signs.T[:, :, None], flips[0] & wanted[0]


def _shifts(how: VolumeAugment, draws: Draws) -> Tensor:
    """Fractions of each side of the output, (N, 3), axes (w, h, d)."""
    return _draw(3, draws).T * how.shift


def _grid(matrix: Tensor, shift: Tensor, have: tuple[int, ...], size: Size) -> Tensor:
    """Where each voxel of the output lies in the input, in grid_sample's [-1, 1]."""
    n, inside = len(matrix), torch.tensor(have[::-1], dtype=torch.float32)
    out = torch.tensor(size[::-1], dtype=torch.float32)
    # the middle of the cut is on whole voxels, as in `middle`
    odd = torch.tensor([math.fmod(a - b, 2) for a, b in zip(size[::-1], have[::-1], strict=True)])
    scaled = matrix * out[None, None, :] / inside[None, :, None]
    offset = (2 * shift * out + odd) / inside
    theta = torch.cat([scaled, offset[:, :, None]], 2)
    return F.affine_grid(theta, [n, 1, *size], align_corners=False)


def _light(x: Tensor, how: VolumeAugment, draws: Draws) -> Tensor:
    """Brightness, contrast, a slow field and noise; each scan by itself."""
    n = len(x)
    draw = _draw(3, draws)
    light, contrast = (
        (1 + d * most).to(x).view(n, 1, 1, 1, 1)
        for d, most in zip(draw, (how.brightness, how.contrast), strict=False)
    )
    if how.contrast:
        mean = x.mean(dim=(1, 2, 3, 4), keepdim=True)
        x = mean + (x - mean) * contrast
    if how.field:
        slow = 2 * draws.boxes(1, 3, 3, 3) - 1
        slow = F.interpolate(slow.to(x), x.shape[2:], mode="trilinear", align_corners=True)
        x = x * (1 + how.field * slow)
    if how.noise:
        amount = (draw[2].abs() * how.noise).to(x).view(n, 1, 1, 1, 1)
        spread = x.std(dim=(1, 2, 3, 4), keepdim=True)
        x = x + draws.normal(*x.shape[1:]).to(x) * amount * spread
    return x * light
