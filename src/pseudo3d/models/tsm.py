"""TSM (Lin, Gan, Han, ICCV 2019, arXiv 1811.08383) and TSN (Wang et al., ECCV 2016, 1608.00859).

Both are a ResNet on every frame whose logits are averaged over the frames; TSM shifts an eighth of
the channels one frame each way in front of every residual branch, TSN shifts nothing. Frames are
spread over the whole video: sample them with `sampling="uniform"`. The shift may be "online", from
past frames only, so that nothing waits for a frame to come.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.models.p3d import check_body, check_head
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import Basic, Bottleneck, PairSpec, initialize
from pseudo3d.nn.shift import Direction, ShiftedBasic, ShiftedBottleneck, TimeShift
from pseudo3d.nn.stem import SpacePool, Stem, StemSpec


@dataclass(frozen=True, kw_only=True)
class TSMConfig:
    """What tells one frame network with or without shifts from another."""

    depths: tuple[int, ...]
    block: Literal["basic", "bottleneck"] = "bottleneck"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    shift: Direction | None = "offline"  # None: TSN
    part: int = 8  # one channel in so many moves each way
    every: int = 1  # of a stage's blocks, one in so many shifts
    stem_width: int = 64
    stem_kernel: int = 7
    stem_pool: SpacePool = "pad"
    strides: tuple[int, ...] = (1, 2, 2, 2)
    in_channels: int = 3
    num_classes: int = 400  # Kinetics
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.widths) == len(self.strides):
            raise ValueError(
                f"depths {self.depths}, widths {self.widths} and strides {self.strides} differ in "
                "length; wanted one value per stage"
            )
        check_body(self.depths, self.widths, self.stem_width, self.block, None)
        if self.every < 1:
            raise ValueError(f"every is {self.every}; wanted at least 1")
        if self.shift is None and (self.part, self.every) != (8, 1):
            raise ValueError("part and every are about the shift and shift is None; leave them out")
        if self.shift is not None:
            TimeShift(self.part, self.shift)
        check_head(self.num_classes, self.dropout, self.in_channels)


class TSM(Network):
    """Clip (N, C, T, H, W) -> logits (N, num_classes), the mean of the frames' logits."""

    never_causal = "its shift decides; give shift='online' (TSN, without a shift, always is)"

    def __init__(self, cfg: TSMConfig) -> None:
        super().__init__()
        self.cfg = cfg
        k = cfg.stem_kernel
        stem = StemSpec(kernel=(1, k, k), stride=(1, 2, 2), pool=cfg.stem_pool)
        self.stem = Stem(cfg.in_channels, cfg.stem_width, stem)
        self.stages = nn.ModuleList()
        cin = cfg.stem_width
        for depth, width, first in zip(cfg.depths, cfg.widths, cfg.strides, strict=True):
            blocks: list[nn.Module] = []
            for j in range(depth):
                blocks.append(_block(cfg, cin, width, j, first if j == 0 else 1))
                cin = width * (Bottleneck if cfg.block == "bottleneck" else Basic).expansion
            self.stages.append(nn.Sequential(*blocks))
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)
        initialize(self)


def _block(cfg: TSMConfig, cin: int, width: int, index: int, stride: int) -> nn.Module:
    if cfg.shift is None or index % cfg.every:
        plain = Bottleneck if cfg.block == "bottleneck" else Basic
        return plain(cin, width, PairSpec(mix=None), stride)
    shifted = ShiftedBottleneck if cfg.block == "bottleneck" else ShiftedBasic
    return shifted(cin, width, TimeShift(cfg.part, cfg.shift), stride)


register(
    TSM,
    {
        "tsm_tiny": TSMConfig(
            depths=(1, 2, 2, 1),
            block="basic",
            widths=(16, 64, 128, 176),
            stem_width=16,
            stem_kernel=5,
            stem_pool="none",
        ),
        "tsm18": TSMConfig(depths=(2, 2, 2, 2), block="basic"),
        "tsm34": TSMConfig(depths=(3, 4, 6, 3), block="basic"),
        "tsm50": TSMConfig(depths=(3, 4, 6, 3)),
        "tsm101": TSMConfig(depths=(3, 4, 23, 3), every=2),  # as the authors have it
        "tsn18": TSMConfig(depths=(2, 2, 2, 2), block="basic", shift=None),
        "tsn34": TSMConfig(depths=(3, 4, 6, 3), block="basic", shift=None),
        "tsn50": TSMConfig(depths=(3, 4, 6, 3), shift=None),
        "tsn101": TSMConfig(depths=(3, 4, 23, 3), shift=None),
    },
)
