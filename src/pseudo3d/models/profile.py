"""Size, cost and field of view of a network, found without computing anything."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pseudo3d.models.network import Network
from pseudo3d.nn.blocks import PseudoPair
from pseudo3d.nn.conv import Triple
from pseudo3d.nn.shift import TimeShift
from pseudo3d.nn.stem import MaxPool

Window = tuple[Triple, Triple, Triple]  # kernel, stride, dilation


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a network costs and sees."""

    parameters: int
    macs: int  # multiply-adds of convolutions and classifier for one clip, padding taps included
    field_of_view: Triple  # input frames, rows, columns behind one voxel of the last stage


def profile(net: Network, frames: int = 16, size: int | tuple[int, int] = 160) -> Profile:
    """Measure a network for one clip of `frames` images; `net` is left as it is.

    Runs on shapes alone (torch's meta device), so that the deepest network takes a second.

    Args:
        size: (height, width), or the side of a square.
    Raises:
        ValueError: fewer than one frame or pixel.
    """
    h, w = (size, size) if isinstance(size, int) else size
    if min(frames, h, w) < 1:
        raise ValueError(f"frames is {frames}, size {size}; wanted at least 1 each")
    return Profile(
        parameters=sum(p.numel() for p in net.parameters()),
        macs=_macs(net, (frames, h, w)),
        field_of_view=_field_of_view(net),
    )


def _macs(net: Network, clip_size: Triple) -> int:
    tensors = [*net.parameters(), *net.buffers()]
    shapes_only = {id(x): x.detach().to("meta") for x in tensors}  # spares deepcopy the weights
    shadow = deepcopy(net, shapes_only).eval()
    clip = torch.empty(1, net.cfg.in_channels, *clip_size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        shadow(clip)
    return counter.get_total_flops() // 2


def _field_of_view(net: Network) -> Triple:
    """Grow one voxel by every window on the way to it; `jump` is the pitch in input voxels."""
    seen, jump = [1, 1, 1], [1, 1, 1]
    for part in (net.stem, net.stages):
        for kernel, stride, dilation in _windows(part):
            for axis in range(3):
                seen[axis] += dilation[axis] * (kernel[axis] - 1) * jump[axis]
                jump[axis] *= stride[axis]
    return seen[0], seen[1], seen[2]


def _windows(module: nn.Module) -> Iterator[Window]:
    """Windows along the longest path, in order of execution; shortcuts see less."""
    if isinstance(module, nn.Conv3d):
        yield module.kernel_size, module.stride, module.dilation  # type: ignore[misc]  # triples
    elif isinstance(module, MaxPool):
        yield module.kernel, module.stride, (1, 1, 1)
    elif isinstance(module, TimeShift):
        yield (2 if module.direction == "online" else 3, 1, 1), (1, 1, 1), (1, 1, 1)
    elif isinstance(module, PseudoPair):
        yield from _windows(module.space)
        if hasattr(module, "time"):  # beside space (B) both stride the input: count it once
            yield module.time.kernel_size, (1, 1, 1), module.time.dilation  # type: ignore[misc]
    else:
        for name, child in module.named_children():
            if name != "shortcut":
                yield from _windows(child)
