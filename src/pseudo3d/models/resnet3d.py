"""3-D ResNets: R3D, MC3, R(2+1)D (Tran et al., CVPR 2018, arXiv 1711.11248) and inflated I3D.

What tells them apart is the form of each block's convolution and where time is strided. Sizes and
weights of r3d18, mc3_18 and r2plus1d18 are torchvision's; r2plus1d34 is the authors' (its second
convolutions have middle widths of their own, batch norm's epsilon is Caffe2's). i3d50 is the
inflated ResNet-50 with 3 x 1 x 1 kernels (Wang et al., CVPR 2018, arXiv 1711.07971, as PySlowFast
has it). r3d50 is R3D with bottlenecks. With other options the class is also the 3-D ResNet of Hara
et al. (CVPR 2018, arXiv 1711.09577) and MedicalNet. The small ones have the widths of p3d_tiny.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.models.p3d import check_body, check_causal, check_head
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import initialize
from pseudo3d.nn.conv import Triple
from pseudo3d.nn.factor import Split, split
from pseudo3d.nn.forms import Form, FormSpec, Middle, Residual, ResidualBottleneck, Shortcut
from pseudo3d.nn.stem import SpacePool, Stem, StemSpec, time_pool

Pattern = tuple[Form, ...]  # of a stage's blocks, repeated


@dataclass(frozen=True, kw_only=True)
class ResNet3dConfig:
    """What tells one 3-D ResNet from another; defaults are those of R3D."""

    depths: tuple[int, ...]  # blocks per stage
    block: Literal["basic", "bottleneck"] = "basic"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    forms: tuple[Pattern, ...] = (("full",), ("full",), ("full",), ("full",))  # per stage
    strides: tuple[int, ...] = (1, 2, 2, 2)  # of height and width, per stage
    time_strides: tuple[int, ...] = (1, 2, 2, 2)
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    time_pools: tuple[int, ...] = (1, 1, 1, 1)  # after the stem and after each stage but the last
    stem_width: int = 64
    stem_kernel: Triple = (3, 7, 7)
    stem_stride: Triple = (1, 2, 2)
    stem_pool: SpacePool = "none"
    stem_middle: int | None = None  # channels between space and time; None: one kernel
    middle: Middle = "shared"  # of (2+1)-D blocks: torchvision's; "own": the authors'
    shortcut: Shortcut = "B"
    shortcut_bias: bool = False
    norm_eps: float = 1e-5
    causal: bool = False  # no output waits for a later frame: for streams; train it so
    in_channels: int = 3
    num_classes: int = 400  # Kinetics
    dropout: float = 0.0
    ranks: tuple[Split, ...] = ()  # convolutions as pairs, from factorize()

    def __post_init__(self) -> None:
        stages = len(self.depths)
        for name in ("widths", "forms", "strides", "time_strides", "dilations", "time_pools"):
            if len(value := getattr(self, name)) != stages:
                raise ValueError(f"{name} is {value!r} for {stages} stages; wanted {stages} values")
        check_body(self.depths, self.widths, self.stem_width, self.block, None)
        if () in self.forms:
            raise ValueError(f"forms is {self.forms!r}; wanted at least one form for each stage")
        if min(self.time_pools) < 1:
            raise ValueError(f"time_pools is {self.time_pools}; wanted factors of 1 or more")
        factored = any("2+1" in pattern for pattern in self.forms)
        if self.middle == "own" and not factored:
            raise ValueError(
                "middle='own' is about (2+1)-D blocks and forms has none; leave it out"
            )
        if self.shortcut == "A" and self.shortcut_bias:
            raise ValueError(
                "shortcut 'A' has no convolution to give a bias; leave one of them out"
            )
        if not self.norm_eps > 0:
            raise ValueError(f"norm_eps is {self.norm_eps!r}; wanted a small positive number")
        check_head(self.num_classes, self.dropout, self.in_channels)
        forms = {form for pattern in self.forms for form in pattern}
        check_causal(self.causal, forms != {"space"} or self.stem().looks_along_time)

    def stem(self) -> StemSpec:
        """The first layers."""
        return StemSpec(
            kernel=self.stem_kernel,
            stride=self.stem_stride,
            pool=self.stem_pool,
            time_pool=self.time_pools[0],
            middle=self.stem_middle,
            causal=self.causal,
        )


class ResNet3d(Network):
    """Clip (N, C, T, H, W) -> features (N, F), logits (N, num_classes)."""

    def __init__(self, cfg: ResNet3dConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.stem = Stem(cfg.in_channels, cfg.stem_width, cfg.stem())
        self.stages = nn.ModuleList()
        cin, after = cfg.stem_width, (*cfg.time_pools[1:], 1)
        block = Residual if cfg.block == "basic" else ResidualBottleneck
        for i, (depth, width) in enumerate(zip(cfg.depths, cfg.widths, strict=True)):
            blocks: list[nn.Module] = []
            for j in range(depth):
                blocks.append(block(cin, width, _spec(cfg, i, j)))
                cin = width * block.expansion
            self.stages.append(nn.Sequential(*blocks, time_pool(after[i])))
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = cfg.norm_eps
        split(self, cfg.ranks)
        initialize(self)


def _spec(cfg: ResNet3dConfig, stage: int, index: int) -> FormSpec:
    pattern, s = cfg.forms[stage], cfg.strides[stage]
    return FormSpec(
        form=pattern[index % len(pattern)],
        stride=(cfg.time_strides[stage], s, s) if index == 0 else (1, 1, 1),
        dilation=cfg.dilations[stage],
        middle=cfg.middle,
        shortcut=cfg.shortcut,
        shortcut_bias=cfg.shortcut_bias,
        causal=cfg.causal,
    )


_STILL = (1, 1, 1, 1)
_MC3: tuple[Pattern, ...] = (("full",), ("space",), ("space",), ("space",))
_FACTORED: tuple[Pattern, ...] = (("2+1",),) * 4
_I3D: tuple[Pattern, ...] = (
    ("inflated",),
    ("inflated", "space"),
    ("inflated", "space"),
    ("space", "inflated"),
)


def _tiny(**options: object) -> ResNet3dConfig:
    """Depths, widths, stem and length over time of p3d_tiny, where the family leaves the choice."""
    shared = {
        "depths": (1, 2, 2, 1),
        "widths": (16, 64, 128, 176),
        "time_strides": (1, 2, 2, 1),
        "stem_width": 16,
        "stem_kernel": (3, 5, 5),
        "dropout": 0.5,
    }
    return ResNet3dConfig(**{**shared, **options})  # type: ignore[arg-type]  # fields by name


register(
    ResNet3d,
    {
        "r3d_tiny": _tiny(),
        "mc3_tiny": _tiny(forms=_MC3, time_strides=_STILL),
        "r2plus1d_tiny": _tiny(forms=_FACTORED, stem_middle=11),
        "i3d_tiny": _tiny(
            block="bottleneck",
            widths=(16, 48, 80, 128),  # four times as many leave a block
            forms=_I3D,
            time_strides=_STILL,
            time_pools=(1, 2, 2, 1),
            stem_kernel=(5, 5, 5),
        ),
        "r3d18": ResNet3dConfig(depths=(2, 2, 2, 2)),
        "r3d34": ResNet3dConfig(depths=(3, 4, 6, 3)),
        "r3d50": ResNet3dConfig(depths=(3, 4, 6, 3), block="bottleneck"),
        "mc3_18": ResNet3dConfig(depths=(2, 2, 2, 2), forms=_MC3, time_strides=_STILL),
        "r2plus1d18": ResNet3dConfig(depths=(2, 2, 2, 2), forms=_FACTORED, stem_middle=45),
        "r2plus1d34": ResNet3dConfig(
            depths=(3, 4, 6, 3), forms=_FACTORED, stem_middle=45, middle="own", norm_eps=1e-3
        ),
        "i3d50": ResNet3dConfig(
            depths=(3, 4, 6, 3),
            block="bottleneck",
            forms=_I3D,
            time_strides=_STILL,
            time_pools=(1, 2, 1, 1),
            stem_kernel=(5, 7, 7),
            stem_pool="pad",
            dropout=0.5,
        ),
    },
)
