"""From stored values to the network's: CT windows by name, MRI by percentiles of the foreground."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from pseudo3d.data.scans.scan import Scan, ScanError
from pseudo3d.errors import unknown

Window = Literal["lung", "bone", "brain", "abdomen", "mediastinum", "mri", "unit", "none", "auto"]
Edges = tuple[float, float]  # HU that become 0 and 1: the same for every scan
WINDOWS = get_args(Window)
CT = {  # name -> (center, width), HU, as radiology workstations preset them
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "abdomen": (40.0, 400.0),
    "mediastinum": (50.0, 350.0),
}
WIDE = (0.0, 2000.0)  # HU: what `auto` takes for a CT that names no window of its own
AIR = (-3100.0, -900.0)  # HU: the least value of a CT, air or what scanners pad with
PERCENTILES = (0.5, 99.5)
FOREGROUND = 0.1  # of the way from the lower to the upper percentile of all voxels
SAMPLE = 4_000_000  # voxels that percentiles are taken from, evenly spread


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """What `windowed` does to a scan, decided and said."""

    kind: Literal["window", "mri", "unit", "none"]
    center: float = 0.0  # HU, or the file's own units
    width: float = 0.0
    said: str

    @property
    def fixed(self) -> str | Edges:
        """The same as a window that means the same for every scan."""
        if self.kind != "window":
            return self.kind
        return self.center - self.width / 2, self.center + self.width / 2


def check_window(window: str | Edges) -> None:
    """Refuse what is no window.

    Raises:
        ScanError: an unknown name, or edges that are not two rising numbers.
    """
    if isinstance(window, str):
        if window not in WINDOWS:
            raise ScanError(unknown("window", window, WINDOWS))
    elif len(window) != 2 or not all(map(math.isfinite, window)) or window[0] >= window[1]:
        raise ScanError(
            f"window is {window!r}; wanted two finite numbers, the lower one first, or a name: "
            f"{', '.join(WINDOWS)}"
        )


def plan_intensity(scan: Scan, window: str | Edges) -> Intensity:
    """Decide what a window means for this scan.

    `auto` takes the first of these that holds:

    1. CT in HU: the window the file asks to be shown with, else -1000 to 1000 HU. The latter also
       where nothing says CT, but the least value is that of air in HU.
    2. Values within 0..1, and bytes in npy and npz: the range as it is (`unit`).
    3. All else, MRI among them: percentiles of the foreground (`mri`).

    Raises:
        ScanError: there is no such window, or it is one of HU and the scan is known to be no CT.
    """
    check_window(window)
    if not isinstance(window, str) or window in CT:
        modality = scan.meta.get("modality", "CT")
        if modality != "CT":
            raise ScanError(
                f"{scan.source}: window {window!r} is meant for CT in HU, the scan is {modality}; "
                "use 'mri' or 'auto'"
            )
        if isinstance(window, str):
            return _window(*CT[window], f"{window} window")
        return _window(sum(window) / 2, window[1] - window[0], "fixed window")
    if window != "auto":
        return _plain(window)
    if scan.units == "HU":
        own = _own_window(scan)
        return _window(*own, "the file's own window") if own else _window(*WIDE, "whole CT range")
    low, high = _bounds(scan.array)
    if "modality" not in scan.meta and not scan.units and AIR[0] <= low <= AIR[1]:
        return _window(*WIDE, f"whole CT range, as the least value, {low:g}, is that of CT")
    is_bytes = scan.array.dtype == torch.uint8 and scan.kind in ("npy", "npz")
    is_unit = is_bytes or (low >= 0 and high <= 1)
    return _plain("unit" if is_unit else "mri")


def windowed(scan: Scan, window: str | Edges = "auto") -> Float[Tensor, "c d h w"]:
    """The network's values, float32; never NaN or infinite.

    - CT windows, and edges in HU: 0 at the lower edge, 1 at the upper one, clipped.
    - `mri`: clipped to the percentiles 0.5 and 99.5 of the foreground, then mean 0 and standard
      deviation 1 within it, each channel by itself. Foreground is what lies above a tenth of the
      way between these percentiles of the whole volume: air, zero or noisy, stays out of the
      figures and ends as the darkest tissue.
    - `unit`: bytes / 255, 0 and 1 of a mask or of values within 0..1 as they are; any other range
      is brought to 0..1 by its least and greatest value.
    - `none`: as stored.

    Raises:
        ScanError: see `plan_intensity`.
    """
    plan = plan_intensity(scan, window)
    x = scan.array.to(torch.float32, copy=True)
    if scan.array.is_floating_point():
        low, high = _bounds(scan.array)
        x.nan_to_num_(nan=low, posinf=high, neginf=low)
    if plan.kind == "window":
        return x.sub_(plan.center - plan.width / 2).div_(plan.width).clamp_(0, 1)
    if plan.kind == "mri":
        for channel in x:
            _standardize(channel)
    if plan.kind == "unit":
        _unit(x, scan.array.dtype == torch.uint8)
    return x


def foreground(volume: Shaped[Tensor, "*d"]) -> Bool[Tensor, "*d"]:
    """Which voxels are tissue and not air: those well above the lowest values."""
    return volume > _air(_sample(volume))


def percentiles(volume: Shaped[Tensor, "*d"], wanted: tuple[float, ...]) -> list[float]:
    """Values below which a percentage of the voxels lies; of a sample where there are many."""
    return _percentiles(_sample(volume), wanted)


def _sample(volume: Tensor) -> Tensor:
    """At most about `SAMPLE` voxels, evenly spread, sorted."""
    flat = volume.reshape(-1)
    # an odd step walks through all columns of a volume whose sides are powers of two
    step = flat.numel() // SAMPLE | 1 if flat.numel() > SAMPLE else 1
    return flat[::step].float().sort().values


def _percentiles(taken: Tensor, wanted: tuple[float, ...]) -> list[float]:
    """Percentiles of a sorted list, linear between its values as in numpy."""
    found = []
    for percentage in wanted:
        place = (taken.numel() - 1) * percentage / 100
        left = int(place)
        right = min(left + 1, taken.numel() - 1)
        found.append(float(torch.lerp(taken[left], taken[right], place - left)))
    return found


def _air(taken: Tensor) -> float:
    """The value above which tissue lies, from a sorted sample of the whole volume."""
    low, high = _percentiles(taken, PERCENTILES)
    return low + FOREGROUND * (high - low)


def _standardize(x: Float[Tensor, "d h w"]) -> None:
    """Clip to the percentiles of the foreground, then its mean 0 and deviation 1; in place.

    Slice by slice, as a large volume must fit only once.
    """
    taken = _sample(x)
    air = _air(taken)
    inside = taken[taken > air]
    if not inside.numel():  # a constant volume
        x.zero_()
        return
    low, high = _percentiles(inside, PERCENTILES)
    sums = torch.zeros(3, dtype=torch.float64)
    for part in x:
        values = part[part > air].clamp_(low, high).double().sub_(low)  # offset: no cancellation
        sums += torch.stack([torch.ones_like(values).sum(), values.sum(), values.square().sum()])
    count, total, squares = sums.tolist()
    mean = total / count
    spread = max(squares / count - mean**2, 0.0) ** 0.5
    x.clamp_(low, high)  # air becomes as dark as the darkest tissue
    if spread <= 1e-6 * (high - low):
        x.zero_()
    else:
        x.sub_(low + mean).div_(spread)


def _unit(x: Tensor, is_bytes: bool) -> None:
    low, high = (float(v) for v in torch.aminmax(x))
    if is_bytes and high > 1:
        x.div_(255)
    elif high > low and not (low >= 0 and high <= 1):
        x.sub_(low).div_(high - low)
    elif not (low >= 0 and high <= 1):
        x.zero_()


def _own_window(scan: Scan) -> tuple[float, float] | None:
    """The first window a DICOM file asks to be shown with."""
    try:
        center, width = float(scan.meta["window_center"]), float(scan.meta["window_width"])
    except (KeyError, ValueError):
        return None
    return (center, width) if width > 0 else None


def _window(center: float, width: float, what: str) -> Intensity:
    edges = f"{center - width / 2:g} to {center + width / 2:g} HU become 0 to 1"
    return Intensity(kind="window", center=center, width=width, said=f"{what}: {edges}")


def _plain(name: str) -> Intensity:
    if name == "mri":
        said = "percentiles 0.5 to 99.5, then mean 0 and deviation 1, within the foreground"
        return Intensity(kind="mri", said=said)
    if name == "unit":
        return Intensity(kind="unit", said="values are brought to 0..1")
    return Intensity(kind="none", said="values stay as stored")


def _bounds(array: Tensor) -> tuple[float, float]:
    """Least and greatest value that is a number, slice by slice; 0, 0 where there is none."""
    ends = []
    for part in array.flatten(0, 1):
        values = part[part.isfinite()] if part.is_floating_point() else part
        if values.numel():
            ends.append(torch.stack(torch.aminmax(values)))
    if not ends:
        return 0.0, 0.0
    found = torch.stack(ends)
    return float(found[:, 0].min()), float(found[:, 1].max())
