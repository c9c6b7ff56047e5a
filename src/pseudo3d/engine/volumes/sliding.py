"""Look at a scan of any size through a window, within a stated amount of memory.

Windows overlap and are blended with a Gaussian weight, as their borders know least (Isensee et al.,
Nature Methods 2021). Sums are kept only for the slices that windows still reach: what is finished
goes to the caller slab by slab, so that memory does not grow with the depth of a scan.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from pseudo3d.data.scans.preprocess import ScanPreprocessing, Size
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.memory import forecast
from pseudo3d.models.network import Network
from pseudo3d.runtime.lower import Lowered

Progress = Callable[[int, int], None]
_SIGMA = 0.125  # of a window's side
_LEAST = 1e-3  # weight of a corner; zero would leave the corners of a scan without an answer


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """How a scan is covered.

    Raises:
        Pseudo3dError: an overlap outside [0, 0.9] or no memory.
    """

    overlap: float = 0.5  # of neighboring windows, share of a side
    gaussian: bool = True  # False: every voxel of a window counts alike
    # bytes for the scan, its answer, sums and windows; Python and torch take some 0.4 GB beside it
    memory: int | None = None  # None: one window at a time
    batch: int | None = None  # windows at a time; None: what the memory holds

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 0.9:
            raise Pseudo3dError(f"overlap is {self.overlap!r}; wanted 0 to 0.9 of a window's side")
        if self.batch is not None and self.batch < 1:
            raise Pseudo3dError(f"batch is {self.batch!r}; wanted windows at a time, 1 or more")
        if self.memory is not None and self.memory < 1:
            raise Pseudo3dError(f"memory is {self.memory!r}; wanted bytes, 1 or more")


@dataclass(frozen=True)
class Slab:
    """Finished slices."""

    start: int  # first slice
    logits: Float[Tensor, "k d h w"]


def starts(have: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: evenly, the last one at the end.

    Example:
        >>> starts(10, 4, 0.5)
        [0, 2, 4, 6]
    """
    if have <= window:
        return [0]
    step = max(1, math.floor(window * (1 - overlap)))
    count = math.ceil((have - window) / step) + 1
    return [round(i * (have - window) / (count - 1)) for i in range(count)]


def window_weight(size: Size, gaussian: bool = True) -> Float[Tensor, "d h w"]:
    """What a voxel of a window counts, 1 in the middle."""
    weight = torch.ones(size)
    if not gaussian:
        return weight
    for axis, n in enumerate(size):
        x = (torch.arange(n) - (n - 1) / 2) / max(_SIGMA * n, 1e-6)
        shape = [n if a == axis else 1 for a in range(3)]
        weight = weight * torch.exp(-0.5 * x.square()).view(shape)
    return (weight / weight.max()).clamp(min=_LEAST)


def slabs(
    net: nn.Module | Lowered,
    volume: Num[Tensor, "c d h w"],
    pre: ScanPreprocessing,
    how: Sliding | None = None,
    progress: Progress | None = None,
) -> Iterator[Slab]:
    """Blended logits of a scan, slice by slice as they are finished.

    Args:
        volume: prepared, not normalized; it may be mapped from disk.
        progress: called with (windows done, windows in all).
    Raises:
        Pseudo3dError: the memory given is too little; the message says how much is needed.
    """
    how = how or Sliding()
    size: Size = tuple(volume.shape[1:])  # type: ignore[assignment]
    window, batch = pre.size, batch_of(net, pre, size, how)
    along, down, right = (
        starts(have, want, how.overlap) for have, want in zip(size, window, strict=True)
    )
    weight = window_weight(window, how.gaussian)
    covered = tuple(max(a, b) for a, b in zip(size, window, strict=True))
    sums: Tensor | None = None
    counts = torch.zeros(window[0], *covered[1:])
    total, done, first = len(along) * len(down) * len(right), 0, 0
    for n, at in enumerate(along):
        if sums is not None and at > first:
            yield Slab(first, _finished(sums, counts, at - first, size))
            sums, counts = _moved(sums, counts, at - first)
            first = at
        places = list(product([at], down, right))
        for i in range(0, len(places), batch):
            part = places[i : i + batch]
            logits = _look(net, volume, pre, part)
            if sums is None:
                sums = torch.zeros(logits.shape[1], *counts.shape)
            for (_, y, x), seen in zip(part, logits, strict=True):
                area = (slice(y, y + window[1]), slice(x, x + window[2]))
                sums[:, :, area[0], area[1]] += seen * weight
                counts[:, area[0], area[1]] += weight
            done += len(part)
            if progress is not None:
                progress(done, total)
        if n == len(along) - 1 and sums is not None:
            yield Slab(first, _finished(sums, counts, min(window[0], size[0] - first), size))


def _finished(sums: Tensor, counts: Tensor, depth: int, size: Size) -> Tensor:
    """The first `depth` slices, cut back to the scan where a window is larger than it."""
    mean = sums[:, :depth] / counts[:depth]
    return mean[:, :, : size[1], : size[2]]


def _moved(sums: Tensor, counts: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """Slices that later windows still reach come to the front."""
    for x in (sums, counts[None]):
        x[:, : x.shape[1] - by] = x[:, by:].clone()
        x[:, x.shape[1] - by :] = 0
    return sums, counts


def _look(
    net: nn.Module | Lowered,
    volume: Tensor,
    pre: ScanPreprocessing,
    places: list[tuple[int, int, int]],
) -> Tensor:
    """Logits of some windows, on the CPU; a scan smaller than a window is filled up behind."""
    cuts = []
    for place in places:
        part = volume
        for axis, (start, want) in enumerate(zip(place, pre.size, strict=True), start=1):
            part = part.narrow(axis, start, min(want, part.shape[axis]))
        cuts.append(_filled(part.float(), pre.size))  # autocast on a CPU knows no half
    weights = net.parameters() if isinstance(net, nn.Module) else ()
    device = next((p.device for p in weights), torch.device("cpu"))
    with torch.inference_mode():
        found: Tensor = net(pre.normalize(torch.stack(cuts).to(device)))
    return found.float().cpu()


def _filled(part: Tensor, size: Size) -> Tensor:
    """Filled up behind each axis with the lowest value."""
    missing = [want - have for have, want in zip(part.shape[1:], size, strict=True)]
    if not any(missing):
        return part
    d, h, w = missing
    return torch.nn.functional.pad(part, (0, w, 0, h, 0, d), value=part.min().item())


def slide(
    net: nn.Module | Lowered,
    volume: Num[Tensor, "c d h w"],
    pre: ScanPreprocessing,
    how: Sliding | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "k d h w"]:
    """Blended logits of a whole scan."""
    return torch.cat([slab.logits for slab in slabs(net, volume, pre, how, progress)], 1)


def memory_needed(net: Network, pre: ScanPreprocessing, size: Size, batch: int) -> int:
    """Bytes of the sums over a slab, and of `batch` windows inside the network."""
    h, w = (max(a, b) for a, b in zip(pre.size[1:], size[1:], strict=True))
    classes = net.cfg.num_classes
    slab = (2 * classes + 1) * 4 * pre.size[0] * h * w  # sums, weights, what is handed over
    side = round(math.sqrt(pre.size[1] * pre.size[2]))
    inside = forecast(net, batch, pre.size[0], side, "fp32", train=False).total
    return slab + inside


def batch_of(net: nn.Module | Lowered, pre: ScanPreprocessing, size: Size, how: Sliding) -> int:
    """The most windows at once that the memory holds, 8 at most.

    Args:
        net: for a forecast the network itself; an optimized one takes no more.
    Raises:
        Pseudo3dError: the memory holds none.
    """
    if how.batch is not None:
        return how.batch
    if how.memory is None or not isinstance(net, Network):
        return 1
    for batch in (8, 4, 2, 1):
        needed = memory_needed(net, pre, size, batch)
        if needed <= how.memory:
            return batch
    raise Pseudo3dError(
        f"a scan of {size} voxels needs {needed / 2**20:.0f} MiB with windows of {pre.size}, "
        f"{how.memory / 2**20:.0f} are allowed; give more memory, a coarser spacing, or a network "
        "trained with a smaller window"
    )
