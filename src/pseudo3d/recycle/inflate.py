"""Start a network from the weights of a 2-D ResNet trained on images.

Kernels k x k become 1 x k x k (in R3D, MC3 and I3D the center of T x k x k), temporal kernels let a
frame pass unchanged (`PseudoPair.still`), so that the fresh network computes on every frame what
the 2-D network does. That is checked at once, on random frames, against a plain execution of the
2-D weights that shares no code with our networks. Temporal pooling and a stem of several frames mix
frames, so for nets that have them the equality is one of single frames and still clips.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.errors import WeightsError
from pseudo3d.models.network import Network
from pseudo3d.models.p3d import StrideOn
from pseudo3d.models.resnet3d import ResNet3d
from pseudo3d.models.tsm import TSM
from pseudo3d.nn.blocks import PseudoPair
from pseudo3d.nn.stem import SpacePool
from pseudo3d.recycle.files import read_state
from pseudo3d.recycle.foreign.formats import recognize
from pseudo3d.recycle.foreign.kinds import BlockName, Report, shorten, with_counters
from pseudo3d.recycle.foreign.names_resnet import describe, resnet_key, resnet_layout
from pseudo3d.recycle.space import Space, check_space, space_of

_TOLERANCE = 1e-4


def inflate(
    net: Network,
    source: Mapping[str, Tensor] | str | Path,
    *,
    source_stride: StrideOn = "3x3",
    source_pool: Literal["pad", "ceil"] = "pad",
) -> Report:
    """Start `net`, in place, from a 2-D ResNet and check that both agree on single frames.

    The classifier is copied if the numbers of classes agree and stays as it is otherwise. Where the
    numbers of input channels differ, every channel gets the sum of the source's kernels over their
    number, so that a gray image in all channels gives the same response.

    Args:
        source: state dict under torchvision's names, or a .pth or .safetensors file of one.
        source_stride: where the source's bottlenecks stride: "3x3" (torchvision) or "1x1" (Caffe).
        source_pool: how its stem pools: "pad" (torchvision) or "ceil" (Caffe). Nets of the
            `release` semantics need stride_on="3x3", stem_pool="pad" to take torchvision's weights.
    Raises:
        WeightsError: another depth, block, stride placement, pooling or width, unknown entries, or
            a network that does not equal the 2-D one afterwards.
    Example:
        >>> print(inflate(create_model("p3d50", num_classes=20), "resnet50.safetensors"))
    """
    told, state = _resnet_state(source)
    layout, space, name = resnet_layout(state), space_of(net), _name(net)
    if (layout.depths, layout.block) != (space.depths, space.block):
        raise WeightsError(
            f"{told}: {layout} does not fit {name}, which needs "
            f"{describe(space.block, space.depths)}"
        )
    check_space(space, told, source_stride, source_pool)
    if next(net.parameters()).dtype != torch.float32:
        raise WeightsError(f"{name} is not in float32; start it first and convert it then")
    state, reshaped = _fit_channels(state, net.cfg.in_channels)
    filled = _fill(net, state, space.block, told)
    still = _still(net)
    error = _compare(net, state, space)
    if not error <= _TOLERANCE:
        raise WeightsError(
            f"{told}: {name} differs from the 2-D network by {error:.2g} on single frames, "
            f"{_TOLERANCE:.0e} is allowed; do not use it, build a new one"
        )
    return Report(
        source=f"{told} ({layout})",
        loaded=filled,
        fresh=tuple(k for k in net.state_dict() if k not in filled),
        reshaped=(*_changes(net, state, still), *reshaped),
        error=error,
    )


def _changes(net: Network, state: Mapping[str, Tensor], still: int) -> tuple[str, ...]:
    """What was done to the 2-D weights, and to what a 2-D network has not, in words."""
    place = "last" if getattr(net.cfg, "causal", False) else "center"
    extent = f"T (the {place} frame)" if isinstance(net, ResNet3d) else "1"
    kernels = sum(v.ndim == 4 for v in state.values())
    told = [f"{kernels} kernels k x k to {extent} x k x k"]
    if still:
        told.append(f"{still} temporal kernels set to identity or zero")
    if _shifts(net):
        told.append("compared without its shift, which is not still")
    return tuple(told)


def _name(net: Network) -> str:
    return str(getattr(net, "name", type(net).__name__))


def _resnet_state(source: Mapping[str, Tensor] | str | Path) -> tuple[str, dict[str, Tensor]]:
    """What to call the source in messages, and its entries."""
    if isinstance(source, str | Path):
        told, state, way_out = str(source), read_state(source), "load() or load_backbone()"
    else:
        told, state, way_out = "the state dict given", dict(source), "load_state_dict()"
    if (kind := recognize(state, told)) != "resnet":
        raise WeightsError(f"{told}: not a 2-D ResNet but {kind} weights; use {way_out}")
    return told, with_counters(state)


def _fit_channels(
    state: dict[str, Tensor], channels: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Give the first kernel the network's number of input channels."""
    weight = state["conv1.weight"]
    have = weight.shape[1]
    if have == channels:
        return state, ()
    shared = weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    how = "summed" if channels == 1 else f"summed, divided by {channels} and repeated"
    note = f"first kernel from {have} channels to {channels}: {how}"
    return {**state, "conv1.weight": shared}, (note,)


def _fill(
    net: Network, state: Mapping[str, Tensor], block: BlockName, told: str
) -> tuple[str, ...]:
    """Write the 2-D weights into the network; return the names filled."""
    new, used, wrong = {}, set(), []
    keep_head = resnet_layout(state).num_classes == net.cfg.num_classes
    for name, ours in net.state_dict().items():
        key = resnet_key(name, block)
        if key is None or (name.startswith("head.") and not keep_head):
            continue
        if key not in state:
            wrong.append(f"{key} is missing")
            continue
        used.add(key)
        value = _inflated(state[key], ours, getattr(net.cfg, "causal", False))
        if value.shape == ours.shape:
            new[name] = value
        else:
            wrong.append(f"{key} has shape {tuple(state[key].shape)}, {name} {tuple(ours.shape)}")
    wrong += [f"{k} is unknown" for k in state if k not in used and not k.startswith("fc.")]
    if wrong:
        raise WeightsError(
            f"{told}: does not fit {_name(net)}: {shorten(wrong)}. Nothing was loaded."
        )
    net.load_state_dict(new, strict=False)
    return tuple(new)


def _still(net: Network) -> int:
    """Let frames pass the temporal convolutions unchanged; return how many there are."""
    pairs = [m for m in net.modules() if isinstance(m, PseudoPair) and hasattr(m, "time")]
    for pair in pairs:
        pair.still()
        if isinstance(norm := getattr(pair, "time_norm", None), nn.BatchNorm3d):
            norm.reset_parameters()
            norm.get_buffer("running_var").fill_(1 - norm.eps)  # the identity, exactly
    return len(pairs)


def _inflated(value: Tensor, like: Tensor, causal: bool) -> Tensor:
    """k x k -> T x k x k with the kernel on the present frame and zeros elsewhere."""
    if value.ndim != 4 or like.ndim != 5:
        return value
    frames = like.shape[2]
    out = value.new_zeros(*value.shape[:2], frames, *value.shape[2:])
    out[:, :, frames - 1 if causal else frames // 2] = value
    return out


def _shifts(net: Network) -> bool:
    return isinstance(net, TSM) and net.cfg.shift is not None


def _unshifted(net: Network) -> Network:
    """The same weights without TSM's shift, which moves channels even of still clips."""
    plain = TSM(replace(net.cfg, shift=None, part=8, every=1)).to(next(net.parameters()).device)
    plain.load_state_dict(net.state_dict())
    return plain


@torch.no_grad()
def _compare(net: Network, state: Mapping[str, Tensor], space: Space) -> float:
    """Greatest difference of the features on random frames, relative to the greatest feature."""
    device = next(net.parameters()).device
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn(4, net.cfg.in_channels, 72, 64, generator=draw).to(device)
    wanted = plain_features(
        {k: v.to(device, torch.float32) for k, v in state.items()},
        frames,
        stride_on=space.stride_on,
        pool=space.pool,
    )
    plain = _unshifted(net) if _shifts(net) else net
    modes = [(module, module.training) for module in plain.modules()]
    got = plain.eval().features(frames[:, :, None])
    for module, training in modes:  # one by one: batch norms may be frozen in a training net
        module.training = training
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))


def plain_features(
    state: Mapping[str, Tensor],
    frames: Float[Tensor, "n c h w"],
    *,
    stride_on: StrideOn = "3x3",
    pool: SpacePool = "pad",
) -> Float[Tensor, "n f"]:
    """Features of a 2-D ResNet straight from its state dict (torchvision's names).

    He et al., CVPR 2016, figure 5; the independent side of the check in `inflate`.
    """
    layout = resnet_layout(state)

    def unit(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
        mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = unit(frames, "conv1", "bn1", 2).relu()
    x = F.max_pool2d(x, 3, 2, 1) if pool == "pad" else F.max_pool2d(x, 3, 2, ceil_mode=True)
    for stage, depth in enumerate(layout.depths, 1):
        for index in range(depth):
            at, stride = f"layer{stage}.{index}.", 2 if stage > 1 and index == 0 else 1
            strided = 1 if layout.block == "basic" or stride_on == "1x1" else 2
            convs = 2 if layout.block == "basic" else 3
            y = x
            for k in range(1, convs + 1):
                y = unit(y, f"{at}conv{k}", f"{at}bn{k}", stride if k == strided else 1)
                y = y.relu() if k < convs else y
            if f"{at}downsample.0.weight" in state:
                x = unit(x, f"{at}downsample.0", f"{at}downsample.1", stride)
            x = (x + y).relu()
    return x.mean((2, 3))
