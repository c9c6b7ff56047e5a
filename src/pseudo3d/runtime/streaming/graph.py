"""A causal network as a pure function of frames and a state: the form for other runtimes.

One stream at a time, so that no tensor has more than four axes: a chunk is (T, C, H, W). Its length
is a multiple of the network's period, so that every layer steps a whole number of times and what it
keeps always has one shape.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.nn.conv import time_padding
from pseudo3d.nn.shift import TimeShift
from pseudo3d.nn.stem import AtLeast, FillPiece, MaxPool
from pseudo3d.runtime.fold import fold
from pseudo3d.runtime.nodes import is_add, is_relu, module_of
from pseudo3d.runtime.thin import every_nth

State = tuple[Tensor, ...]


class StreamGraph(nn.Module):
    """(frames, pooled, count, kept...) -> (logits, pooled, count, kept...).

    `pooled` is the sum of the features so far (1, F), or the latest of them (K, F); `count` is how
    many there have been.

    Args:
        recent: features that a decision is made from; None: all of them.
    """

    def __init__(self, net: Network, recent: int | None = None) -> None:
        super().__init__()
        self.recent = recent
        graph = fold(net, "features")
        self.parts, self.inputs = nn.ModuleList(), []
        slots: dict[fx.Node, int] = {}
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                slots[node] = 0
            elif node.op != "output" and not _is_mean(node):
                self.inputs.append(tuple(slots[arg] for arg in node.all_input_nodes))
                self.parts.append(_part(graph, node))
                slots[node] = len(self.parts)
        self.head = nn.Linear(net.head.in_features, net.head.out_features)
        self.head.load_state_dict(net.head.state_dict())
        self.requires_grad_(False).eval()

    def forward(self, frames: Tensor, pooled: Tensor, count: Tensor, *kept: Tensor) -> Any:
        """One chunk."""
        x, _, after = self._push(frames, count, kept)
        features = x.mean((2, 3))
        count = count + len(features)
        if self.recent is None:
            pooled = pooled + features.sum(0, keepdim=True)
            mean = pooled / count
        else:
            pooled = torch.cat([pooled, features])[-self.recent :]
            mean = pooled.sum(0, keepdim=True) / count.clamp(max=self.recent)
        return (self.head(mean), pooled, count, *after)

    def _push(
        self, frames: Tensor, count: Tensor, kept: State | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Features of the chunk; what was kept before (fresh, where None is given) and after."""
        values, before, after = [frames], list[Tensor](), list[Tensor]()
        for part, inputs in zip(self.parts, self.inputs, strict=True):
            given = [values[i] for i in inputs]
            if isinstance(part, _Keeps):
                before.append(part.fresh(given[0]) if kept is None else kept[len(before)])
                y, rest = part(given[0], before[-1], count)
                after.append(rest)
            else:
                y = part(*given)
            values.append(y)
        return values[-1], before, after

    @torch.inference_mode()
    def start(self, frames: Tensor) -> State:
        """The state before the first chunk, for chunks like this one."""
        count = torch.zeros(1, 1)
        _, fresh, _ = self._push(frames, count, None)
        pooled = torch.zeros(self.recent or 1, self.head.in_features)
        return (pooled, count, *fresh)


def _is_mean(node: fx.Node) -> bool:
    return node.target == "mean" and node.kwargs.get("dim") == (2, 3, 4)


class _Keeps(nn.Module):
    """A part that keeps frames from one chunk to the next."""

    frames: int
    fill = 0.0

    def fresh(self, x: Tensor) -> Tensor:
        """What it keeps before the first chunk."""
        return torch.full((self.frames, *x.shape[1:]), self.fill)


class _Apply(nn.Module):
    """A function of the frames that come."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run

    def forward(self, *values: Tensor) -> Tensor:
        return self.run(*values)


def _part(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    module = module_of(graph, node)
    if isinstance(module, nn.Conv3d):
        return _Taps(module) if time_padding(module)[0] else _Plain(module)
    if isinstance(module, MaxPool):
        return _Highest(module) if module.time_padding[0] else _Apply(_pool(module))
    if isinstance(module, FillPiece):
        return _Apply(lambda x: x)  # a chunk has whole pieces only
    if isinstance(module, AtLeast):
        return _Apply(lambda x: F.pad(x, module.missing(x), mode="replicate"))
    if isinstance(module, TimeShift):
        return _Moved(module)
    if node.target is every_nth:
        every = node.args[1]
        return _Apply(lambda x: x[:, :, ::every, ::every])
    if is_relu(node):
        return _Apply(torch.relu)
    if is_add(node):
        return _Apply(torch.add)
    raise Pseudo3dError(
        f"{node.format_node()} has no form with a state of one shape, so the stream cannot be "
        "exported; run it with Stream"
    )


class _Plain(nn.Module):
    """A convolution whose windows in time do not overlap: their frames are channels."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        kt, self.step = conv.kernel_size[0], conv.stride[0]
        if conv.groups > 1 and kt > 1:
            raise Pseudo3dError("a grouped convolution over time has no form as one image")
        self.taps = [conv.dilation[0] * k for k in range(kt)]
        _, ph, pw = (int(p) for p in conv.padding)
        self.pads = (pw, pw, ph, ph) if conv.padding_mode != "zeros" and (ph or pw) else None
        pads = (0, 0) if self.pads else (ph, pw)
        self.rest = (conv.stride[1:], pads, conv.dilation[1:], conv.groups)
        weight = conv.weight.detach().transpose(1, 2).flatten(1, 2)
        self.weight, self.bias = nn.Parameter(weight), conv.bias

    def forward(self, x: Tensor) -> Tensor:
        count = (x.shape[0] - self.taps[-1] - 1) // self.step + 1
        if len(self.taps) > 1 or self.step > 1:
            last = (count - 1) * self.step + 1
            x = torch.cat([x[tap : tap + last : self.step] for tap in self.taps], 1)
        if self.pads is not None:
            x = F.pad(x, self.pads, mode="replicate")
        return F.conv2d(x, self.weight, self.bias, *self.rest)


class _Taps(_Keeps):
    """A causal convolution behind the frames it still needs."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.frames, self.conv = time_padding(conv)[0], _Plain(conv)
        self.replicate = conv.padding_mode != "zeros"

    def forward(self, x: Tensor, kept: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        if self.replicate:  # before the stream its first frame stands still
            kept = torch.where(count.reshape(1, 1, 1, 1) == 0, x[:1].expand_as(kept), kept)
        whole = torch.cat([kept, x])
        return self.conv(whole), whole[-self.frames :]


class _Highest(_Keeps):
    """Pooling over overlapping windows of frames."""

    fill = float(torch.finfo(torch.float32).min)

    def __init__(self, pool: MaxPool) -> None:
        super().__init__()
        self.frames, self.space = pool.time_padding[0], _pool(pool, time=False)
        self.length, self.step = pool.kernel[0], pool.stride[0]

    def fresh(self, x: Tensor) -> Tensor:
        """What it keeps before the first chunk: less than any number."""
        return torch.full((self.frames, *self.space(x).shape[1:]), self.fill)

    def forward(self, x: Tensor, kept: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.cat([kept, self.space(x)])
        return _highest(whole, self.length, self.step), whole[-self.frames :]


class _Moved(_Keeps):
    """`TimeShift` online: the channels that move wait for one frame."""

    frames = 1

    def __init__(self, shift: TimeShift) -> None:
        super().__init__()
        self.shift = shift

    def fresh(self, x: Tensor) -> Tensor:
        """What it keeps before the first chunk."""
        return torch.zeros(1, self.shift.split(x.shape[1])[1], *x.shape[2:])

    def forward(self, x: Tensor, kept: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        moved = kept.shape[1]
        early = torch.cat([kept, x[:-1, :moved]])
        return torch.cat([early, x[:, moved:]], 1), x[-1:, :moved]


def _highest(x: Tensor, length: int, step: int) -> Tensor:
    last = (x.shape[0] - length) // step * step + 1
    y = x[:last:step]
    for tap in range(1, length):
        y = torch.maximum(y, x[tap : tap + last : step])
    return y


def _pool(pool: MaxPool, time: bool = True) -> Any:
    """A pooling of every frame and, where windows do not overlap, over time."""
    (kt, *kernel), (st, *stride), (_, *padding) = pool.kernel, pool.stride, pool.padding
    padded = any(pool.padding)

    def run(x: Tensor) -> Tensor:
        if max(*kernel, *stride) > 1:
            fitting = kernel
            if not padded:
                fitting = [min(k, n) for k, n in zip(kernel, x.shape[2:], strict=True)]
            x = F.max_pool2d(x, fitting, stride, padding, ceil_mode=not padded)
        return _highest(x, kt, st) if time and kt > 1 else x

    return run
