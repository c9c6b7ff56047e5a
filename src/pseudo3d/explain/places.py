"""Which layer of a network a map is read from, and where its places lie in the clip.

A last stage that has pooled all of time away gives the same heat for every frame, so the deepest
layer is taken that still tells moments apart. Its places are not spread evenly over the input:
a convolution of stride 2 with a border of 1 looks at pixels 0, 2, 4, and after five of them the
first place is the corner of the picture, not the center of a 32nd of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.features.layers import module_of
from pseudo3d.models.network import Network
from pseudo3d.models.unet import UNet
from pseudo3d.recycle.convert.frames import Converted

Sizes = tuple[int, int, int]
_MOMENTS, _SIDE = 4, 4  # places wanted along time, height and width, where the network has them
_PART, _COARSE = 4, 32  # or one for so many frames, so many pixels


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module, what it gives for a clip, and where that lies."""

    name: str
    module: nn.Module
    places: Sizes
    starts: tuple[float, float, float]  # input index of the first place of each axis
    steps: tuple[float, float, float]  # input indices from one place to the next

    def spread(self, heat: Float[Tensor, "t2 h2 w2"], size: Sizes) -> Float[Tensor, "t h w"]:
        """Each voxel of the input between the places around it, linearly."""
        for axis in range(3):
            last = heat.shape[axis] - 1
            at = (torch.arange(size[axis]) - self.starts[axis]) / self.steps[axis]
            at = at.clamp(0, last)
            low = at.floor().long()
            part = (at - low).view([-1 if a == axis else 1 for a in range(3)])
            high = (low + 1).clamp(max=last)
            heat = heat.index_select(axis, low) * (1 - part) + heat.index_select(axis, high) * part
        return heat


@dataclass
class _Trace:
    """What the modules of a network do to a clip's axes, in order of execution."""

    seen: dict[str, tuple[nn.Module, Sizes, int]] = field(default_factory=dict)  # with calls
    known: list[dict[int, tuple[float, float]]] = field(default_factory=list)  # length -> where

    def note(self, module: nn.Module, given: Tensor, made: Tensor) -> None:
        """Where the places of a new length lie, from what the module did to the axis."""
        before, after = given.shape[-3:], made.shape[-3:]
        kernel, stride, padding = (_triple(module, key) for key in ("kernel", "stride", "padding"))
        dilation = _triple(module, "dilation")
        for axis, known in enumerate(self.known):
            if before[axis] not in known or after[axis] in known:
                continue
            start, step = known[before[axis]]
            if after[axis] < before[axis]:
                reach = (min(kernel[axis], before[axis]) - 1) * dilation[axis]
                start += step * (reach / 2 - padding[axis])
                step *= stride[axis]
            known[after[axis]] = (start, step)


def _triple(module: nn.Module, key: str) -> Sizes:
    """kernel, stride, padding or dilation as (time, height, width); 1 or 0 where there is none."""
    nothing = 0 if key == "padding" else 1
    value = getattr(module, key, None)
    if key == "kernel":
        value = getattr(module, "kernel_size", value)
    if isinstance(value, int):
        value = (value,) * 3 if "3d" in type(module).__name__ else (value,) * 2
    if not isinstance(value, tuple) or not all(isinstance(v, int) for v in value):
        return (nothing,) * 3
    return ((nothing,) * 3 + value)[-3:]  # type: ignore[return-value]  # three of them


@contextmanager
def _watched(net: nn.Module, trace: _Trace) -> Iterator[None]:
    frames = isinstance(net, Converted)  # its parts see (N * T, C, H, W)

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple, output: Any) -> None:
            given = next((x for x in inputs if isinstance(x, Tensor)), None)
            axes = 4 if frames else 5
            if given is None or not isinstance(output, Tensor) or output.ndim != axes:
                return
            if given.ndim == axes:
                given, made = _clip(given.detach(), frames), _clip(output.detach(), frames)
                trace.note(module, given, made)
            calls = trace.seen.pop(name, (module, (1, 1, 1), 0))[2]
            made = _clip(output.detach(), frames)
            t, h, w = made.shape[-3:]
            trace.seen[name] = (module, (t, h, w), calls + 1)

        return hook

    handles = [m.register_forward_hook(look(name)) for name, m in net.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _clip(x: Tensor, frames: bool) -> Tensor:
    """A layer's result for one clip as (1, C, T, H, W)."""
    return x.transpose(0, 1)[None] if frames else x


def as_map(x: Float[Tensor, "..."], net: nn.Module) -> Float[Tensor, "t h w"]:
    """What a layer gave for one clip, summed over its channels."""
    return _clip(x, isinstance(net, Converted))[0].sum(0)


def find_layer(net: nn.Module, clip: Float[Tensor, "c t h w"], name: str | None = None) -> Layer:
    """The deepest layer that tells moments and places apart, or the one that is named.

    Raises:
        Pseudo3dError: there is no such layer, or it gives no map.
    """
    size = (clip.shape[1], clip.shape[2], clip.shape[3])
    trace = _Trace(known=[{side: (0.0, 1.0)} for side in size])
    with _watched(net, trace), torch.no_grad():
        net(clip[None])
    head = getattr(net, "head", None)
    kept = {
        key: found
        for key, found in trace.seen.items()
        if found[2] == 1 and found[0] is not head and _fits(net, key)
    }
    if name is not None:
        wanted = _named(net, name)
        kept = {key: v for key, v in trace.seen.items() if v[0] is wanted and v[2] == 1}
    if not kept:
        which = "no layer of the network" if name is None else f"layer {name}"
        raise Pseudo3dError(
            f"{which} gives one map of the clip; name a block or a stage, or use the method "
            "'integrated' or 'occlusion'"
        )
    chosen = _deepest(kept, size)
    module, places, _ = kept[chosen]
    starts, steps = zip(
        *(_where(trace.known[a], places[a], size[a]) for a in range(3)), strict=True
    )
    return Layer(name=name or chosen, module=module, places=places, starts=starts, steps=steps)


def _named(net: nn.Module, name: str) -> nn.Module:
    if isinstance(net, Network):
        return module_of(net, name)
    modules = dict(net.named_modules())
    if name not in modules:
        raise Pseudo3dError(unknown("layer of this network", name, filter(None, modules)))
    return modules[name]


def _fits(net: nn.Module, name: str) -> bool:
    """In a U-Net the way down: what comes after it is the mask again."""
    return not isinstance(net, UNet) or name.startswith("stages")


def _deepest(kept: dict[str, tuple[nn.Module, Sizes, int]], size: Sizes) -> str:
    """The last layer with enough places along every axis, time before height and width."""
    least = [
        max(_MOMENTS, -(-size[0] // _PART)),
        max(_SIDE, -(-size[1] // _COARSE)),
        max(_SIDE, -(-size[2] // _COARSE)),
    ]
    for axis in range(3):
        most = max(places[axis] for _, places, _ in kept.values())
        wanted = min(most, least[axis])
        kept = {key: found for key, found in kept.items() if found[1][axis] >= wanted}
    return list(kept)[-1]


def _where(known: dict[int, tuple[float, float]], places: int, side: int) -> tuple[float, float]:
    """First place and step of an axis; evenly spread where no module has told."""
    if places in known:
        return known[places]
    return (side / places - 1) / 2, side / places
