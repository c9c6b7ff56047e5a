"""The same network on frames, with 2-D operators only: the form for runtimes without 3-D ones.

No tensor has more than four axes: frames of clips of a fixed length T follow one another, and a
temporal convolution is a (k, 1) convolution of images whose rows are the frames.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx, nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.nn.conv import time_padding
from pseudo3d.nn.shift import TimeShift
from pseudo3d.nn.stem import AtLeast, FillPiece, MaxPool
from pseudo3d.runtime.fold import fold
from pseudo3d.runtime.nodes import is_add, is_relu, module_of
from pseudo3d.runtime.thin import every_nth


class Flat(nn.Module):
    """Frames of clips of a fixed length to logits, in eval mode; made by `flatten`.

    Shape: (N * T, C, H, W) -> (N, K); N, H and W are free.
    """

    def __init__(self, net: Network, frames: int) -> None:
        super().__init__()
        self.frames = frames
        graph = fold(net)
        self.parts = nn.ModuleList()
        self.inputs: list[tuple[int, ...]] = []
        slots: dict[fx.Node, int] = {}
        lengths: list[int] = [frames]
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                slots[node] = 0
            elif node.op != "output":
                self.inputs.append(tuple(slots[arg] for arg in node.all_input_nodes))
                part = _part(graph, node, lengths[self.inputs[-1][0]])
                self.parts.append(part)
                lengths.append(part.frames)
                slots[node] = len(self.parts)

    def forward(self, frames: Float[Tensor, "nt c h w"]) -> Float[Tensor, "n k"]:
        values = [frames]
        for part, inputs in zip(self.parts, self.inputs, strict=True):
            values.append(part(*(values[i] for i in inputs)))
        return values[-1]


def flatten(net: Network, frames: int) -> Flat:
    """Write a network as 2-D operators over the frames of clips of a fixed length.

    Args:
        frames: T of every clip.
    Raises:
        Pseudo3dError: the network has an operator that is not known in this form.
    """
    if frames < 1:
        raise ValueError(f"frames is {frames}; wanted at least 1")
    return Flat(net, frames).eval()


def to_frames(clips: Float[Tensor, "n c t h w"]) -> Float[Tensor, "nt c h w"]:
    """Clips as the frames `Flat` takes."""
    return clips.transpose(1, 2).flatten(0, 1)


class _Part(nn.Module):
    """One operator; `frames` is the length of its output clips."""

    def __init__(self, frames: int, run: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        self.frames, self.run = frames, run

    def forward(self, *values: Tensor) -> Tensor:
        assert self.run is not None  # noqa: S101 (parts without it have their own forward)
        return self.run(*values)


def _part(graph: fx.GraphModule, node: fx.Node, frames: int) -> _Part:
    module = module_of(graph, node)
    if isinstance(module, nn.Conv3d):
        return _Convolution(module, frames)
    if isinstance(module, MaxPool):
        return _Pool(module, frames)
    if isinstance(module, FillPiece):
        missing = -frames % module.piece
        return _Part(frames + missing, lambda x: _pad_time(x, frames, 0, missing))
    if isinstance(module, AtLeast):
        return _Part(frames, lambda x: _pad_space(x, module))
    if isinstance(module, TimeShift):
        return _Part(frames, lambda x: _shift(x, frames, module))
    if isinstance(module, nn.Linear):
        part = _Part(1, module.forward)
        part.linear = module
        return part
    if is_relu(node):
        return _Part(frames, torch.relu)
    if is_add(node):
        return _Part(frames, operator.add)
    if node.target is every_nth:
        every = int(str(node.args[1]))
        return _Part(frames, lambda x: x[:, :, ::every, ::every])
    if node.target == "mean" and node.kwargs.get("dim") == (2, 3, 4):
        return _Part(1, lambda x: x.mean((2, 3)).reshape(-1, frames, x.shape[1]).mean(1))
    raise Pseudo3dError(
        f"{node.format_node()} has no form with 2-D operators; export the network to OpenVINO, "
        "which takes the 5-D one"
    )


class _Convolution(_Part):
    """A 3-D convolution as a 2-D one of images, of images with frames as rows, or as channels."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv3d, frames: int) -> None:
        kt, kh, kw = conv.kernel_size
        (st, sh, sw), (dt, dh, dw) = conv.stride, conv.dilation
        pt, ph, pw = (int(p) for p in conv.padding)
        self.around = time_padding(conv)
        super().__init__((frames + sum(self.around) - dt * (kt - 1) - 1) // st + 1)
        self.given, self.taps, self.step = frames, [dt * k for k in range(kt)], st
        self.replicate = conv.padding_mode == "replicate"
        self.pad = (pw, pw, ph, ph)
        bent = self.replicate or self.around[0] != self.around[1]  # not what a 2-D kernel pads
        self.rows = kh == kw == 1 and kt > 1 and not (bent and pt) and not (ph or pw)
        self.every = (sh, sw)
        weight = conv.weight.detach()
        space: tuple[Any, ...] = ((sh, sw), 0 if self.replicate else (ph, pw), (dh, dw))
        if self.rows:
            weight, space = weight[..., 0], ((st, 1), (pt, 0), (dt, 1))
        elif kt == 1 or conv.groups == 1:
            weight = weight.transpose(1, 2).flatten(1, 2)
        else:
            raise Pseudo3dError(
                f"a grouped {kt}x{kh}x{kw} convolution has no form with 2-D operators"
            )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", conv.bias)
        self.rest = (*space, conv.groups)

    def forward(self, *values: Tensor) -> Tensor:
        (x,) = values
        if self.rows:
            return self._rows(x[:, :, :: self.every[0], :: self.every[1]])
        if self.replicate and any(self.pad):
            x = F.pad(x, self.pad, mode="replicate")
        return F.conv2d(self._channels(x), self.weight, self.bias, *self.rest)

    def _rows(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        image = x.reshape(-1, self.given, c, h * w).transpose(1, 2)
        y = F.conv2d(image, self.weight, self.bias, *self.rest)
        return y.transpose(1, 2).reshape(-1, y.shape[1], h, w)

    def _channels(self, x: Tensor) -> Tensor:
        """The frames under each tap of the kernel, side by side as channels."""
        if len(self.taps) == 1 and self.step == 1 and not any(self.around):
            return x
        _, c, h, w = x.shape
        if any(self.around):
            x = (_pad_time if self.replicate else _zeros_around)(x, self.given, *self.around)
        clips = x.reshape(-1, self.given + sum(self.around), c, h * w)
        last = (self.frames - 1) * self.step + 1
        taps = [clips[:, tap : tap + last : self.step] for tap in self.taps]
        return torch.cat(taps, 2).reshape(-1, c * len(taps), h, w)


class _Pool(_Part):
    """Max pooling over time, then over space."""

    def __init__(self, pool: MaxPool, frames: int) -> None:
        ceil = not any(pool.padding)  # as `MaxPool` has it
        stride, pad = pool.stride[0], 0 if pool.causal else pool.padding[0]
        kernel = min(pool.kernel[0], frames) if ceil else pool.kernel[0]
        self.before = pool.time_padding[0] if pool.causal else 0
        room = frames + self.before + 2 * pad - kernel
        super().__init__((-(-room // stride) if ceil else room // stride) + 1)
        self.pool, self.given, self.ceil = pool, frames, ceil
        self.time = (kernel, stride, pad)

    def forward(self, *values: Tensor) -> Tensor:
        (x,) = values
        _, c, h, w = x.shape
        kernel, stride, pad = self.time
        if kernel > 1 or stride > 1:
            image = x.reshape(-1, self.given, c, h * w).transpose(1, 2)
            if self.before:
                image = F.pad(image, (0, 0, self.before, 0), value=-torch.inf)
            image = F.max_pool2d(image, (kernel, 1), (stride, 1), (pad, 0), ceil_mode=self.ceil)
            x = image.transpose(1, 2).reshape(-1, c, h, w)
        (_, kh, kw), space = self.pool.kernel, self.pool.stride[1:]
        if (kh, kw) == (1, 1) and set(space) == {1}:
            return x
        if self.ceil:
            kh, kw = min(kh, h), min(kw, w)
        return F.max_pool2d(x, (kh, kw), space, self.pool.padding[1:], ceil_mode=self.ceil)


def _pad_space(x: Tensor, to: AtLeast) -> Tensor:
    missing = to.missing(x)
    return F.pad(x, missing, mode="replicate") if any(missing) else x


def _shift(x: Tensor, frames: int, shift: TimeShift) -> Tensor:
    """Some channels from the frame after, some from the frame before."""
    n, c, h, w = x.shape
    after, before = shift.split(c)
    clips = x.reshape(-1, frames, c, h * w)
    late = F.pad(clips[:, 1:, :after], (0, 0, 0, 0, 0, 1))
    early = F.pad(clips[:, :-1, after : after + before], (0, 0, 0, 0, 1, 0))
    return torch.cat([late, early, clips[:, :, after + before :]], 2).reshape(n, c, h, w)


def _pad_time(x: Tensor, frames: int, before: int, after: int) -> Tensor:
    """Repeat the first and the last frame of every clip."""
    if not before and not after:
        return x
    clips = x.reshape(-1, frames, x.shape[1], x.shape[2] * x.shape[3])
    parts = [clips[:, :1]] * before + [clips] + [clips[:, -1:]] * after
    return torch.cat(parts, 1).reshape(-1, *x.shape[1:])


def _zeros_around(x: Tensor, frames: int, before: int, after: int) -> Tensor:
    """Put empty frames around every clip."""
    clips = x.reshape(-1, frames, x.shape[1], x.shape[2] * x.shape[3])
    return F.pad(clips, (0, 0, 0, 0, before, after)).reshape(-1, *x.shape[1:])
