"""Light P3D networks, for phones and processors; not from a paper.

What makes a 3-D network slow on a processor is memory traffic and operators that use little of its
arithmetic, not multiply-adds: depthwise kernels run at a fifth of the peak, dense ones with
channels in multiples of 16 near all of it. So every layer here is a dense 1 x 3 x 3 or 3 x 1 x 1
convolution, downsampling is done by their strides (early, no pooling reads the clip again), and a
block is ResNet's basic block with its second convolution turned into time: half the arithmetic of
the other P3D nets' blocks. In inference nothing is left but convolutions with ReLU and sums fused
into them.
"""

from dataclasses import dataclass

from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.models.p3d import check_body, check_head
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import initialize
from pseudo3d.nn.conv import Triple
from pseudo3d.nn.factor import Split, split
from pseudo3d.nn.forms import SpaceThenTime
from pseudo3d.nn.stem import Stem, StemSpec


@dataclass(frozen=True, kw_only=True)
class LightConfig:
    """What tells one light network from another."""

    depths: tuple[int, ...]  # blocks per stage
    widths: tuple[int, ...]  # multiples of 16 run fastest
    stem_width: int = 16
    stem_kernel: Triple = (2, 5, 5)  # as long as its stride: pairs of frames become channels
    stem_stride: Triple = (2, 2, 2)
    strides: tuple[int, ...] = (2, 2, 2)  # of height and width, per stage
    time_strides: tuple[int, ...] = (1, 1, 2)
    causal: bool = False  # no output waits for a later frame: for streams; train it so
    in_channels: int = 3
    num_classes: int = 400
    dropout: float = 0.3
    ranks: tuple[Split, ...] = ()  # convolutions as pairs, from factorize()

    def __post_init__(self) -> None:
        stages = len(self.depths)
        for name in ("widths", "strides", "time_strides"):
            if len(value := getattr(self, name)) != stages:
                raise ValueError(f"{name} is {value!r} for {stages} stages; wanted {stages} values")
        check_body(self.depths, self.widths, self.stem_width, "basic", None)
        check_head(self.num_classes, self.dropout, self.in_channels)


class Light(Network):
    """Clip (N, C, T, H, W) -> features (N, F), logits (N, num_classes)."""

    def __init__(self, cfg: LightConfig) -> None:
        super().__init__()
        self.cfg = cfg
        stem = StemSpec(
            kernel=cfg.stem_kernel, stride=cfg.stem_stride, pool="none", causal=cfg.causal
        )
        self.stem = Stem(cfg.in_channels, cfg.stem_width, stem)
        self.stages = nn.ModuleList()
        cin = cfg.stem_width
        for i, (depth, width) in enumerate(zip(cfg.depths, cfg.widths, strict=True)):
            s = cfg.strides[i]
            blocks: list[nn.Module] = []
            for j in range(depth):
                stride = (cfg.time_strides[i], s, s) if j == 0 else (1, 1, 1)
                blocks.append(SpaceThenTime(cin, width, stride, cfg.causal))
                cin = width
            self.stages.append(nn.Sequential(*blocks))
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)
        split(self, cfg.ranks)
        initialize(self)
        for module in self.modules():
            if isinstance(module, SpaceThenTime):
                module.still()


register(
    Light,
    {
        "p3d_light_s": LightConfig(depths=(1, 2, 1), widths=(32, 64, 128)),
        "p3d_light": LightConfig(depths=(1, 2, 2), widths=(48, 96, 192), stem_width=32),
        "p3d_light_l": LightConfig(depths=(2, 3, 2), widths=(64, 128, 256), stem_width=32),
    },
)
