"""What happens to a scan between file and network, as data that travels in the checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num, Shaped
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.grid import orient, resampled
from pseudo3d.data.scans.intensity import Edges, check_window, windowed
from pseudo3d.data.scans.scan import Scan, ScanError, note
from pseudo3d.errors import Pseudo3dError, unknown

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]
View = Literal["whole", "patch"]
KIND = "scan"  # value of the key "kind" that tells a scan's preprocessing from a video's
_PAIRS = ("LR", "PA", "IS")  # the two ends of each axis of the body


@dataclass(frozen=True, kw_only=True)
class ScanPreprocessing:
    """Which voxels of a scan a network takes, in which grid, and how values become its numbers.

    In this order: the axes are turned to `layout`, values pass the `window`, the grid becomes
    `spacing`, and `size` voxels are taken: once, around the middle (`view` whole), or wherever a
    window of that size slides (`view` patch). The network sees (value - mean) / std.

    Raises:
        Pseudo3dError: a value out of range, or values that do not go together.
    """

    size: Size  # voxels, (depth, height, width), of what the network sees at once
    view: View = "whole"
    spacing: Spacing | None = None  # mm; None: voxels as the file has them
    layout: str | None = None  # where each axis leads, as "SAR"; None: as in the file
    window: str | Edges = "none"  # a name of `pseudo3d.data.scans.intensity`, or its edges in HU
    channels: int = 1
    mean: tuple[float, ...] = (0.0,)  # of each channel, after the window
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.size) != 3 or not all(isinstance(n, int) and n >= 1 for n in self.size):
            raise Pseudo3dError(
                f"size is {self.size!r}; wanted voxels, three whole numbers (depth, height, width)"
            )
        if self.view not in get_args(View):
            raise Pseudo3dError(f"view is {self.view!r}; wanted 'whole' or 'patch'")
        if self.spacing is not None and not (
            len(self.spacing) == 3 and all(math.isfinite(s) and s > 0 for s in self.spacing)
        ):
            raise Pseudo3dError(
                f"spacing is {self.spacing!r}; wanted mm, three values above 0 (depth, height, "
                "width), or None"
            )
        if self.layout is not None:
            check_layout(self.layout)
        check_window(self.window)
        if self.channels < 1:
            raise Pseudo3dError(f"channels is {self.channels!r}; wanted 1 or more")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) != self.channels or not all(math.isfinite(v) for v in value):
                raise Pseudo3dError(
                    f"{name} is {value!r}; wanted {self.channels} finite value(s), one per channel"
                )
        if min(self.std) <= 0:
            raise Pseudo3dError(f"std is {self.std!r}; wanted values above 0")

    def normalize(self, volumes: Num[Tensor, "n c d h w"]) -> Float[Tensor, "n c d h w"]:
        """Turn voxels into the network's input, float32.

        Raises:
            Pseudo3dError: other channels than the network's.
        """
        if volumes.shape[1] != self.channels:
            raise Pseudo3dError(
                f"scans have shape {tuple(volumes.shape)}: {volumes.shape[1]} channels where the "
                f"network takes {self.channels}. Axes are (N, C, D, H, W)."
            )
        x = volumes.float()
        mean, std = (x.new_tensor(v).view(1, -1, 1, 1, 1) for v in (self.mean, self.std))
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last_3d)

    def crop(self, volume: Shaped[Tensor, "c d h w"]) -> Shaped[Tensor, "c d2 h2 w2"]:
        """Cut `size` out of the middle."""
        return middle(volume, self.size)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"kind": KIND, **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ScanPreprocessing":
        """From `to_dict`, or the same after a trip through JSON.

        Raises:
            Pseudo3dError: an unknown or missing field, or values that do not go together.
        """
        given = {k: v for k, v in values.items() if k != "kind"}
        known = {f.name: f for f in fields(cls)}
        for key in given:
            if key not in known:
                raise Pseudo3dError(unknown("field of a scan's preprocessing", key, known))
        missing = [k for k, f in known.items() if f.default is MISSING and k not in given]
        if missing:
            raise Pseudo3dError(f"a scan's preprocessing lacks {', '.join(missing)}")
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
        }
        return cls(**plain)


def any_preprocessing(values: Mapping[str, Any]) -> Preprocessing | ScanPreprocessing:
    """The preprocessing of a checkpoint: of a scan where its key `kind` says so, else of a video.

    Raises:
        Pseudo3dError: as `from_dict` of either.
    """
    if values.get("kind") == KIND:
        return ScanPreprocessing.from_dict(values)
    return Preprocessing.from_dict(values)


def middle(
    volume: Shaped[Tensor, "*c d h w"], size: Size, fill: float | None = None
) -> Shaped[Tensor, "*c d2 h2 w2"]:
    """Cut `size` out of the middle; an axis that is shorter is filled up.

    Args:
        fill: the value; None takes the lowest one, which is what lies around a body. Zero would be
            tissue after a z-score.
    """
    pads: list[int] = []
    for axis, want in zip((-3, -2, -1), size, strict=True):
        have = volume.shape[axis]
        if have > want:
            volume = volume.narrow(axis, (have - want) // 2, want)
        before = max(0, want - have) // 2
        pads = [before, max(0, want - have) - before, *pads]
    if not any(pads):
        return volume
    return F.pad(volume, pads, value=volume.min().item() if fill is None else fill)


def check_layout(layout: str) -> None:
    """Refuse what does not name one end of each axis of the body.

    Raises:
        Pseudo3dError: the message gives an example.
    """
    axes = ["".join(pair for pair in _PAIRS if letter in pair) for letter in layout]
    if sorted(axes) != sorted(_PAIRS):
        raise Pseudo3dError(
            f"layout is {layout!r}; wanted three letters, one of L R, of P A and of I S, such as "
            "'SAR': depth leads up, height to the front, width to the right"
        )


def prepared(scan: Scan, pre: ScanPreprocessing) -> tuple[Scan, Scan]:
    """The scan turned to the network's axes, and that again with window and spacing applied.

    Raises:
        ScanError: other channels than the network's, a window that does not go with the scan, or
            voxels that are not finite where no window replaces them.
    """
    scan = _finite(scan, pre.window)
    turned = scan if pre.layout is None else orient(scan, pre.layout)
    if scan.array.shape[0] != pre.channels:
        raise ScanError(
            f"{scan.source}: {scan.array.shape[0]} channels where the network takes {pre.channels}"
        )
    seen = turned
    if pre.window != "none":
        seen = turned.with_array(windowed(turned, pre.window))
    if pre.spacing is not None:
        seen = resampled(seen, pre.spacing)
    # windowed values are of order 1: half floats lose nothing that matters, and half the memory
    return turned, seen if pre.window == "none" else seen.with_array(seen.array.half())


def _finite(scan: Scan, window: str | Edges) -> Scan:
    """The scan, with a note where voxels are not finite and the window has to replace them.

    Raises:
        ScanError: no voxel is finite, or there is no window.
    """
    if not scan.array.is_floating_point():
        return scan
    bad, count = sum(int((~part.isfinite()).sum()) for part in scan.array), scan.array.numel()
    if bad == 0:
        return scan
    if bad == count:
        raise ScanError(f"{scan.source}: no voxel is finite; export the scan again")
    if window == "none":
        raise ScanError(
            f"{scan.source}: {bad} voxels are not finite; write numbers in their place, or train "
            "with a window (input.window=auto), which takes the lowest value for them"
        )
    meta = dict(scan.meta)
    note(meta, f"{bad} of {count} voxels ({bad / count:.2g} of all) are not finite; the network "
         "sees the lowest value there, or the highest for +inf")  # fmt: skip
    return replace(scan, meta=meta)
