"""A trained 3-D network with its k x k x k convolutions as pseudo-3-D pairs."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.network import Network
from pseudo3d.nn.factor import Order
from pseudo3d.recycle.factorize import activations, costs
from pseudo3d.recycle.factorize.costs import Clock, Cost, Use
from pseudo3d.recycle.factorize.find import build, find
from pseudo3d.recycle.factorize.plan import Option
from pseudo3d.recycle.factorize.report import Layer, Report
from pseudo3d.recycle.factorize.solve import spectrum
from pseudo3d.recycle.factorize.target import (
    Choice,
    Ranks,
    Subject,
    by_energy,
    by_rank,
    by_speed,
    count_macs,
)

_ORDERS: tuple[Order, Order] = ("space", "time")
_DEFAULT = (16, 112, 112)  # clip of a network that does not say what it was trained on


def factorize(
    net3d: nn.Module,
    *,
    rank: Ranks | None = None,
    energy: float | None = None,
    speedup: float | None = None,
    data: Tensor | Iterable[Tensor] | None = None,
    example: Float[Tensor, "n c t h w"] | None = None,
    cost: Cost = "time",
) -> nn.Module:
    """Replace the k x k x k convolutions of a trained network by 1 x k x k and k x 1 x 1 pairs.

    Each pair is the best one of its rank (channels between the halves): for the kernel, or, with
    `data`, for what the layer answers to these clips; then the second halves are fitted, pair after
    pair, to the answers of the original network. Give exactly one of `rank`, `energy`, `speedup`.

    Args:
        net3d: any module with `nn.Conv3d`; it is left as it is.
        rank: for all layers, or by layer name (others are kept); (order, rank) also says which
            half runs first. More than the full rank counts as the full one, which loses nothing.
        energy: share of each kernel's energy to keep, in (0, 1]; a pair that would cost more than
            its kernel is not made.
        speedup: how many times faster the whole network shall be; ranks are chosen over all layers.
        data: prepared clips (N, C, T, H, W), tens of them, as the network is fed them.
        example: the clip to time and count on; by default one of `data`, or as the checkpoint says.
        cost: "time" measures layers and network on this machine; "macs" counts multiply-adds and
            times nothing, so that the outcome is the same everywhere.
    Returns:
        A copy with pairs, and what was done as its `report`.
    Raises:
        Pseudo3dError: nothing to factorize, a speed-up out of reach, no clip to measure on.
        ValueError: none or several of rank, energy, speedup, or one out of range.
    Example:
        >>> fast = factorize(net, speedup=3, data=clips)
        >>> print(fast.report)
    """
    _check(rank, energy, speedup, cost)
    clips = _clips(data)
    example = _example(net3d, clips) if example is None else example
    notes: tuple[str, ...] = ()
    with torch.random.fork_rng(devices=[]):  # fresh pairs draw numbers, not at the caller's cost
        subject, kept = _study(net3d, example, clips, rank)
        if rank is not None:
            choice = by_rank(subject, rank)
        elif energy is not None:
            choice = by_energy(subject, energy)
        else:
            choice, notes = by_speed(subject, float(speedup or 0), cost)
        kept |= {n: "a pair does not pay here" for n in subject.convs if n not in choice}
        net, report = _make(subject, choice, clips, Clock(subject.net) if cost == "time" else None)
    net.report = replace(report, kept=kept, notes=notes)  # type: ignore[assignment]  # plain data
    _restore_modes(net3d, net)
    return net


def _make(
    subject: Subject, choice: Choice, clips: list[Tensor], clock: Clock | None
) -> tuple[nn.Module, Report]:
    """Put in the pairs, fit them to the clips, look at what came out."""
    net = build(deepcopy(subject.net), choice, subject.spectra)
    names = [name for name in subject.uses or choice if name in choice]
    moved = activations.refit(subject.net, net, names, clips) if clips and names else []
    report = _report(subject, net, choice, clock)
    return net, replace(report, refitted=tuple(moved), samples=sum(map(len, clips)))


def _check(rank: Any, energy: float | None, speedup: float | None, cost: str) -> None:
    given = {"rank": rank, "energy": energy, "speedup": speedup}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        what = " and ".join(f"{n}={given[n]!r}" for n in named) or "nothing"
        raise ValueError(f"got {what}; wanted exactly one of rank=, energy=, speedup=")
    single = rank is not None and not isinstance(rank, Mapping)
    if single and (type(rank) is not int or rank < 1):
        raise ValueError(f"rank is {rank!r}; wanted 1 or more channels, or a dict of such by layer")
    if energy is not None and not 0 < energy <= 1:
        raise ValueError(f"energy is {energy!r}; wanted a share above 0 and at most 1")
    if speedup is not None and not speedup > 1:
        raise ValueError(f"speedup is {speedup!r}; wanted more than 1")
    if cost not in ("time", "macs"):
        raise ValueError(f"cost is {cost!r}; wanted 'time' or 'macs'")


def _clips(data: Tensor | Iterable[Tensor] | None) -> list[Tensor]:
    """Batches of clips; a generator is read once."""
    if data is None:
        return []
    clips = [data] if isinstance(data, Tensor) else list(data)
    for clip in clips:
        if not isinstance(clip, Tensor) or clip.ndim != 5 or not clip.is_floating_point():
            what = f"{tuple(clip.shape)}, {clip.dtype}" if isinstance(clip, Tensor) else repr(clip)
            raise Pseudo3dError(
                f"data holds {what}; wanted prepared clips (N, C, T, H, W) of floats"
            )
    if not clips:
        raise Pseudo3dError("data holds no clip; leave it out to go by the kernels alone")
    return clips


def _example(net: nn.Module, clips: list[Tensor]) -> Tensor | None:
    """A clip as the network takes it: the first of the data, or random numbers."""
    if clips:
        return clips[0][:1]
    if not isinstance(net, Network):
        return None
    pre = getattr(net.card, "preprocessing", None)
    t, h, w = _DEFAULT if pre is None else (pre.frames, *pre.size)
    rng = torch.Generator().manual_seed(0)
    return torch.randn(1, net.cfg.in_channels, t, h, w, generator=rng).to(net.head.weight.device)


def _study(
    net: nn.Module, example: Tensor | None, clips: list[Tensor], rank: Ranks | None
) -> tuple[Subject, dict[str, str]]:
    """Everything that is known of a network before anything is chosen.

    Raises:
        Pseudo3dError: `rank` names what is no layer to factorize, or weights are not finite.
    """
    names, kept = find(net)
    if isinstance(rank, Mapping):
        for name in rank:
            if name not in names:
                raise Pseudo3dError(unknown("layer to factorize", name, names))
        kept |= {name: "not named" for name in names if name not in rank}
        names = {name: conv for name, conv in names.items() if name in rank}
    still = deepcopy(net).eval()
    convs = {name: still.get_submodule(name) for name in names}
    uses: dict[str, Use] = {}
    if example is not None:
        uses = costs.trace(still, convs, example)
        for name in [name for name in convs if name not in uses]:
            kept[name] = "the forward pass does not call it"
            del convs[name]
    moments = activations.gather(still, convs, clips) if clips else {}  # type: ignore[arg-type]
    _check_finite(convs, moments)
    spectra = {
        name: {order: spectrum(conv, order, moments.get(name, {}).get(order)) for order in _ORDERS}  # type: ignore[arg-type]
        for name, conv in convs.items()
    }
    subject = Subject(net=still, convs=convs, spectra=spectra, uses=uses, example=example)  # type: ignore[arg-type]
    return subject, kept


def _check_finite(convs: Mapping[str, Any], moments: Mapping[str, Any]) -> None:
    """Refuse numbers that no pair is near to."""
    for name, conv in convs.items():
        if not bool(conv.weight.isfinite().all()):
            raise Pseudo3dError(
                f"{name}: its weights are not finite, so the training diverged; take weights of "
                "before"
            )
        for seen in moments.get(name, {}).values():
            if not bool(seen.total.isfinite().all()):
                raise Pseudo3dError(
                    f"{name}: what it sees of the clips is not finite; look at the clips, and at "
                    "the weights of the layers before it"
                )


def _report(subject: Subject, net: nn.Module, choice: Choice, clock: Clock | None) -> Report:
    """Count, time and compare what was there with what is there now."""
    x = subject.example
    counts = [sum(p.numel() for p in n.parameters()) for n in (subject.net, net)]
    figures: dict[str, Any] = {"macs": None, "speed": None, "clip": None, "output_error": None}
    if x is not None:
        figures = {
            "macs": (count_macs(subject.net, x), count_macs(net, x)),
            "speed": None if clock is None else costs.compare(subject.net, net, x),
            "clip": tuple(x.shape),
            "output_error": _difference(subject.net, net, x),
        }
    return Report(
        layers=tuple(_layer(subject, name, option, clock) for name, option in choice.items()),
        parameters=(counts[0], counts[1]),
        fused=costs.fusible(subject.net),
        **figures,
    )


def _layer(subject: Subject, name: str, option: Option, clock: Clock | None) -> Layer:
    conv, use, order = subject.convs[name], subject.uses.get(name), option.order
    if order is None:
        raise ValueError(f"{name} is no pair")
    pair = (order, option.rank)
    return Layer(
        name=name,
        kernel=tuple(conv.kernel_size),
        channels=(conv.in_channels, conv.out_channels),
        order=order,
        rank=option.rank,
        full=subject.spectra[name][order].full,
        error=option.error,
        parameters=(costs.parameters(conv), costs.parameters(conv, *pair)),
        macs=None if use is None else (costs.macs(conv, use), costs.macs(conv, use, *pair)),
        seconds=None
        if use is None or clock is None
        else (clock.seconds(conv, use), clock.seconds(conv, use, *pair)),
    )


def _difference(net: nn.Module, other: nn.Module, x: Tensor) -> float | None:
    """Relative difference of the outputs, where they are tensors."""
    with torch.inference_mode():
        want, got = net(x), other(x)
    if not isinstance(want, Tensor):
        return None
    return float((got - want).double().norm() / want.double().norm().clamp_min(1e-30))


def _restore_modes(net: nn.Module, other: nn.Module) -> None:
    """Training or evaluation mode as it was, module by module; pairs as their convolutions."""
    modes = {name: module.training for name, module in net.named_modules()}
    for name, module in other.named_modules():
        while name not in modes:
            name = name.rpartition(".")[0]
        module.training = modes[name]
