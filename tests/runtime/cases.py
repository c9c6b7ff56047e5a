"""Networks that between them take every path of the faster forms."""

from types import SimpleNamespace

import torch
from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.nn.blocks import norm
from pseudo3d.nn.conv import Conv3d

SMALL = {"widths": (4, 8, 8, 16), "stem_width": 8}
CASES = {
    "modern": ("p3d_nano", {}),
    "release": ("p3d_nano", {"semantics": "release"}),
    "port": ("p3d_nano", {"semantics": "port"}),
    "bottleneck release": ("p3d50", {"depths": (1, 2, 1, 1), "semantics": "release", **SMALL}),
    "bottleneck modern": ("p3d50", {"depths": (1, 2, 1, 1), **SMALL}),
    "replicate": ("p3d_nano", {"padding_mode": "replicate"}),
    "long kernel": ("p3d_nano", {"kernel": (5, 3, 3), "dilation": (2, 1, 1)}),
    "full stem": ("p3d_nano", {"stem_kernel": (3, 5, 5), "stem_stride": (2, 2, 2)}),
    "pieces": ("p3d_nano", {"stem_kernel": (4, 5, 5), "stem_stride": (4, 2, 2)}),
    "frames": ("resnet_nano", {}),
}


class Odd(Network):
    """What no network of ours does yet: values that are looked at again later."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.cfg = kind, SimpleNamespace(in_channels=3)
        self.one, self.two = Conv3d(3, 4, (1, 1, 1)), Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))
        self.time, self.norm = Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)), norm(4)
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(4, 5)
        nn.init.uniform_(self.norm.weight, 2, 3)

    def feature_map(self, x):
        a, b = self.one(x), self.two(x)
        if self.kind == "sum":  # the summand of a fused sum is needed again
            return (b + a).relu() + a
        if self.kind == "skip":  # so is the temporal convolution that is added to its input
            t = self.time(a)
            return (a + t).relu() + t
        if self.kind == "norm":  # and what batch norm looks at
            return self.norm(a) + a
        return self.norm(a + a) + b


ODD = ("sum", "skip", "norm", "twice")
