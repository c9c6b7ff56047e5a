"""Any network of the library in torch's own layers, on tensors as they come: no view, no layout."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.models.network import Network
from pseudo3d.nn.conv import Conv3d, time_padding
from pseudo3d.nn.stem import MaxPool


class Plain(nn.Module):
    """The parts of a network one after the other, as a PyTorch user would run them.

    Shape: (N, C, T, H, W) -> logits (N, K).
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        parts = deepcopy(net)
        for name, part in list(parts.named_modules()):
            if type(part) is Conv3d:
                parts.set_submodule(name, _convolution(part))
            elif isinstance(part, MaxPool):
                parts.set_submodule(name, _Pool(part))
        self.stem, self.stages, self.dropout = parts.stem, parts.stages, parts.dropout
        self.head = parts.head

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(self.dropout(x.mean(dim=(2, 3, 4))))


class _Pool(nn.Module):
    """`MaxPool` as torch's one operator."""

    def __init__(self, pool: MaxPool) -> None:
        super().__init__()
        self.window, self.padding = (pool.kernel, pool.stride), pool.padding
        self.before = pool.time_padding if pool.causal else None

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.window
        if self.before is not None:
            x = F.pad(x, (0, 0, 0, 0, *self.before), value=-torch.inf)
            return F.max_pool3d(x, kernel, stride, (0, *self.padding[1:]))
        if any(self.padding):
            return F.max_pool3d(x, kernel, stride, self.padding)
        fitting = [min(k, size) for k, size in zip(kernel, x.shape[2:], strict=True)]
        return F.max_pool3d(x, fitting, stride, ceil_mode=True)


def _convolution(ours: Conv3d) -> nn.Module:
    padding = (0, *ours.pads[1:]) if ours.causal else ours.pads
    conv = nn.Conv3d(
        ours.in_channels,
        ours.out_channels,
        ours.kernel_size,  # type: ignore[arg-type]  # torch stores triples as tuples of any length
        ours.stride,  # type: ignore[arg-type]
        padding,
        ours.dilation,  # type: ignore[arg-type]
        ours.groups,
        ours.bias is not None,
        ours.padding_mode,
        device="meta",
    )
    conv.weight, conv.bias = ours.weight, ours.bias
    if not ours.causal:
        return conv
    lead = (0, 0, 0, 0, *time_padding(ours))
    zeros = ours.padding_mode == "zeros"
    return nn.Sequential(nn.ConstantPad3d(lead, 0) if zeros else nn.ReplicationPad3d(lead), conv)
