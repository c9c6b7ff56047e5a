"""What every network of the library shares: clip in, features and logits out."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch
import torch.fx
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pseudo3d.errors import Pseudo3dError


class Network(nn.Module):
    """Base of all networks; parts `stem`, `stages`, `head` are filled in by the family.

    `card` is what its checkpoint says beside the weights (classes, preprocessing, scores), or None.
    """

    cfg: Any
    stem: nn.Module
    stages: nn.ModuleList
    dropout: nn.Dropout
    head: nn.Linear
    name: str = ""
    card: Any = None
    per_voxel: ClassVar[bool] = False  # an answer for every voxel: logits (N, K, D, H, W)
    never_causal: ClassVar[str] = ""  # why a family has no option `causal`, for those who try it
    checkpointing: bool = False  # keep only what enters a block; compute its inside again later

    def feature_map(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n f t2 h2 w2"]:
        """Activations of the last stage, before the average over time and space.

        Raises:
            Pseudo3dError: `x` is not a clip with the network's channels.
        """
        check_clip(x, self.cfg.in_channels)
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
        for stage in self.stages:
            if self.checkpointing and torch.is_grad_enabled():
                for block in stage.children():
                    x = _computed_twice(block, x)
            else:
                x = stage(x)
        return x

    def features(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n f"]:
        """Representation before the classifier (pool5 of the paper): mean over T, H, W."""
        return self.feature_map(x).mean(dim=(2, 3, 4))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        """Logits, one row per clip."""
        return self.head(self.dropout(self.features(x)))


def _computed_twice(block: nn.Module, x: Tensor) -> Tensor:
    """Gradient checkpointing (Chen et al., 2016): less memory for a second forward pass."""
    if any(isinstance(m, nn.Dropout) for m in block.modules()):
        return block(x)  # a second pass would draw other numbers
    y: Tensor = checkpoint(
        block,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing left draws random numbers
        context_fn=lambda: (nullcontext(), _statistics_at_rest(block)),
    )
    return y


@contextmanager
def _statistics_at_rest(block: nn.Module) -> Iterator[None]:
    """Batch norm as in training, without counting the batch a second time."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm3d)]
    before = [(m.momentum, m.num_batches_tracked) for m in norms]
    for module in norms:
        module.momentum, module.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for module, (momentum, counted) in zip(norms, before, strict=True):
            module.momentum, module.num_batches_tracked = momentum, counted


def check_clip(x: Tensor, channels: int) -> None:
    """Refuse what is no clip of `channels` channels, naming the likely slip.

    Raises:
        Pseudo3dError: wrong number of axes, wrong channels, an empty axis, whole numbers.
    """
    check_floats(x, "clip")
    shape = tuple(x.shape)
    if len(shape) != 5:
        hint = " Add the batch axis: clip[None]." if len(shape) == 4 else ""
        raise Pseudo3dError(
            f"clip has shape {shape}: {len(shape)} axes where a network takes 5, "
            f"(N, C, T, H, W).{hint}"
        )
    if shape[1] != channels:
        hint = ""
        if shape[2] == channels:
            hint = "; this looks like (N, T, C, H, W): use clip.transpose(1, 2)"
        elif shape[4] == channels:
            hint = "; this looks like (N, T, H, W, C): use clip.permute(0, 4, 1, 2, 3)"
        raise Pseudo3dError(
            f"clip has shape {shape}: {shape[1]} channels where the network takes {channels}. "
            f"Axes are (N, C, T, H, W){hint}."
        )
    if min(shape[2:]) < 1:
        raise Pseudo3dError(f"clip has shape {shape}: time, height and width must be at least 1")


def check_floats(x: Tensor, what: str) -> None:
    """Refuse frames as read: the faster forms would compute with them, and answer nonsense.

    Raises:
        Pseudo3dError: whole numbers.
    """
    if not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise Pseudo3dError(
            f"{what} of {kind}; wanted float, as `net.card.preprocessing.normalize` gives"
        )


torch.fx.wrap("check_clip")  # one step of a traced network; it needs a real clip
