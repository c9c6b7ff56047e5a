"""A k x k x k convolution as a pair, 1 x k x k in space and k x 1 x 1 in time.

With r channels between its halves, the pair is every kernel whose unfolding (one half's axes
against the other's) has rank r at most; `recycle.factorize` finds the best one of a trained kernel.
"""

from collections import OrderedDict
from typing import Literal

from torch import nn

from pseudo3d.nn.conv import Conv3d, Triple

Order = Literal["space", "time"]  # which half runs first
Split = tuple[str, Order, int]  # name of a convolution, order, channels between the halves

_SPACE: Triple = (0, 1, 1)
_TIME: Triple = (1, 0, 0)


class Factorized(nn.Sequential):
    """The pair that stands for a convolution: its stride, padding, dilation, groups and bias.

    The halves are called `space` and `time`; the bias is the second one's. The weights are fresh.

    Args:
        conv: gives everything but the weights.
        order: the half that runs first.
        rank: channels between the halves, a multiple of the groups.
    Shape:
        that of `conv`
    Raises:
        ValueError: a convolution that has no such pair, or an impossible rank.
    """

    def __init__(self, conv: nn.Conv3d, order: Order, rank: int) -> None:
        if (why := whole(conv)) is not None:
            raise ValueError(f"a {why} has no pair in space and time")
        if order not in ("space", "time"):
            raise ValueError(f"order is {order!r}; wanted 'space' or 'time'")
        if rank < 1 or rank % conv.groups:
            raise ValueError(
                f"rank is {rank!r}; wanted a multiple of the convolution's {conv.groups} group(s)"
            )
        first, second = (_SPACE, _TIME) if order == "space" else (_TIME, _SPACE)
        names = (order, "time" if order == "space" else "space")
        halves = (
            _half(conv, first, (conv.in_channels, rank), bias=False),
            _half(conv, second, (rank, conv.out_channels), bias=conv.bias is not None),
        )
        super().__init__(OrderedDict(zip(names, halves, strict=True)))
        self.order: Order = order
        for p in self.parameters():
            p.requires_grad_(conv.weight.requires_grad)
        self.to(conv.weight.device, conv.weight.dtype).train(conv.training)

    @property
    def rank(self) -> int:
        """Channels between the halves."""
        return self.halves[0].out_channels

    @property
    def halves(self) -> tuple[nn.Conv3d, nn.Conv3d]:
        """First and second."""
        first, second = self.children()
        return first, second  # type: ignore[return-value]  # made above


def split(root: nn.Module, ranks: tuple[Split, ...]) -> None:
    """Replace convolutions of `root` by fresh pairs, in place.

    Raises:
        ValueError: a name that is none of a convolution in both space and time, or comes twice.
    """
    for name, order, rank in ranks:
        found = dict(root.named_modules()).get(name)
        if not isinstance(found, nn.Conv3d):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise ValueError(f"ranks names {name!r}, which is {what}; wanted a Conv3d")
        try:
            pair = Factorized(found, order, rank)
        except ValueError as err:
            raise ValueError(f"ranks names {name!r}: {err}") from err
        root.set_submodule(name, pair)


def whole(module: nn.Module) -> str | None:
    """What a module is, where no pair can take its place; None where one can."""
    if not isinstance(module, nn.Conv3d) or type(module) not in (nn.Conv3d, Conv3d):
        return type(module).__name__  # a subclass may compute something else
    kernel = module.kernel_size
    if kernel[0] == 1 or kernel[1] == kernel[2] == 1:
        return f"{'x'.join(map(str, kernel))} convolution"
    return None


def full_rank(conv: nn.Conv3d, order: Order) -> int:
    """Channels between the halves with which a pair is any kernel of the convolution's shape."""
    t, h, w = conv.kernel_size
    outer, inner = (t, h * w) if order == "space" else (h * w, t)
    return min(conv.out_channels * outer, conv.in_channels * inner)


def _half(conv: nn.Conv3d, on: Triple, channels: tuple[int, int], bias: bool) -> nn.Conv3d:
    """What a convolution does along the axes `on`."""
    kernel, stride, dilation = (
        tuple(v if along else 1 for v, along in zip(values, on, strict=True))
        for values in (conv.kernel_size, conv.stride, conv.dilation)
    )
    pads = _padding(conv)
    if isinstance(pads, str) or conv.padding_mode not in ("zeros", "replicate"):
        given = pads if isinstance(pads, str) else _along(pads, on)
        return nn.Conv3d(
            *channels,
            kernel,  # type: ignore[arg-type]  # triples
            stride,  # type: ignore[arg-type]
            given,
            dilation,  # type: ignore[arg-type]
            conv.groups,
            bias,
            padding_mode=conv.padding_mode,
        )
    return Conv3d(
        *channels,
        kernel,  # type: ignore[arg-type]
        stride=stride,  # type: ignore[arg-type]
        padding=_along(pads, on),
        dilation=dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=bias,
        causal=getattr(conv, "causal", False) and on[0] == 1,
        padding_mode="zeros" if conv.padding_mode == "zeros" else "replicate",
    )


def _along(values: Triple, on: Triple) -> Triple:
    t, h, w = (v if along else 0 for v, along in zip(values, on, strict=True))
    return t, h, w


def _padding(conv: nn.Conv3d) -> Triple | Literal["same"]:
    """Padding in numbers, but for "same" of an even reach, which pads one side more."""
    if conv.padding == "valid":
        return 0, 0, 0
    if conv.padding != "same":
        t, h, w = (int(p) for p in conv.padding)
        return t, h, w
    reach = [d * (k - 1) for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    if any(r % 2 for r in reach):
        return "same"
    t, h, w = (r // 2 for r in reach)
    return t, h, w
