"""The activations of layers by name: hooks on a network as it is, or what a fast program gives."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.modes import evaluating
from pseudo3d.models.network import Network
from pseudo3d.models.unet import UNet
from pseudo3d.nn.blocks import Basic, Bottleneck
from pseudo3d.nn.forms import Residual, ResidualBottleneck, SpaceThenTime
from pseudo3d.runtime.lower import Lowered, Precision, optimize

Pooling = Literal["mean", "none"]
Rows = dict[str, Tensor]  # of each layer, (N, F)
Input = Preprocessing | ScanPreprocessing
_BLOCKS = (Basic, Bottleneck, Residual, ResidualBottleneck, SpaceThenTime)
ENDS = ("pool5", "logits", "prob")  # what every network ends in, and the fast path gives


def rows_of(
    run: Any, names: tuple[str, ...], pre: Input, pooling: Pooling, precision: Precision
) -> tuple[Callable[[Tensor], Rows], bool]:
    """What gives the layers of normalized clips, and whether it is the network as it is.

    Raises:
        Pseudo3dError: an unknown layer, or one that this kind of model cannot give.
    """
    if not isinstance(run, Network):
        if precision not in ("fp32", run.precision):
            raise ValueError(
                f"{run.name} computes in {run.precision}; {precision!r} comes too late"
            )
        return _ends(run, names, None), False
    check_layers(run, names, pre)
    if set(names) <= set(ENDS) and run.name and device_of(run).type == "cpu":
        return _ends(optimize(run, precision=precision), names, run.head), False
    if precision != "fp32":
        raise Pseudo3dError(f"{precision} gives {', '.join(ENDS)} alone, on the CPU; leave it out")
    return _Eager(run, names, pooling), True


def check_layers(net: Network, layers: Sequence[str], pre: Input) -> None:
    """Refuse layers that a network lacks, and input that is not its own.

    Raises:
        Pseudo3dError: naming what there is.
    """
    have = getattr(getattr(net, "cfg", None), "in_channels", pre.channels)
    if have != pre.channels:
        raise Pseudo3dError(
            f"the input has {pre.channels} channels, {net.name} takes {have}: change color or "
            "difference of the preprocessing"
        )
    for name in layers:
        if name not in ENDS:
            module_of(net, name)
        elif isinstance(net, UNet):
            raise Pseudo3dError(
                f"{net.name} answers voxel by voxel, it has no {name}; name a stage, such as res"
                f"{len(net.stages) + 1}"
            )


def module_of(net: Network, name: str) -> nn.Module:
    """The module of a layer: stem, res2 .. res5, res4b35 and the like, or its path.

    res4 is the last block of its stage: the paper's res4b35 comes before the pool over time that
    may follow, which `stages.2` includes.

    Raises:
        Pseudo3dError: there is none.
    """
    modules = {path: module for path, module in net.named_modules() if path}
    for i, stage in enumerate(getattr(net, "stages", ())):
        blocks = [b for b in stage.children() if isinstance(b, _BLOCKS)]
        modules[f"res{i + 2}"] = blocks[-1] if blocks else stage
        modules |= {
            f"res{i + 2}{mark}": b for mark, b in zip(_marks(len(blocks)), blocks, strict=True)
        }
    if name not in modules:
        known = [*ENDS, *modules]
        raise Pseudo3dError(unknown(f"layer of {net.name or type(net).__name__}", name, known))
    return modules[name]


def _marks(blocks: int) -> list[str]:
    """How the paper's authors name the blocks of a stage: a b c, in a longer one a b1 b2 ..."""
    return list("abc")[:blocks] if blocks <= 3 else ["a", *(f"b{i}" for i in range(1, blocks))]


class _Eager:
    """Runs a network as it is and takes what its modules give; one pass for all layers."""

    def __init__(self, net: Network, layers: tuple[str, ...], pooling: Pooling) -> None:
        self.net, self.layers, self.pooling = net, layers, pooling

    def __call__(self, x: Tensor) -> Rows:
        rows: Rows = {}
        with evaluating(self.net), self._taps(rows):
            logits = self.net(x)
        rows |= {"logits": logits, "prob": logits.softmax(1)}
        for name in self.layers:
            if name not in rows or len(rows[name]) != len(x):
                raise Pseudo3dError(
                    f"layer {name} does not give one result per clip: it is computed inside the "
                    "module around it, or more than once; name the block or stage it is in"
                )
        return {name: rows[name] for name in self.layers}

    @contextmanager
    def _taps(self, rows: Rows) -> Iterator[None]:
        """Reduced at once, for what follows may change a result in place."""

        def tap(name: str) -> Callable[..., None]:
            def take(module: nn.Module, inputs: tuple, output: Tensor) -> None:
                again = name in rows  # more than one result: which one is meant?
                rows[name] = output[:0] if again else _reduced(output, self.pooling)

            return take

        handles = [
            module_of(self.net, name).register_forward_hook(tap(name))
            for name in self.layers
            if name not in ENDS
        ]
        if "pool5" in self.layers:
            handles.append(
                self.net.head.register_forward_pre_hook(
                    lambda module, inputs: rows.update(pool5=inputs[0].clone())
                )
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _reduced(y: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "none" or y.ndim <= 2:
        return y.flatten(1).clone()
    return y.mean(tuple(range(2, y.ndim)))


def _ends(run: Any, layers: tuple[str, ...], head: nn.Module | None) -> Callable[[Tensor], Rows]:
    """What a network gives that runs as one program; `head` spares it a second pass."""
    able = ENDS if isinstance(run, Lowered) else ENDS[1:]
    if wrong := [name for name in layers if name not in able]:
        raise Pseudo3dError(
            f"{run.name} runs as one program, which gives {', '.join(able)} and not "
            f"{', '.join(wrong)}; give the checkpoint"
        )

    def ends(x: Tensor) -> Rows:
        rows: Rows = {}
        if "pool5" in layers:
            rows["pool5"] = run.features(x)
        if set(layers) - {"pool5"}:
            logits = run(x) if head is None or "pool5" not in rows else head(rows["pool5"])
            rows |= {"logits": logits, "prob": logits.softmax(1)}
        return rows

    return ends


def device_of(net: Network) -> torch.device:
    """Where a network's weights are."""
    return next((p.device for p in net.parameters()), torch.device("cpu"))
