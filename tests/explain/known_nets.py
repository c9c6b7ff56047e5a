"""Networks whose reasons are known: one cell of one frame decides."""

import torch
from torch import nn

from pseudo3d.models.network import Network
from pseudo3d.weights import Card

MOMENT, ROW, COLUMN = 5, 1, 2  # of 8 frames, and of 4 x 4 cells of 4 pixels


class Spotter(Network):
    """Says "seen" when one cell of one frame is bright; looks at cells of 4 x 4 pixels."""

    def __init__(self, frames=8, side=16, cell=4, **card):
        super().__init__()
        self.look = nn.Conv3d(1, 2, (1, cell, cell), stride=(1, cell, cell), bias=False)
        nn.init.constant_(self.look.weight, 1 / cell**2)
        mask = torch.zeros(frames, side // cell, side // cell)
        mask[MOMENT, ROW, COLUMN] = 8.0
        self.register_buffer("mask", mask)
        self.card = Card(**{"name": "spotter", "config": {}, "classes": ("no", "seen"), **card})

    def forward(self, x):
        seen = (self.look(x) * self.mask).sum((1, 2, 3, 4))
        return torch.stack([4 - seen / 2, seen / 2 - 4], 1)


def bright(frames=8, side=16):
    """A clip that is as bright everywhere as in the cell that decides."""
    return torch.ones(1, frames, side, side)


def inside(heat, cell=4):
    """Share of a map's heat in the cell that decides."""
    part = heat[MOMENT, ROW * cell : (ROW + 1) * cell, COLUMN * cell : (COLUMN + 1) * cell]
    return float(part.sum() / heat.sum())
