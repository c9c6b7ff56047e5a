"""Watch a 2-D network run once: what its layers get and give, and whether frames stay apart.

Modules do not say in which order they run or what `forward` does between them, and a graph cannot
be drawn of every network. Hooks on one run see both.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from pseudo3d.errors import Pseudo3dError
from pseudo3d.recycle.convert.partner import first

NORMS = (_BatchNorm, nn.GroupNorm, nn.InstanceNorm2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
CONVS = (nn.Conv2d, nn.ConvTranspose2d)
CANDIDATES = (*CONVS, nn.MultiheadAttention)  # what may look along time
LAYERS = (*CANDIDATES, *POOLS)
_SIZES = (64, 32, 224, 28, 96, 128, 256, 299)  # images are tried in these sizes
_IMAGES = 2
_BRANCHES = {"__bool__", "item", "__int__", "__float__", "__index__", "tolist", "numpy"}


@dataclass(frozen=True)
class Call:
    """One call of a layer: shapes, and the order among all calls."""

    index: int
    given: tuple[int, ...]
    gave: tuple[int, ...]


@dataclass
class Observation:
    """What one run of a 2-D network on a batch of images showed."""

    example: Tensor
    output: Any = None
    calls: dict[str, list[Call]] = field(default_factory=dict)
    norm_of: dict[str, str] = field(default_factory=dict)  # layer -> the norm that reads it
    readers: list[str] = field(default_factory=list)  # layers that read the input itself
    decisions: list[str] = field(default_factory=list)  # how forward asked for values


class _Decisions(TorchFunctionMode):
    """Notes where Python asks a tensor for its value, which a decision needs."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _BRANCHES:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def observe(net: nn.Module, example: Tensor | None) -> Observation:
    """Run a network, in eval mode, on images; random ones of a size it takes unless given.

    Raises:
        Pseudo3dError: it takes no images of any size tried, or its answer is not one per image.
    """
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    found = None
    if example is not None:
        images = example.to(like)
        found = _run(net, torch.cat((images, images.flip(-1))) if len(images) == 1 else images)
    else:
        found = _search(net, like)
    _check_answers(net, found)
    return found


def _search(net: nn.Module, like: Tensor) -> Observation:
    channels = next(m.in_channels for m in net.modules() if isinstance(m, CONVS))
    tries: dict[tuple[int, int], str] = {}
    draw = torch.Generator().manual_seed(0)
    for c in dict.fromkeys((channels, 3, 1)):
        for size in _SIZES:
            images = torch.randn(_IMAGES, c, size, size, generator=draw).to(like)
            try:
                return _run(net, images)
            except Exception as err:  # whatever a forward raises on a shape it does not take
                tries.setdefault((c, size), str(err).strip().partition("\n")[0])
    (c, size), why = next(iter(tries.items()))
    sides = ", ".join(map(str, _SIZES))
    raise Pseudo3dError(
        f"the 2-D network takes no batch of images of {channels} channels with side {sides}; with "
        f"({_IMAGES}, {c}, {size}, {size}) it says: {why}. Give images that it takes: example="
    )


@torch.no_grad()
def _run(net: nn.Module, images: Tensor) -> Observation:
    seen = Observation(example=images)
    kept: list[Any] = []  # outputs stay alive, so that an id names one tensor
    makers: dict[int, str] = {}
    with ExitStack() as hooks:
        for name, module in net.named_modules():
            if isinstance(module, (*LAYERS, *NORMS)):
                hook = _note(seen, name, makers, kept)
                hooks.enter_context(_removed(module.register_forward_hook(hook, with_kwargs=True)))
        with _Decisions(seen.decisions):
            seen.output = net(images)
    return seen


def _note(seen: Observation, name: str, makers: dict[int, str], kept: list[Any]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        x, y = first(args, named), out[0] if isinstance(out, tuple) else out
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            return
        kept.append((x, y))
        call = Call(len(kept), tuple(x.shape), tuple(y.shape))
        seen.calls.setdefault(name, []).append(call)
        if x is seen.example and isinstance(module, CONVS):
            seen.readers.append(name)
        if isinstance(module, NORMS) and id(x) in makers:
            seen.norm_of.setdefault(makers[id(x)], name)
        makers[id(y)] = name

    return hook


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def _check_answers(net: nn.Module, seen: Observation) -> None:
    """Each tensor of the answer must have one row per image, for one image and for two."""
    if not any(isinstance(y, Tensor) for y in tree_leaves(seen.output)):
        raise Pseudo3dError(
            f"the 2-D network answers with a {type(seen.output).__name__}, in which no tensor is "
            "found; let it give a tensor, or a tuple, list or dict of them"
        )
    for images in (seen.example, seen.example[:1]):
        for y in tree_leaves(seen.output if images is seen.example else net(images)):
            if isinstance(y, Tensor) and (y.ndim == 0 or y.shape[0] != len(images)):
                raise Pseudo3dError(
                    f"the 2-D network answers {len(images)} images with a tensor of shape "
                    f"{tuple(y.shape)}; wanted one row per image, or frames cannot be told apart. "
                    "Put the batch first, or convert the part of the network that does"
                )
