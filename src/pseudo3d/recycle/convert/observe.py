"""Watch a 2-D network run once: what its layers get and give, and whether frames stay apart.

Modules do not say in which order they run or what `forward` does between them, and a graph cannot
be drawn of every network. Hooks on one run see both.
"""

import inspect
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
from pseudo3d.recycle.foreign.kinds import shorten

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
        Pseudo3dError: it takes no images of any size tried or not those given, or its answer is
            not one per image, or none of numbers.
    """
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    found = _search(net, like) if example is None else _run_example(net, like, example)
    _check_answers(net, found)
    _check_numbers(net, found)
    return found


def _run_example(net: nn.Module, like: Tensor, example: Tensor) -> Observation:
    _check_images(example)
    images = example.to(like)
    images = torch.cat((images, images.flip(-1))) if len(images) == 1 else images
    try:
        return _run(net, images)
    except Exception as err:  # whatever a forward raises on images it does not take
        doubled = f" (run as {len(images)})" if len(images) != len(example) else ""
        advice = _several(net) or "Wanted (N, C, H, W) with N >= 1, of channels and a size it takes"
        raise Pseudo3dError(
            f"the 2-D network does not take example, images of shape {tuple(example.shape)}"
            f"{doubled}: {_reason(err)}. {advice}"
        ) from err


def _check_images(example: Any) -> None:
    """Refuse what cannot be a batch of images of any network."""
    wanted = "wanted a tensor of images (N, C, H, W) with N >= 1"
    if not isinstance(example, Tensor):
        several = (
            ". A network of several inputs is wrapped in a module with one, the images, that gives "
            "the others itself"
        )
        hint = several if isinstance(example, tuple | list | dict) else ""
        raise Pseudo3dError(f"example is a {type(example).__name__}; {wanted}{hint}")
    shape = tuple(example.shape)
    if len(shape) != 4 or min(shape) < 1:
        hints = {3: "; one image is image[None]", 5: "; of a clip (N, C, T, H, W), clip[:, :, 0]"}
        raise Pseudo3dError(f"example has shape {shape}; {wanted}{hints.get(len(shape), '')}")
    if example.is_meta:
        raise Pseudo3dError(f"example is on device meta and holds no numbers; {wanted}")
    if not example.isfinite().all():
        raise Pseudo3dError("example holds NaN or infinite numbers; wanted images of finite ones")


def _several(net: nn.Module) -> str:
    """What to do about a forward that wants more than images; empty where it does not."""
    try:
        wants = inspect.signature(net.forward).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return ""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in wants if p.default is p.empty and p.kind not in kinds]
    if len(names) < 2:
        return ""
    return (
        f"It takes several inputs ({', '.join(names)}); wrap it in a module whose forward takes "
        "one, the images, and gives the others itself"
    )


def _reason(err: Exception) -> str:
    return str(err).strip().partition("\n")[0].rstrip(".") or type(err).__name__


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
                tries.setdefault((c, size), _reason(err))
    (c, size), why = next(iter(tries.items()))
    sides = ", ".join(map(str, _SIZES))
    raise Pseudo3dError(
        f"the 2-D network takes no batch of images of {channels} channels with side {sides}; with "
        f"({_IMAGES}, {c}, {size}, {size}) it says: {why}. "
        + (_several(net) or "Give images that it takes: example=")
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
        for y in tree_leaves(seen.output if images is seen.example else _alone(net, images)):
            if isinstance(y, Tensor) and (y.ndim == 0 or y.shape[0] != len(images)):
                raise Pseudo3dError(
                    f"the 2-D network answers {len(images)} images with a tensor of shape "
                    f"{tuple(y.shape)}; wanted one row per image, or frames cannot be told apart. "
                    "Put the batch first, or convert the part of the network that does"
                )


def _alone(net: nn.Module, image: Tensor) -> Any:
    """The answer to one image."""
    try:
        return net(image)
    except Exception as err:  # whatever a forward raises on a batch it does not take
        raise Pseudo3dError(
            f"the 2-D network takes {_IMAGES} images or more, but not one, of shape "
            f"{tuple(image.shape)}: {_reason(err)}. Let its forward take batches of any size"
        ) from err


def _check_numbers(net: nn.Module, seen: Observation) -> None:
    """Refuse answers that are no numbers, for on them nothing can be measured."""
    answers = [y for y in tree_leaves(seen.output) if isinstance(y, Tensor) and y.numel()]
    if any(y.isnan().any() for y in answers):
        what = "NaN"
    elif answers and not any(y.isfinite().any() for y in answers):
        what = "only infinite numbers"
    else:
        return
    state = {k: v for k, v in net.state_dict().items() if isinstance(v, Tensor)}
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        why = (
            f"numbers that are not finite are in {shorten(broken)}, so its training likely "
            "diverged. Take weights from before that"
        )
    else:
        why = (
            "its weights are finite, but likely too large by far (its training diverged), or it "
            "does not take such images. Take other weights, or give images that it takes: example="
        )
    shape = tuple(seen.example.shape)
    raise Pseudo3dError(f"the 2-D network gives {what} for images of shape {shape}: {why}")
