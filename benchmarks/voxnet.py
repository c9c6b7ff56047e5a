"""VoxNet (Maturana and Scherer, IROS 2015), written as its paper has it: a yardstick for voxels.

Two 5 x 5 x 5 and 3 x 3 x 3 convolutions without batch norm, one pooling, two fully connected
layers; the first of these is a convolution that sees the whole of a 32 x 32 x 32 grid.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from pseudo3d.models import Network
from pseudo3d.models.registry import register

_SLOPE = 0.1  # of the leaky ReLU
_SIDE = 32  # voxels that the fully connected layers are made for


@dataclass(frozen=True, kw_only=True)
class VoxNetConfig:
    """Its outputs; the grid is 32 voxels a side."""

    in_channels: int = 1
    num_classes: int = 10
    dropout: float = 0.4  # after the fully connected layer


class _Filled(nn.Module):
    """Fills smaller grids up by repeating their border: checks of saved networks come with such."""

    def forward(self, x: Tensor) -> Tensor:
        missing = [pad for side in x.shape[:1:-1] for pad in (0, max(0, _SIDE - side))]
        return F.pad(x, missing, mode="replicate")


class VoxNet(Network):
    """Grids (N, C, 32, 32, 32) -> features (N, 128), logits (N, num_classes)."""

    name = "voxnet"

    def __init__(self, cfg: VoxNetConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.stem = nn.Sequential(
            _Filled(),
            nn.Conv3d(cfg.in_channels, 32, 5, stride=2),
            nn.LeakyReLU(_SLOPE),
            nn.Dropout(0.2),
        )
        convolutions = nn.Sequential(
            nn.Conv3d(32, 32, 3), nn.LeakyReLU(_SLOPE), nn.MaxPool3d(2), nn.Dropout(0.3)
        )
        connected = nn.Sequential(nn.Conv3d(32, 128, 6), nn.ReLU())
        self.stages = nn.ModuleList([convolutions, connected])
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(128, cfg.num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one


register(VoxNet, {VoxNet.name: VoxNetConfig()})
