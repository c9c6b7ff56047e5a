"""Voxels small enough for a web page: 256 gray values where they are needed, then compressed.

A page has 8 bits per voxel, a CT 12. Gray levels are therefore placed where the voxels are (closer
together where the histogram is high, and within the window), and how far a shown value may be off
is said. Where that is not small enough, neighbors are averaged, finest axis first, which is said
too.
"""

import zlib
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from pseudo3d.errors import Pseudo3dError

LEVELS = 256
_BINS = 4096
_SAMPLE = 2_000_000  # voxels the gray levels are placed by
_WINDOW = 0.3  # share of the levels that is spread evenly over the window
_EVEN = 0.1  # and over everything

Triple = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Codes 0 to 255 of a volume, compressed, and what they mean."""

    size: Triple
    data: bytes  # zlib; `unpack` gives the codes
    filtered: bool  # whether differences from a prediction were compressed
    table: Float[np.ndarray, "256"]  # value of each code
    error: float  # how far a shown value in the window may be off; inf: not known
    typical: float = 0.0  # root mean square of that


def pack_image(image: Float[np.ndarray, "a b c"], window: tuple[float, float]) -> Packed:
    """Turn values into codes with levels that suit them and the window."""
    levels, whole = _levels(image, window)
    middles = (levels[1:] + levels[:-1]) / 2
    codes = np.empty(image.shape, dtype=np.uint8)
    for slab, out in zip(image, codes, strict=True):  # keeps the 64-bit indices small
        out[...] = np.searchsorted(middles, slab, side="right")
    table = np.full(LEVELS, levels[-1])
    table[: len(levels)] = levels
    packed = _packed(codes, table, 0.0 if whole else _error(levels, image, window))
    return packed if whole else replace(packed, typical=_typical(codes, table, image, window))


def pack_overlay(over: Shaped[np.ndarray, "a b c"], kind: str) -> Packed:
    """Codes of a mask are its labels; of a heat map shares of its maximum, rounded up."""
    top = float(over.max())
    if kind == "mask":
        return _packed(over.astype(np.uint8), np.arange(LEVELS, dtype=np.float64), 0.0)
    scale = (LEVELS - 1) / top if top > 0 else 0.0
    codes = np.ceil(over.astype(np.float32) * np.float32(scale) - 1e-3).clip(0, 255)
    return _packed(codes.astype(np.uint8), np.arange(LEVELS) * top / (LEVELS - 1), top / 510)


def unpack(packed: Packed) -> UInt8[np.ndarray, "a b c"]:
    """The codes again; what the page does, for tests."""
    codes = np.frombuffer(zlib.decompress(packed.data), dtype=np.uint8).reshape(packed.size)
    if not packed.filtered:
        return codes.copy()
    found = np.zeros_like(codes)
    _, rows, columns = packed.size
    for plane, rest in zip(found, codes, strict=True):
        for r in range(rows):
            for c in range(columns):
                left = int(plane[r, c - 1]) if c else 0
                up = int(plane[r - 1, c]) if r else 0
                corner = int(plane[r - 1, c - 1]) if r and c else 0
                guess = sorted((left, up, left + up - corner))[1]
                plane[r, c] = (int(rest[r, c]) + guess) & 255
    return found


def fitting_size(size: Triple, spacing: tuple[float, float, float], voxels: int) -> Triple:
    """The largest size of at most so many voxels: the finest axes give way first.

    Example:
        >>> fitting_size((20, 512, 512), (6.5, 0.4, 0.4), 20 * 256 * 256)
        (20, 256, 256)
    """
    if voxels < 1:
        raise Pseudo3dError(f"{voxels} voxels; wanted 1 or more")

    def at(step: float) -> Triple:
        a, b, c = (
            max(1, min(n, int(n * s / step + 1e-9))) for n, s in zip(size, spacing, strict=True)
        )
        return a, b, c

    low, high = min(spacing), max(n * s for n, s in zip(size, spacing, strict=True))
    if int(np.prod(size)) <= voxels:
        return size
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if int(np.prod(at(middle))) <= voxels else (middle, high)
    return at(high)


def shrink(
    array: Shaped[np.ndarray, "a b c"], size: Triple, *, largest: bool, empty: float = 0.0
) -> Float[np.ndarray, "d e f"]:
    """Average neighbors down to a size, or take the largest of them; slab by slab.

    The outer borders stay where they are: voxel i of n covers the i-th of n equal parts.

    Args:
        largest: for what must not vanish (masks, heat).
        empty: takes the place of what is not finite.
    """
    pool = torch.nn.functional.adaptive_max_pool3d if largest else (
        torch.nn.functional.adaptive_avg_pool3d
    )  # fmt: skip
    found = np.empty(size, dtype=np.float32)
    full, count = len(array), size[0]
    for i in range(count):
        start, end = i * full // count, -(-(i + 1) * full // count)
        slab = np.ascontiguousarray(array[start:end]).astype(np.float32)
        slab = np.nan_to_num(slab, nan=empty, posinf=empty, neginf=empty)
        if slab.shape[1:] == size[1:] and len(slab) == 1:
            found[i] = slab[0]
        else:
            found[i] = pool(torch.from_numpy(slab)[None], (1, *size[1:]))[0, 0].numpy()
    return found


def _error(
    levels: Float[np.ndarray, " k"],
    image: Float[np.ndarray, "a b c"],
    window: tuple[float, float],
) -> float:
    """How far a value within the window may be from its level; inf: no level is in it."""
    low, high = max(window[0], float(image.min())), min(window[1], float(image.max()))
    inside = np.flatnonzero((levels >= low) & (levels <= high))
    if not len(inside):
        return inf
    first, last = max(1, int(inside[0])), min(len(levels) - 1, int(inside[-1]) + 1)
    gaps = np.diff(levels)[first - 1 : last] / 2
    return float(max([*gaps, levels[0] - low, high - levels[-1]]))


def _typical(
    codes: UInt8[np.ndarray, "a b c"],
    table: Float[np.ndarray, "256"],
    image: Float[np.ndarray, "a b c"],
    window: tuple[float, float],
) -> float:
    """Root mean square error of a sample of the voxels in the window."""
    step = max(1, image.size // _SAMPLE) | 1
    real, shown = image.reshape(-1)[::step], table[codes.reshape(-1)[::step]]
    inside = (real >= window[0]) & (real <= window[1])
    gaps = (real - shown)[inside].astype(np.float64)
    return float(np.sqrt((gaps**2).mean())) if len(gaps) else 0.0


def _levels(
    image: Float[np.ndarray, "a b c"], window: tuple[float, float]
) -> tuple[Float[np.ndarray, " k"], bool]:
    """Rising values of the codes, and whether every value has its own.

    Otherwise they are as dense as the cube root of the histogram.

    The cube root is what makes the mean square error least (Panter and Dite, 1951).
    """
    flat = image.reshape(-1)
    taken = flat[:: max(1, len(flat) // _SAMPLE) | 1]
    few = np.unique(taken)
    if len(few) <= LEVELS:
        few = np.unique(image)  # the sample may have missed some
        if len(few) <= LEVELS:
            return few.astype(np.float64), True
    low, high = _ends(few, taken, window)
    counts, edges = np.histogram(taken, bins=_BINS, range=(low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    dense = np.cbrt(counts)
    inside = ((middles >= window[0]) & (middles <= window[1])).astype(np.float64)
    share = (1 - _WINDOW - _EVEN) * dense / dense.sum() + _EVEN / _BINS
    share += _WINDOW * inside / max(1.0, inside.sum())
    reached = np.concatenate([[0.0], np.cumsum(share) / share.sum()])
    return np.interp(np.linspace(0, 1, LEVELS), reached, edges), False


def _ends(
    few: Float[np.ndarray, " u"], taken: Float[np.ndarray, " v"], window: tuple[float, float]
) -> tuple[float, float]:
    """First and last level: all values, but for a few that lie far off (one voxel at 1.7e6)."""
    least, most = float(few[0]), float(few[-1])
    low, high = (float(v) for v in np.quantile(taken, [0.0005, 0.9995]))
    far = 0.25 * (high - low)
    low = least if low - least <= far else max(least, min(low, window[0]))
    high = most if most - high <= far else min(most, max(high, window[1]))
    return (low, high) if low < high else (least, most)


def _packed(codes: UInt8[np.ndarray, "a b c"], table: np.ndarray, error: float) -> Packed:
    """Compress as it is and by differences; the smaller one wins."""
    plain = zlib.compress(codes.tobytes(), 6)
    rest = zlib.compress(_differences(codes).tobytes(), 6)
    a, b, c = codes.shape
    return Packed(
        size=(a, b, c),
        data=min(plain, rest, key=len),
        filtered=len(rest) < len(plain),
        table=np.asarray(table, dtype=np.float64),
        error=error,
    )


def _differences(codes: UInt8[np.ndarray, "a b c"]) -> UInt8[np.ndarray, "a b c"]:
    """Codes minus the median of left, upper and (left + upper - corner), as JPEG-LS predicts."""
    found = np.empty_like(codes)
    for plane, out in zip(codes, found, strict=True):
        wide = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), dtype=np.int16)
        wide[1:, 1:] = plane
        left, up, corner = wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1]
        low, high = np.minimum(left, up), np.maximum(left, up)
        guess = np.clip(left + up - corner, low, high)
        out[...] = (wide[1:, 1:] - guess).astype(np.uint8)
    return found
