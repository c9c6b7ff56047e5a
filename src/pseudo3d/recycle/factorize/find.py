"""Which convolutions of a network can become pairs, and putting the pairs in."""

from collections.abc import Mapping
from dataclasses import fields, replace

from torch import nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.nn.factor import Factorized, Order, Split, whole
from pseudo3d.recycle.factorize.plan import Option
from pseudo3d.recycle.factorize.solve import Spectrum

_KINDS = (nn.Conv3d, nn.ConvTranspose3d)


def find(net: nn.Module) -> tuple[dict[str, nn.Conv3d], dict[str, str]]:
    """Convolutions that can become pairs, and the others with the reason why not.

    Raises:
        Pseudo3dError: there are none.
    """
    owners: dict[int, set[int]] = {}
    for module in net.modules():
        for p in module._parameters.values():
            if p is not None:
                owners.setdefault(id(p), set()).add(id(module))
    found: dict[str, nn.Conv3d] = {}
    kept: dict[str, str] = {}
    for name, module in net.named_modules():
        if isinstance(module, _KINDS):
            why = _obstacle(module, owners)
            if why is None and isinstance(module, nn.Conv3d):
                found[name] = module
            else:
                kept[name] = why or ""
    if not found:
        seen = ", ".join(sorted(set(kept.values()))) or "no Conv3d"
        raise Pseudo3dError(
            f"nothing to factorize in this {type(net).__name__}: no k x k x k convolution that can "
            f"become a pair in space and time ({seen})"
        )
    return found, kept


def _obstacle(module: nn.Module, owners: Mapping[int, set[int]]) -> str | None:
    """Why a convolution cannot become a pair."""
    if (what := whole(module)) is not None:
        return what
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is computed from others"
    if len(owners[id(weight)]) > 1:
        return "shares its weight with another layer"
    if module._forward_hooks or module._forward_pre_hooks:
        return "has hooks, which a pair would lose"
    return None


def build(
    net: nn.Module, choice: Mapping[str, Option], spectra: Mapping[str, Mapping[Order, Spectrum]]
) -> nn.Module:
    """Put pairs into `net`, in place; gives `net`, or the pair where it is the convolution itself.

    Without `spectra` the pairs keep fresh weights, which is enough to time them.
    """
    same: dict[int, list[str]] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        same.setdefault(id(module), []).append(name)
    for name, option in choice.items():
        conv = net.get_submodule(name)
        if option.order is None or not isinstance(conv, nn.Conv3d):
            continue
        pair = Factorized(conv, option.order, option.rank)
        if spectra:
            spectra[name][option.order].fill(pair, conv)
        if not name:
            return pair
        for alias in same[id(conv)]:
            net.set_submodule(alias, pair)
    if isinstance(net, Network):
        _describe(net, choice)
    return net


def _describe(net: Network, choice: Mapping[str, Option]) -> None:
    """Write the pairs into the config, so that the network can be saved and built again."""
    pairs: tuple[Split, ...] = tuple(
        (name, option.order, option.rank) for name, option in choice.items() if option.order
    )
    if "ranks" in {f.name for f in fields(net.cfg)}:
        net.cfg = replace(net.cfg, ranks=(*net.cfg.ranks, *pairs))
        if net.card is not None:  # scores and self-test were of the network before
            net.card = replace(
                net.card,
                config={**net.card.config, "ranks": net.cfg.ranks},
                scores={},
                self_test=None,
            )
    else:
        net.name = None  # type: ignore[assignment]  # no network of `create_model` any more
