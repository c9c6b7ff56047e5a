"""Carry out a plan on a copy of a 2-D network."""

from typing import Any

import torch
from torch import nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.nn.conv import Conv3d
from pseudo3d.recycle.convert.frames import Clock, Timed
from pseudo3d.recycle.convert.kernels import Inflated, Turned, pair
from pseudo3d.recycle.convert.options import THINNINGS, Plan, Step
from pseudo3d.recycle.convert.partner import CHILD, Partner, Thinning, attach
from pseudo3d.recycle.convert.plan import offset_of


def build(net: nn.Module, plan: Plan, clock: Clock) -> tuple[nn.Module, dict[str, str]]:
    """Change a network in place; return it (or what its root has become) and what became of what.

    Raises:
        Pseudo3dError: the plan was made for another network.
    """
    done: dict[str, str] = {}
    for step in plan.steps:
        layer, host = _layer(net, step.name), _layer(net, step.at)
        if step.becomes in THINNINGS:
            _attach(host, Thinning(step.becomes, step.stride, clock), step.at)  # type: ignore[arg-type]
            continue
        if step.becomes in ("A", "B", "C"):
            part: Timed = _partner(layer, step, plan, clock)
            _attach(host, part, step.at)
        else:
            part = _kernel(layer, step, plan, clock)
            net = _replaced(net, layer, part)
        done[step.name] = _words(step, part)
    return net, done


def _layer(net: nn.Module, name: str) -> Any:
    try:
        return net.get_submodule(name)
    except AttributeError as err:
        raise Pseudo3dError(
            f"the 2-D network has no layer {name!r}; the plan was made for another one"
        ) from err


def _attach(host: nn.Module, part: Timed, name: str) -> None:
    if hasattr(host, CHILD):
        raise Pseudo3dError(
            f"{name}: has a {CHILD!r} already; a network is converted once, from its 2-D form"
        )
    attach(host, part)


def _partner(layer: Any, step: Step, plan: Plan, clock: Clock) -> Partner:
    """A fresh partner of a convolution or of attention, where its layer is and of its type."""
    options, attention = plan.options, isinstance(layer, nn.MultiheadAttention)
    cout = layer.embed_dim if attention else layer.out_channels
    cin = layer.in_channels if step.becomes == "B" and not attention else cout
    weight = layer.out_proj.weight if attention else layer.weight
    k = options.kernel
    conv = Conv3d(
        cin,
        cout,
        (k, 1, 1),
        stride=(step.stride, 1, 1),
        padding=(k // 2, 0, 0),
        groups=1 if attention else layer.groups,
        padding_mode=options.padding,
    ).to(weight)
    under: dict[str, Any] = {}
    if step.becomes == "B" and not attention:
        top, left = offset_of(layer)
        under = {"offset": (int(top), int(left)), "pitch": pair(layer.stride)}
    return Partner(
        step.becomes,  # type: ignore[arg-type]  # one of A, B, C, as the caller asked
        conv,
        clock,
        layout=step.layout,
        steady=plan.steady,
        **under,
    )


def _kernel(layer: nn.Conv2d, step: Step, plan: Plan, clock: Clock) -> Timed:
    rest: dict[str, Any] = {
        "padding": plan.options.padding,
        "stride": step.stride,
        "steady": plan.steady,
    }
    if step.becomes == "acs":
        return Turned(layer, clock, **rest)
    how: Any = step.becomes
    return Inflated(layer, how, plan.options.kernel, clock, **rest)


def _replaced(net: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put a layer in another's place, wherever that one is registered."""
    new.train(old.training)
    if old is net:
        return new
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
    return net


def _words(step: Step, part: Timed) -> str:
    kernel_of: Any = part.conv if isinstance(part, Partner) else part
    groups: int = kernel_of.groups
    out, own, *kernel = kernel_of.weight.shape
    grouped = f", {groups} groups" if groups != 1 else ""
    thinner = f", every {step.stride}. frame" if step.stride > 1 else ""
    at = f", after {step.at}" if step.at != step.name else ""
    sides = "x".join(map(str, kernel))
    return f"{step.becomes}: {sides}, {own * groups} to {out}{grouped}{at}{thinner}"


def adapt_channels(net: nn.Module, plan: Plan, have: int) -> str:
    """Let the layers that read the input take clips of another number of channels.

    As `inflate` does: every channel gets the sum of the kernels over their number, so that a gray
    picture in all channels gives the same response.

    Raises:
        Pseudo3dError: such layers are not known, or have no plain kernel.
    """
    channels = plan.options.channels
    if channels in (None, have):
        return ""
    if not plan.readers:
        raise Pseudo3dError(
            f"channels={channels}: forward changes the images before the first layer sees them, so "
            "no layer's kernels can be fitted; convert with the images' channels"
        )
    for name in plan.readers:
        conv = _layer(net, name)
        if conv.groups != 1 or "weight" not in conv._parameters:
            raise Pseudo3dError(
                f"channels={channels}: {name or 'the layer'} is grouped or has no plain weight; "
                "convert with the images' channels"
            )
        with torch.no_grad():
            shared = conv.weight.sum(1, keepdim=True) / channels
            kernel = shared.repeat(1, channels, 1, 1)
        conv.weight = nn.Parameter(kernel, conv.weight.requires_grad)
        conv.in_channels = channels
    return f"{', '.join(plan.readers)}: {have} channels summed and shared out over {channels}"
