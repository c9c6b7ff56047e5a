"""U-Net of P3D blocks: a label for every voxel (Ronneberger et al., MICCAI 2015, arXiv 1505.04597).

What differs from the 3-D U-Nets in use: every 3 x 3 x 3 convolution is a residual pseudo-3-D block
(Qiu et al., ICCV 2017), 1 x 3 x 3 in the sharp planes and 3 x 1 x 1 across them; and the axes halve
one by one, as the spacing of the voxels says (after nnU-Net, Isensee et al., 2021): slices 6 mm
apart are not pooled before the planes are as coarse. Any size passes; nothing has to be a multiple.
"""

from dataclasses import dataclass, replace
from itertools import cycle

import torch
import torch.fx
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.models.network import Network, check_clip
from pseudo3d.models.p3d import check_body, check_head
from pseudo3d.models.registry import register
from pseudo3d.nn.blocks import Basic, Mix, PairSpec, initialize, norm
from pseudo3d.nn.conv import Conv3d, Triple
from pseudo3d.nn.factor import Split, split
from pseudo3d.nn.stem import MaxPool, Stem, StemSpec

_COARSE = 2.0  # an axis waits while its voxels are this much longer than the shortest


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """What tells one U-Net from another."""

    widths: tuple[int, ...] = (16, 32, 64, 96)  # channels of each level, fine to coarse
    depths: tuple[int, ...] = (1, 1, 1, 1)  # blocks of each level on the way down; up: one
    strides: tuple[Triple, ...] = ((2, 2, 2), (2, 2, 2), (2, 2, 2))  # from each level to the next
    mixes: tuple[Mix, ...] = ("A", "B", "C")  # repeated block after block; full: the 3-D twin
    across: bool = True  # whether any kernel reaches across slices; False: the 2-D twin
    in_channels: int = 1
    num_classes: int = 2  # labels, the background among them
    dropout: float = 0.0
    ranks: tuple[Split, ...] = ()  # convolutions as pairs, from factorize()

    def __post_init__(self) -> None:
        levels = len(self.widths)
        if len(self.depths) != levels or len(self.strides) != levels - 1 or levels < 2:
            raise ValueError(
                f"widths {self.widths}, depths {self.depths}, strides {self.strides}; wanted as "
                "many depths as widths, two or more, and one stride fewer"
            )
        check_body(self.depths, self.widths, self.widths[0], "basic", None)
        for stride in self.strides:
            if len(stride) != 3 or min(stride) < 1 or max(stride) == 1:
                raise ValueError(
                    f"stride {stride!r}; wanted (depth, height, width), 1 or more and not all 1"
                )
        if not self.mixes or None in self.mixes:
            raise ValueError(f"mixes is {self.mixes!r}; wanted A, B, C or full (none: across)")
        if not self.across and any(stride[0] > 1 for stride in self.strides):
            raise ValueError(
                f"strides {self.strides} join slices, and across is False; use 1 along depth"
            )
        check_head(self.num_classes, self.dropout, self.in_channels)


class UNet(Network):
    """Scan (N, C, D, H, W) -> logits (N, num_classes, D, H, W)."""

    per_voxel = True
    never_causal = "the slices of a scan do not arrive one by one, and both sides of one say more"

    def __init__(self, cfg: UNetConfig) -> None:
        super().__init__()
        self.cfg = cfg
        first = StemSpec(kernel=(1, 3, 3), stride=(1, 1, 1), pool="none")
        self.stem = Stem(cfg.in_channels, cfg.widths[0], first)
        mixes = cycle(cfg.mixes if cfg.across else (None,))
        self.stages, cin = nn.ModuleList(), cfg.widths[0]
        for width, depth, stride in zip(
            cfg.widths, cfg.depths, ((1, 1, 1), *cfg.strides), strict=True
        ):
            blocks: list[nn.Module] = [] if max(stride) == 1 else [MaxPool(stride, stride)]
            for _ in range(depth):
                blocks.append(Basic(cin, width, PairSpec(mix=next(mixes))))
                cin = width
            self.stages.append(nn.Sequential(*blocks))
        self.joins = nn.ModuleList()
        for width in cfg.widths[-2::-1]:
            self.joins.append(_Join(cin, width, PairSpec(mix=next(mixes))))
            cin = width
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cin, cfg.num_classes)
        split(self, cfg.ranks)
        initialize(self)

    def feature_map(self, x: Float[Tensor, "n c d h w"]) -> Float[Tensor, "n f d h w"]:
        """Features of every voxel.

        Raises:
            Pseudo3dError: `x` is not a scan with the network's channels.
        """
        check_clip(x, self.cfg.in_channels)
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
        beside: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            beside.append(x)
        for join, fine in zip(self.joins, beside[-2::-1], strict=True):
            x = join(x, fine)
        return x

    def forward(self, x: Float[Tensor, "n c d h w"]) -> Float[Tensor, "n k d h w"]:
        """Logits of every voxel."""
        y = self.dropout(self.feature_map(x))
        return self.head(y.movedim(1, -1)).movedim(-1, 1)


class _Join(nn.Module):
    """Coarse features, scaled up, beside the fine ones of the way down; then one block."""

    def __init__(self, cin: int, width: int, spec: PairSpec) -> None:
        super().__init__()
        self.reduce = Conv3d(cin, width, (1, 1, 1))
        self.reduce_norm = norm(width)
        self.block = Basic(2 * width, width, spec)

    def forward(
        self, x: Float[Tensor, "n c d2 h2 w2"], fine: Float[Tensor, "n e d h w"]
    ) -> Float[Tensor, "n e d h w"]:
        y = self.reduce_norm(self.reduce(x))  # before scaling up: fewer channels, fewer voxels
        y = F.interpolate(y, fine.shape[2:], mode="trilinear", align_corners=False)
        return self.block(torch.cat([y, fine], 1))


def plan_strides(
    spacing: tuple[float, float, float], size: Triple, *, levels: int = 6, least: int = 4
) -> tuple[Triple, ...]:
    """Which axes halve from level to level, so that voxels become cubes and stay so.

    Args:
        spacing: mm, (depth, height, width).
        size: voxels that the network sees at once.
        levels: most levels.
        least: voxels that an axis keeps at least.
    Raises:
        ValueError: the size has nothing to halve.
    Example:
        >>> plan_strides((6.5, 0.4, 0.4), (16, 64, 64))
        ((1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 1, 1))
    """
    lengths, sides = list(spacing), list(size)
    found: list[Triple] = []
    while len(found) < levels - 1:
        can = [n >= 2 * least for n in sides]
        # the finest axis that can still be halved sets the pace
        pace = min((s for s, yes in zip(lengths, can, strict=True) if yes), default=0.0)
        d, h, w = (
            2 if yes and s < _COARSE * pace else 1 for s, yes in zip(lengths, can, strict=True)
        )
        if max(d, h, w) == 1:
            break
        found.append((d, h, w))
        lengths = [s * by for s, by in zip(lengths, (d, h, w), strict=True)]
        sides = [-(-n // by) for n, by in zip(sides, (d, h, w), strict=True)]
    if not found:
        raise ValueError(
            f"size {size} has no axis of {2 * least} voxels or more, so nothing to halve; give a "
            "larger patch"
        )
    return tuple(found)


def plan_unet(
    spacing: tuple[float, float, float], size: Triple, base: int = 16, most: int = 128
) -> dict[str, tuple]:
    """Strides, widths and depths for `create_model("p3d_unet", ...)`, from the data's grid."""
    strides = plan_strides(spacing, size)
    widths = tuple(min(most, base * 2**i) for i in range(len(strides) + 1))
    return {"strides": strides, "widths": widths, "depths": (1,) * len(widths)}


torch.fx.wrap("check_clip")  # as in models/network.py; this counts for one module only

_UNET = UNetConfig()
register(
    UNet,
    {
        "p3d_unet": _UNET,
        "p3d_unet_slices": replace(_UNET, across=False, strides=((1, 2, 2),) * 3),
        "p3d_unet_full": replace(_UNET, mixes=("full",)),
    },
)
