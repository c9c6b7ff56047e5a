"""What a network is trained against: classes, numbers, masks."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

MaskLoss = Literal["dice_ce", "tversky_focal"]


def mask_loss(
    logits: Float[Tensor, "n k d h w"],
    masks: Int64[Tensor, "n d h w"],
    kind: MaskLoss = "dice_ce",
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Overlap of the labels plus a term per voxel.

    `dice_ce` is the sum of nnU-Net (Isensee et al., Nature Methods 2021): Dice over the whole batch
    and cross-entropy. `tversky_focal` is for lesions that are a thousandth of a scan: missed voxels
    weigh more than false ones (Salehi et al., 2017, beta 0.7), and voxels that are right already
    weigh nearly nothing (Lin et al., 2017, gamma 2).
    """
    logits = logits.float()
    if kind == "dice_ce":
        voxels = F.cross_entropy(logits, masks, label_smoothing=smoothing)
        return overlap_loss(logits, masks) + voxels
    surprise = F.cross_entropy(logits, masks, label_smoothing=smoothing, reduction="none")
    focal = ((1 - torch.exp(-surprise)).square() * surprise).mean()
    return overlap_loss(logits, masks, missed=0.7) + focal


def overlap_loss(
    logits: Float[Tensor, "n k d h w"], masks: Int64[Tensor, "n d h w"], missed: float = 0.5
) -> Float[Tensor, ""]:
    """1 - Tversky index of every label but the background, over the batch as one scan.

    Over the batch, a patch without the label is no case of its own, where one wrong voxel would be
    everything. `missed` 0.5 is Dice.
    """
    probs = logits.softmax(1)[:, 1:]
    truth = F.one_hot(masks, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probs)
    axes = (0, 2, 3, 4)
    hit = (probs * truth).sum(axes)
    lost = ((1 - probs) * truth).sum(axes)
    false = (probs * (1 - truth)).sum(axes)
    index = (hit + 1) / (hit + missed * lost + (1 - missed) * false + 1)
    return 1 - index.mean()
