"""Made lesions in real scans: where they are is known, and no single slice shows them.

Noise lies over the whole scan, drawn anew for every voxel. In a lesion it is drawn once for each
place in the plane and goes on through the slices. So the voxels of a slice follow the same
distribution inside and outside, and whoever looks at slices one by one can do no better than guess;
across slices a lesion stands still while everything around it changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.dataset import generator
from pseudo3d.data.scans.intensity import windowed
from pseudo3d.data.scans.manifest import ScanItem, write_scans
from pseudo3d.data.scans.names import stem
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import Scan
from pseudo3d.data.scans.write import write_like
from pseudo3d.errors import Pseudo3dError

_TRIES = 50  # places tried for a lesion before the scan gets one fewer


@dataclass(frozen=True, kw_only=True)
class LesionSpec:
    """How many lesions a scan gets, how large, and how loud the noise is.

    Raises:
        Pseudo3dError: values out of range.
    """

    most: int = 3  # lesions in a scan, drawn from 0 to this many
    radius: tuple[float, float] = (3.0, 6.0)  # mm, shortest and longest
    noise: float = 1.0  # deviation, in deviations of the scan's own values
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.radius
        if not 0 < low <= high or self.most < 0 or self.noise <= 0:
            raise Pseudo3dError(
                f"radius {self.radius}, most {self.most}, noise {self.noise}; wanted 0 < shortest "
                "<= longest, no negative number of lesions, and noise above 0"
            )


def lesioned(
    scan: Scan, spec: LesionSpec, number: int = 0
) -> tuple[Float[Tensor, "d h w"], UInt8[Tensor, "d h w"]]:
    """The scan with noise and lesions, z-scored before, and the mask of its lesions.

    Args:
        number: of the scan; the same seed and number give the same lesions.
    """
    rng = generator(spec.seed, number)
    base = windowed(scan, "mri")[0]
    base = base / base.std().clamp(min=1e-6)
    mask = _places(scan, spec, rng)
    fresh = torch.randn(base.shape, generator=rng)
    still = torch.randn(base.shape[1:], generator=rng).expand_as(base)
    noise = torch.where(mask > 0, still, fresh)
    return base + spec.noise * noise, mask


def _places(scan: Scan, spec: LesionSpec, rng: torch.Generator) -> Tensor:
    """Balls (in mm) wholly inside the scan, at least two voxels apart."""
    mask = torch.zeros(scan.size, dtype=torch.uint8)
    wanted = int(torch.randint(spec.most + 1, (), generator=rng))
    axes = [torch.arange(n) for n in scan.size]
    for _ in range(wanted):
        for _ in range(_TRIES):
            low, high = spec.radius
            radius = low + (high - low) * float(torch.rand((), generator=rng))
            reach = [radius / s for s in scan.spacing]
            room = [n - 1 - 2 * r for n, r in zip(scan.size, reach, strict=True)]
            draw = torch.rand(3, generator=rng).tolist()
            if min(room) < 0:
                continue
            center = [r + d * left for r, d, left in zip(reach, draw, room, strict=True)]
            apart = [
                ((axis - c) * s).square()
                for axis, c, s in zip(axes, center, scan.spacing, strict=True)
            ]
            far = apart[0][:, None, None] + apart[1][:, None] + apart[2]
            if not mask[far <= (radius + 2 * max(scan.spacing)) ** 2].any():
                mask[far <= radius**2] = 1
                break
    return mask


def make_lesion_set(
    backgrounds: Sequence[Path],
    out: Path,
    spec: LesionSpec | None = None,
    *,
    shares: tuple[float, float] = (0.65, 0.1),
) -> Path:
    """Write scans and masks as NIfTI with a manifest.csv beside them.

    Args:
        backgrounds: scans of one person each.
        shares: of the backgrounds, for training and for watching; the rest is the test part.
    Returns:
        Path of the manifest.
    """
    spec = spec or LesionSpec()
    order = torch.randperm(len(backgrounds), generator=generator(spec.seed, -1)).tolist()
    first, second = round(shares[0] * len(order)), round(sum(shares) * len(order))
    items = []
    for rank, number in enumerate(order):
        path = backgrounds[number]
        scan = read_scan(path)
        volume, mask = lesioned(scan, spec, number)
        name = f"{stem(path)}.nii.gz"
        split = "train" if rank < first else "val" if rank < second else "test"
        items.append(
            ScanItem(
                path=write_like(out / "images" / name, volume, scan),
                label="",
                mask=write_like(out / "labels" / name, mask, scan),
                group=stem(path),
                split=split,
            )
        )
    write_scans(items, out / "manifest.csv")
    return out / "manifest.csv"
