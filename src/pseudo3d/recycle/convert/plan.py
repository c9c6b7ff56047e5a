"""Choose what every layer of a 2-D network becomes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import cycle

from torch import nn

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.recycle.convert.frames import Layout
from pseudo3d.recycle.convert.kernels import Turned, margins, pair
from pseudo3d.recycle.convert.observe import CANDIDATES, CONVS, POOLS, Observation
from pseudo3d.recycle.convert.options import THINNINGS, Becomes, Options, Plan, Step
from pseudo3d.recycle.foreign.kinds import shorten

Where = str | Iterable[str] | Callable[[str, nn.Module], bool] | None


def make_plan(net: nn.Module, seen: Observation, options: Options, where: Where) -> Plan:
    """Choose what every layer becomes, in the order in which layers run.

    Raises:
        Pseudo3dError: `where` fits no layer, or nothing in the network can look along time.
    """
    modules = {name: m for name, m in net.named_modules() if name in seen.calls}
    order = sorted(modules, key=lambda name: seen.calls[name][0].index)
    plan = Plan(options=options, readers=seen.readers)
    candidates = [n for n in order if isinstance(modules[n], CANDIDATES)]
    unchosen = _unchosen(net, candidates, seen, where)
    strides, letters = _strides(order, modules, seen, options), cycle(options.mix)
    for name in order:
        module, step = modules[name], None
        if isinstance(module, CANDIDATES):
            why = unchosen.get(name) or _obstacle(module, name, seen, options)
            if why:
                plan.kept[name] = why
            elif options.method != "2.5d":
                step = _step(name, module, seen, plan, letters)
        if (stride := strides.get(name, 1)) > 1:
            thinner = Step(name=name, becomes=_thinning(module), at=name)
            step = replace(step or thinner, stride=stride)
        if step is not None:
            plan.steps.append(step)
    for name, module in net.named_modules():
        if isinstance(module, CONVS) and name not in seen.calls:
            plan.kept[name] = "forward never calls it as a module"
    if options.method != "2.5d" and all(s.becomes in THINNINGS for s in plan.steps):
        raise Pseudo3dError(_nothing(plan))
    return plan


def _nothing(plan: Plan) -> str:
    whys = dict.fromkeys(plan.kept.values())
    told = "; ".join(f"{shorten([n for n in plan.kept if plan.kept[n] == w])}: {w}" for w in whys)
    return (
        f"nothing in the 2-D network can look along time ({told}). Known are nn.Conv2d, "
        "nn.ConvTranspose2d and nn.MultiheadAttention, called as modules. Choose layers with "
        "where=, or take method='2.5d', which leaves every frame alone"
    )


def _unchosen(
    net: nn.Module, candidates: list[str], seen: Observation, where: Where
) -> dict[str, str]:
    """Layers nobody asked for, and why."""
    modules = dict(net.named_modules())
    if callable(where):
        return {n: "not chosen by where" for n in candidates if not where(n, modules[n])}
    if where is not None:
        patterns = [where] if isinstance(where, str) else list(where)
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in candidates):
                raise Pseudo3dError(unknown("layer in where", pattern, candidates))
        fits = {n for n in candidates if any(fnmatchcase(n, p) for p in patterns)}
        return {n: "not chosen by where" for n in candidates if n not in fits}
    found = {n: "1x1: looks at no neighbors" for n in candidates if _is_pointwise(modules[n])}
    convs = [n for n in candidates if isinstance(modules[n], CONVS)]
    stems = seen.readers or convs[:1]
    return found | {n: "stem: it reads the frames themselves" for n in stems if n}


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, CONVS) and pair(module.kernel_size) == (1, 1)


def _obstacle(module: nn.Module, name: str, seen: Observation, options: Options) -> str | None:
    """Why a layer cannot look along time; None where it can."""
    images = len(seen.example)
    batch_axis = 1 if _layout(module) == "tokens second" else 0
    ranks = (4,) if isinstance(module, CONVS) else (3,)
    for call in seen.calls[name]:
        for shape in (call.given, call.gave):
            if len(shape) not in ranks or shape[batch_axis] != images:
                return f"gets {shape} for {images} images: parts or joins of frames, not frames"
    if options.method in ("p3d", "2.5d"):
        return None
    if type(module) is not nn.Conv2d:
        return f"a {type(module).__name__} has no kernel that {options.method!r} knows to change"
    return Turned.obstacle(module) if options.method == "acs" else None


def _layout(module: nn.Module) -> Layout:
    if isinstance(module, nn.MultiheadAttention):
        return "tokens" if module.batch_first else "tokens second"
    return "frames"


def _step(
    name: str, module: nn.Module, seen: Observation, plan: Plan, letters: Iterator[str]
) -> Step:
    options = plan.options
    if options.method != "p3d":
        return Step(name=name, becomes=options.method, at=name)  # type: ignore[arg-type]  # not 2.5d
    letter, at = next(letters), name
    if letter == "B" and (why := misaligned(module, seen, name)):
        plan.notes.append(f"{name or 'the layer'}: A instead of B: {why}")
        letter = "A"
    if letter == "C":
        norm = seen.norm_of.get(name, "")
        calls = seen.calls.get(norm, [])
        once = len(calls) == len(seen.calls[name]) == 1
        at = norm if once and calls[0].given == seen.calls[name][0].gave else name
    becomes: Becomes = letter  # type: ignore[assignment]  # one of A, B, C by Options
    return Step(name=name, becomes=becomes, at=at, layout=_layout(module))


def offset_of(conv: nn.Conv2d) -> tuple[float, float]:
    """Row and column of the input under the center of the kernel at the first output pixel."""
    left, _, top, _ = margins(conv)
    (h, w), (dh, dw) = pair(conv.kernel_size), pair(conv.dilation)
    return dh * (h - 1) / 2 - top, dw * (w - 1) / 2 - left


def misaligned(module: nn.Module, seen: Observation, name: str) -> str | None:
    """Why the pixels of a layer's output lie on none of its input, so that B cannot add them."""
    if isinstance(module, nn.MultiheadAttention):
        return None
    if not isinstance(module, nn.Conv2d):
        return "a transposed convolution's output lies between its input's pixels"
    offsets, strides = offset_of(module), pair(module.stride)
    kernel = "x".join(map(str, pair(module.kernel_size)))
    if any(o != int(o) for o in offsets):
        return f"a {kernel} kernel has no center pixel"
    for call in seen.calls[name]:
        for axis in (0, 1):
            last = offsets[axis] + strides[axis] * (call.gave[axis - 2] - 1)
            if offsets[axis] < 0 or last >= call.given[axis - 2]:
                return f"the {kernel} kernel's center lies outside of the image at its border"
    return None


def _strides(
    order: list[str], modules: dict[str, nn.Module], seen: Observation, options: Options
) -> dict[str, int]:
    """Time strides of the layers that make images smaller, by how often they were halved before."""
    heights: dict[str, int] = {}
    for name in order:
        module, call = modules[name], seen.calls[name][0]
        smaller = isinstance(module, (nn.Conv2d, *POOLS)) and max(pair(module.stride)) > 1
        if smaller and max(call.gave[-2:]) > 1:
            heights[name] = call.given[-2]
    levels = sorted(set(heights.values()), reverse=True)
    factors = options.depth_stride
    if max(factors) > 1 and not levels:
        raise Pseudo3dError(
            f"depth_stride={factors}: no layer called as a module makes images smaller, so there "
            "is no place to leave frames out; pools inside forward are not seen"
        )
    if len(factors) > max(len(levels), 1):
        raise Pseudo3dError(
            f"depth_stride names {len(factors)} strides; the network makes images smaller "
            f"{len(levels)} times"
        )
    by_level = dict(zip(levels, factors, strict=False))
    return {name: by_level.get(height, factors[-1]) for name, height in heights.items()}


def _thinning(module: nn.Module) -> Becomes:
    if isinstance(module, nn.MaxPool2d):
        return "max"
    return "mean" if isinstance(module, nn.AvgPool2d) else "take"
