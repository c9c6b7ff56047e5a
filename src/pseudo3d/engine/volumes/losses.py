"""What a network is trained against: classes, numbers, masks."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pseudo3d.data.share import Share
from pseudo3d.engine.training.distributed import summed

MaskLoss = Literal["dice_ce", "tversky_focal"]


def mask_loss(
    logits: Float[Tensor, "n k d h w"],
    masks: Int64[Tensor, "n d h w"],
    kind: MaskLoss = "dice_ce",
    smoothing: float = 0.0,
    share: Share | None = None,
) -> Float[Tensor, ""]:
    """Overlap of the labels plus a term per voxel.

    `dice_ce` is the sum of nnU-Net (Isensee et al., Nature Methods 2021): Dice over the whole batch
    and cross-entropy. `tversky_focal` is for lesions that are a thousandth of a scan: missed voxels
    weigh more than false ones (Salehi et al., 2017, beta 0.7), and voxels that are right already
    weigh nearly nothing (Lin et al., 2017, gamma 2).

    Args:
        share: the part of a larger batch that these scans are. The overlap is the whole batch's;
            the mean over the processes of what they get is the loss of the batch.
    """
    logits, ranks = logits.float(), 1 if share is None else share.ranks
    missed = 0.5 if kind == "dice_ce" else 0.7
    overlap = overlap_loss(logits, masks, missed, ranks)
    if not len(masks):
        return overlap + logits.sum()
    voxels = _voxel_loss(logits, masks, kind, smoothing)
    return overlap + (voxels if share is None else voxels * share.weight)


def _voxel_loss(logits: Tensor, masks: Tensor, kind: MaskLoss, smoothing: float) -> Tensor:
    if kind == "dice_ce":
        return F.cross_entropy(logits, masks, label_smoothing=smoothing)
    surprise = F.cross_entropy(logits, masks, label_smoothing=smoothing, reduction="none")
    return ((1 - torch.exp(-surprise)).square() * surprise).mean()


def overlap_loss(
    logits: Float[Tensor, "n k d h w"],
    masks: Int64[Tensor, "n d h w"],
    missed: float = 0.5,
    ranks: int = 1,
) -> Float[Tensor, ""]:
    """1 - Tversky index of every label but the background, over the batch as one scan.

    Over the batch, a patch without the label is no case of its own, where one wrong voxel would be
    everything. `missed` 0.5 is Dice. `ranks` processes count together.
    """
    probs = logits.softmax(1)[:, 1:]
    truth = F.one_hot(masks, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probs)
    axes = (0, 2, 3, 4)
    counts = ((probs * truth), ((1 - probs) * truth), (probs * (1 - truth)))
    hit, lost, false = summed(torch.stack([count.sum(axes) for count in counts]), ranks)
    index = (hit + 1) / (hit + missed * lost + (1 - missed) * false + 1)
    return 1 - index.mean()
