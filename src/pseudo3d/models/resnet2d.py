"""ResNet (He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385) applied to every frame.

The frame-based 2-D CNN of the P3D paper: logits are the mean over frames, so it cannot know their
order. It is the twin that each P3D network is compared with and recycled from.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.models.p3d import StrideOn, check_body, check_head
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import Basic, Bottleneck, PairSpec, initialize
from pseudo3d.nn.stem import SpacePool, Stem, StemSpec


@dataclass(frozen=True, kw_only=True)
class ResNet2dConfig:
    """What tells one per-frame ResNet from another."""

    depths: tuple[int, ...]
    block: Literal["basic", "bottleneck"] = "bottleneck"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    stem_kernel: int = 7
    stem_pool: SpacePool = "pad"  # "ceil" for Caffe weights
    strides: tuple[int, ...] = (1, 2, 2, 2)
    stride_on: StrideOn = "3x3"  # "1x1" for Caffe weights
    in_channels: int = 3
    num_classes: int = 1000  # ImageNet
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.widths) == len(self.strides):
            raise ValueError(
                f"depths {self.depths}, widths {self.widths} and strides {self.strides} differ in "
                "length; wanted one value per stage"
            )
        check_body(self.depths, self.widths, self.stem_width, self.block, self.stride_on)
        if self.block == "basic" and self.stride_on != "3x3":
            raise ValueError("stride_on has no meaning for basic blocks; leave it out")
        check_head(self.num_classes, self.dropout, self.in_channels)


class ResNet2d(Network):
    """Clip (N, C, T, H, W) -> logits (N, num_classes), the mean of the frames' logits."""

    never_causal = "its frames do not mix, so it never waits for a later one; leave it out"

    def __init__(self, cfg: ResNet2dConfig) -> None:
        super().__init__()
        self.cfg = cfg
        k = cfg.stem_kernel
        stem = StemSpec(kernel=(1, k, k), stride=(1, 2, 2), pool=cfg.stem_pool)
        self.stem = Stem(cfg.in_channels, cfg.stem_width, stem)
        self.stages = nn.ModuleList()
        flat, cin = PairSpec(mix=None), cfg.stem_width
        for depth, width, first in zip(cfg.depths, cfg.widths, cfg.strides, strict=True):
            blocks: list[nn.Module] = []
            for j in range(depth):
                stride = first if j == 0 else 1
                if cfg.block == "basic":
                    blocks.append(Basic(cin, width, flat, stride))
                    cin = width
                else:
                    blocks.append(Bottleneck(cin, width, flat, stride, cfg.stride_on))
                    cin = width * Bottleneck.expansion
            self.stages.append(nn.Sequential(*blocks))
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)
        initialize(self)


register(
    ResNet2d,
    {
        "resnet_nano": ResNet2dConfig(
            depths=(1, 1, 1, 1),
            block="basic",
            widths=(16, 32, 64, 80),
            stem_width=16,
            stem_kernel=5,
            stem_pool="none",
            dropout=0.2,
        ),
        "resnet_tiny": ResNet2dConfig(
            depths=(1, 2, 2, 1),
            block="basic",
            widths=(16, 64, 128, 176),
            stem_width=16,
            stem_kernel=5,
            stem_pool="none",
        ),
        "resnet18": ResNet2dConfig(depths=(2, 2, 2, 2), block="basic"),
        "resnet34": ResNet2dConfig(depths=(3, 4, 6, 3), block="basic"),
        "resnet50": ResNet2dConfig(depths=(3, 4, 6, 3)),
        "resnet101": ResNet2dConfig(depths=(3, 4, 23, 3)),
        "resnet152": ResNet2dConfig(depths=(3, 8, 36, 3)),
    },
)
