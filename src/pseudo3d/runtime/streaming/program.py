"""The folded graph of a network as a program of operators that frames are pushed through."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.nn.conv import time_padding
from pseudo3d.nn.shift import TimeShift
from pseudo3d.nn.stem import AtLeast, FillPiece, MaxPool
from pseudo3d.runtime.fold import fold
from pseudo3d.runtime.lower import Roots
from pseudo3d.runtime.nodes import is_add, is_relu, module_of
from pseudo3d.runtime.steps import Convolution
from pseudo3d.runtime.streaming.kernels import Convolved, Highest, pool_frames
from pseudo3d.runtime.streaming.operators import (
    Border,
    Chunk,
    Each,
    Filled,
    Kept,
    Operator,
    Shifted,
    Span,
    Sum,
    Window,
)
from pseudo3d.runtime.streaming.rope import Rope
from pseudo3d.runtime.thin import every_nth
from pseudo3d.runtime.views import dense


class Line(NamedTuple):
    """values[output] = push of the values of `inputs`."""

    run: Operator
    inputs: tuple[int, ...]
    output: int
    ends: tuple[int, ...]  # values that nobody needs afterwards
    keeps: slice  # its ropes among those of the program


class Program:
    """Frames in, features of single frames of the last stage out; all state is given and returned.

    Args:
        dtype: of weights, chunks and what is kept.
    Raises:
        Pseudo3dError: the network has an operator whose frames are not known to be its own.
    """

    def __init__(self, net: Network, dtype: torch.dtype) -> None:
        self.dtype = dtype
        gm = fold(net, "features")
        self.lines = _lines(gm, dtype)
        self.keeps = sum(line.run.keeps for line in self.lines)
        self.counts = lru_cache(maxsize=8)(self._counts)
        self.period = _period(self.lines)

    def _counts(self, frames: int, last: bool) -> tuple[int, ...]:
        """Frames that every value has had after so many of input."""
        found = [frames]
        for line in self.lines:
            if isinstance(line.run, Each):
                found.append(found[line.inputs[0]])
            else:
                found.append(line.run.count(tuple([found[i] for i in line.inputs]), last))
        return tuple(found)

    @property
    def delay(self) -> int:
        """Frames that must follow a full period before all of its features are out."""
        for late in range(self.period * 64):
            full = [k * self.period for k in range(1, 66)]
            if all(self.counts(n + late, False)[-1] >= self.counts(n, True)[-1] for n in full[:2]):
                return late
        raise Pseudo3dError("the network looks further ahead than 64 of its periods")

    def push(
        self, frames: Chunk, kept: Kept, seen: int, last: bool = False
    ) -> tuple[Tensor | None, Kept]:
        """Features (N, F, T') that come out now, mean over height and width; and what is kept.

        Args:
            frames: (N, C, T, H, W), or None.
            seen: frames pushed before.
            last: no more will come, so that everything comes out.
        """
        new = 0 if frames is None else frames.shape[2]
        before, after = self.counts(seen, False), self.counts(seen + new, last)
        values: list[Chunk] = [None] * (len(self.lines) + 1)
        values[0] = self._own(frames)
        found: list[Rope] = []
        for run, inputs, output, ends, keeps in self.lines:
            if isinstance(run, Each):
                x = values[inputs[0]]
                values[output] = None if x is None else run.compute(x)
            else:
                span = Span(before[inputs[0]], before[output], after[output], last)
                chunks = tuple([values[i] for i in inputs])
                values[output], own = run.push(chunks, kept[keeps], span)
                found += own
            for i in ends:
                values[i] = None
        y = values[-1]
        return None if y is None else y.mean((3, 4), dtype=torch.float32), tuple(found)

    def _own(self, frames: Chunk) -> Chunk:
        """Frames in the program's memory: the caller may write over his."""
        if frames is None:
            return None
        mine = dense(frames.to(self.dtype))
        return mine.clone() if mine.data_ptr() == frames.data_ptr() else mine


def _period(lines: list[Line]) -> int:
    """Frames of input for each frame of the last stage."""
    jump = [1]
    for line in lines:
        own = line.run.stride if isinstance(line.run, Window) else 1
        jump.append(jump[line.inputs[0]] * own)
    return jump[-1]


def _lines(gm: fx.GraphModule, dtype: torch.dtype) -> list[Line]:
    roots = Roots(gm)
    slots: dict[fx.Node, int] = {n: 0 for n in gm.graph.nodes if n.op == "placeholder"}
    raw: list[tuple[Operator, list[int]]] = []
    for node in gm.graph.nodes:
        if node.op in ("placeholder", "output") or node in roots.inner or _is_mean(node):
            continue
        for operator, inputs in _operators(gm, roots, node, dtype):
            raw.append((operator, [len(raw) if n is None else slots[n] for n in inputs]))
        slots[node] = len(raw)
    last = {slot: i for i, (_, inputs) in enumerate(raw) for slot in inputs}
    made = {i + 1 for i, (op, _) in enumerate(raw) if _makes(op)}
    keepers = [slot for op, inputs in raw if not isinstance(op, Each) for slot in inputs]
    found, kept = [], 0
    for i, (operator, inputs) in enumerate(raw):
        ends = tuple(slot for slot in dict.fromkeys(inputs) if last[slot] == i)
        if isinstance(operator, Window) and len(inputs) == 2:
            alone = keepers.count(inputs[1]) == 1  # nobody else may have put it into its state
            operator.spare = alone and inputs[1] in made and inputs[1] in ends
        keeps = slice(kept, kept + operator.keeps)
        found.append(Line(operator, tuple(inputs), i + 1, ends, keeps))
        kept = keeps.stop
    return found


def _makes(operator: Operator) -> bool:
    """Whether what an operator puts out is in memory that nothing else holds."""
    each = isinstance(operator, Each) and isinstance(operator.compute, Convolution)
    return each or isinstance(operator, Window)


def _operators(
    gm: fx.GraphModule, roots: Roots, node: fx.Node, dtype: torch.dtype
) -> Iterator[tuple[Operator, list[Any]]]:
    """What computes a node, with the nodes it takes; None is the operator before."""
    if (parts := roots.parts(node)) is not None:
        conv, inputs, relu = parts
        if len(inputs) == 1 and conv.kernel_size[0] == conv.stride[0] == 1:
            yield Each(Convolution(conv, dtype, relu=relu)), inputs
        else:
            yield _window(conv, dtype, relu), inputs
        return
    module, inputs = module_of(gm, node), list(node.all_input_nodes)
    if isinstance(module, MaxPool):
        yield from _pooling(module, inputs)
    elif isinstance(module, FillPiece):
        yield Filled(module.piece), inputs
    elif isinstance(module, TimeShift):
        yield Shifted(module), inputs
    elif isinstance(module, AtLeast | nn.BatchNorm3d):
        own = module.to(dtype)
        yield Each(lambda x: dense(own(x))), inputs
    elif node.target is every_nth:
        every: Any = node.args[1]
        yield Each(lambda x: dense(every_nth(x, every))), inputs
    elif is_relu(node):
        yield Each(torch.relu), inputs
    elif is_add(node) and len(node.args) == 2:
        yield Sum(), list(node.args)
    else:
        raise Pseudo3dError(
            f"{node.format_node()} is not known to work frame by frame or over a window of frames, "
            "so the network cannot be streamed; run it on windows"
        )


def _is_mean(node: fx.Node) -> bool:
    return node.target == "mean" and node.kwargs.get("dim") == (2, 3, 4)


def _window(conv: nn.Conv3d, dtype: torch.dtype, relu: bool) -> Window:
    """A convolution without padding of time; the window puts it there."""
    length = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
    border: Border = "zeros" if conv.padding_mode == "zeros" else "replicate"
    compute = Convolved(conv, dtype, relu)
    return Window(compute, length, conv.stride[0], time_padding(conv), border)


def _pooling(pool: MaxPool, inputs: list[Any]) -> Iterator[tuple[Operator, list[Any]]]:
    """Over space, which leaves less to keep, then over time; the maximum does not mind."""
    if (each := pool_frames(pool)) is not None:
        yield Each(each), inputs
        inputs = [None]
    kt, st = pool.kernel[0], pool.stride[0]
    if max(kt, st) > 1:
        ceil = not any(pool.padding)
        yield Window(Highest(kt, st), kt, st, pool.time_padding, "lowest", ceil), inputs
