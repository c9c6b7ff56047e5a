"""What the network looked at in an upload, window after window, over the whole picture."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pseudo3d.serve.answers import Attention, Seen
from pseudo3d.serve.films import Window
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.service import Service

if TYPE_CHECKING:
    from pseudo3d.explain.saliency import Method
    from pseudo3d.models.network import Network

_MOST = 12  # windows explained in one video
_METHOD: "Method" = "gradcam"


@dataclass
class Samples:
    """Windows that do not overlap, at most so many, evenly over a video of unknown length."""

    kept: list[tuple[Tensor, tuple[float, ...]]] = field(default_factory=list)
    _stride: int = 1
    _met: int = 0
    _end: float = -np.inf

    def add(self, window: Window) -> None:
        """Keep the window's middle clip, if it is its turn."""
        if window.start < self._end - 1e-6:
            return
        self._end = window.end
        if self._met % self._stride == 0:
            self.kept.append((window.clips[len(window.clips) // 2].clone(), window.times))
        self._met += 1
        if len(self.kept) > _MOST:
            del self.kept[1::2]
            self._stride *= 2


async def attend(service: Service, samples: Samples, seen: Seen) -> Attention:
    """Explain the most probable class.

    Raises:
        Problem: this network, or this version, explains nothing.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(service.threads, _attend, service, samples, seen)


def _attend(service: Service, samples: Samples, seen: Seen) -> Attention:
    net: Network = service.model.network()
    pre = service.model.check_ready().preprocessing
    target = seen.prediction.label
    parts = []
    for clip, shown in samples.kept:
        part = _explained(net, pre.normalize(clip[None])[0], target)
        parts.append(replace(part, times=np.asarray(shown)))
    found = _joined(parts)  # on one scale: a window where nothing speaks for the class stays dark
    return Attention(
        times=found.times,
        importance=found.importance,
        heat=framed(found.heat, pre.resize, (seen.height, seen.width)),
        target=target,
        method=_METHOD,
    )


def _joined(parts: list[Any]) -> Any:
    from pseudo3d.explain.whole import joined

    return joined(parts)


def _explained(net: "Network", clip: Tensor, target: str) -> Any:
    try:
        from pseudo3d.explain.attribution import How, explain

        return explain(net, clip, target=target, method=_METHOD, seed=0, how=How(check=False))
    except ImportError as err:
        raise Problem("bad_request", f"this service explains nothing: {err}") from err


def framed(
    heat: Float[np.ndarray, "t h w"], resize: int, size: tuple[int, int]
) -> Float[np.ndarray, "t rows cols"]:
    """Heat of the crop the network saw, set into the whole picture; what it did not see is 0."""
    _, h, w = heat.shape
    scale = resize / max(min(size), 1)
    rows, cols = max(round(size[0] * scale), h), max(round(size[1] * scale), w)
    whole = np.zeros((len(heat), rows, cols), dtype=heat.dtype)
    top, left = (rows - h) // 2, (cols - w) // 2
    whole[:, top : top + h, left : left + w] = heat
    return whole
