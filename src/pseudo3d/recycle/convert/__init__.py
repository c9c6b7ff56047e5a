"""Any 2-D network for clips and scans: `convert`.

"Why not recycle off-the-shelf 2D networks for a 3D CNN?" (Qiu, Yao, Mei, ICCV 2017). Convolutions
keep their kernels and get temporal partners; the network starts as its 2-D self on every frame, and
the report says whether it was found to.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pseudo3d.errors import Pseudo3dError
from pseudo3d.nn.conv import Padding
from pseudo3d.recycle.convert.build import adapt_channels, build
from pseudo3d.recycle.convert.frames import Clock, Converted, Head
from pseudo3d.recycle.convert.observe import CONVS, observe
from pseudo3d.recycle.convert.options import Method, Options, Plan
from pseudo3d.recycle.convert.plan import Where, make_plan
from pseudo3d.recycle.convert.proof import prove
from pseudo3d.recycle.convert.report import Proof, Report

__all__ = ["Converted", "Plan", "Proof", "Report", "carry_out", "convert"]


def convert(
    net2d: nn.Module,
    mix: str = "ABC",
    *,
    where: Where = None,
    depth_stride: int | Sequence[int] = 1,
    padding: Padding = "zeros",
    channels: int | None = None,
    method: Method = "p3d",
    kernel: int = 3,
    head: Head = "mean",
    example: Tensor | None = None,
) -> Converted:
    """Copy a 2-D network into one that takes clips, and measure whether it starts as its 2-D self.

    Frames run through the network's own `forward` as a batch of images, so any network of modules
    works: temporal convolutions are added inside, nothing is rewritten. `net2d` is left as it is.

    Args:
        mix: forms of the temporal partners, repeated over the layers in order of execution (see
            `recycle.convert.partner`).
        where: layers that look along time: shell patterns of names, or a function of name and
            module. Default: every convolution in space but the first, and attention.
        depth_stride: time strides where the network makes images smaller: one number for all such
            places, or one for each halving, the last one repeated; 1 keeps every frame.
        padding: of time at both ends, "zeros" or "replicate".
        channels: of the clips, where it is not that of the images.
        method: "p3d"; for comparison "i3d" (kernels repeated along time), "center" (kernels in the
            center frame), "acs" (kernels turned into three planes), "2.5d" (no look along time).
        kernel: frames under a temporal kernel.
        head: "mean" averages answers that are vectors over the frames, "frames" keeps each.
        example: images (N, C, H, W) that `net2d` takes, at least one; found by trial unless given.
    Shape:
        network of (N, C, H, W) -> network of (N, C, T, H, W) or (N, C, D, H, W)
    Raises:
        Pseudo3dError: the network, or what is asked of it, cannot be converted; the message says
            why and what to do.
    Example:
        >>> net = convert(resnet)
        >>> print(net.report)
        >>> net(torch.zeros(1, 3, 16, 224, 224)).shape
        torch.Size([1, 1000])
    """
    strides = (depth_stride,) if isinstance(depth_stride, int) else tuple(depth_stride)
    options = Options(
        mix=mix,
        method=method,
        kernel=kernel,
        padding=padding,
        depth_stride=strides,
        channels=channels,
        head=head,
    )
    _check(net2d)
    with torch.random.fork_rng(devices=[]):  # a forward may draw numbers, not at the caller's cost
        twin = _copy(net2d).eval()
        seen = observe(twin, example)
        if seen.decisions:
            raise Pseudo3dError(
                f"the 2-D network's forward decides by values ({seen.decisions[0]}), so the frames "
                "of a batch would be decided on together. Let it use torch.where, or convert a "
                "part without the decision"
            )
        plan = make_plan(twin, seen, options, where)
        converted = carry_out(net2d, plan, seen.example.shape[1])
        modes = [(module, module.training) for module in converted.modules()]
        _try(twin, converted.eval(), plan, seen.example)
        for module, training in modes:  # one by one: batch norms may be frozen in a training net
            module.training = training
    return converted


def carry_out(net2d: nn.Module, plan: Plan, image_channels: int) -> Converted:
    """Convert by a plan, without measuring anything."""
    modes = {name: module.training for name, module in net2d.named_modules()}
    # in eval mode, for in training torch's spectral_norm changes a weight whenever it is read
    clock, net = Clock(), _copy(net2d).eval()
    told = adapt_channels(net, plan, image_channels)
    before = sum(p.numel() for p in net2d.parameters())
    net, layers = build(net, plan, clock)
    for name, module in net.named_modules():
        module.training = modes.get(name, module.training)
    converted = Converted(net, clock, plan.options.head)
    converted.report = Report(
        network=type(net2d).__name__,
        plan=plan,
        layers=layers,
        parameters_2d=before,
        parameters=sum(p.numel() for p in converted.parameters()),
        image_channels=image_channels,
        channels=told,
    )
    converted.training = net2d.training
    return converted


def _check(net2d: nn.Module) -> None:
    """Refuse what cannot be converted at first sight."""
    name = type(net2d).__name__
    if not isinstance(net2d, nn.Module):
        raise Pseudo3dError(f"got a {name}; wanted a 2-D network, a torch.nn.Module")
    if isinstance(net2d, torch.jit.ScriptModule):
        raise Pseudo3dError(f"{name} is scripted; convert the network it was made from")
    if isinstance(net2d, Converted) or any(isinstance(m, nn.Conv3d) for m in net2d.modules()):
        raise Pseudo3dError(f"{name} has 3-D convolutions and takes clips already")
    if not any(isinstance(m, CONVS) for m in net2d.modules()):
        raise Pseudo3dError(
            f"{name} has no 2-D convolution (torch.nn.Conv2d); wanted a network of images"
        )
    entries = dict(chain(net2d.named_parameters(), net2d.named_buffers()))
    if any(is_lazy(value) for value in entries.values()):
        raise Pseudo3dError(f"{name} has lazy parameters; run it once on an image first")
    for entry, value in entries.items():
        if value.is_meta:
            raise Pseudo3dError(
                f"{name} has weights that hold no numbers: {entry} is on device meta. Load them "
                "first: net.to_empty(device='cpu'), then net.load_state_dict(...)"
            )


def _copy(net2d: nn.Module) -> nn.Module:
    try:
        return deepcopy(net2d)
    except (RuntimeError, TypeError) as err:
        raise Pseudo3dError(f"the 2-D network cannot be copied (deepcopy): {err}") from err


def _try(twin: nn.Module, converted: Converted, plan: Plan, example: Tensor) -> None:
    """Measure the fresh network; say which wish does not fit where it does not even run."""
    try:
        proof = prove(twin, converted, plan, example)
    except (RuntimeError, ValueError, IndexError) as err:
        why = str(err).strip().partition("\n")[0]
        wish = f"depth_stride={plan.options.depth_stride} does" if not plan.steady else "it does"
        raise Pseudo3dError(
            f"the converted network does not run: {why}. Likely {wish} not suit this network"
        ) from err
    size = (int(example.shape[-2]), int(example.shape[-1]))
    converted.report = replace(converted.report, proof=proof, image_size=size)
