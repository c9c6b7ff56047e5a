"""Knowledge distillation: a trained network tells another what it sees in each clip.

Hinton, Vinyals, Dean, 2015 (arXiv 1503.02531): beside the labels, the small network learns the
large one's probabilities, softened by a temperature, which say what a clip is like, too.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.judge import known
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.weights import load


class Teacher:
    """A network that is not trained, fed with the clips of the one that is.

    Its frames are spread over the clip and its size is interpolated, so that it may look at fewer
    or more of them than its pupil.

    Args:
        weights: checkpoint with the pupil's classes, in any order.
        classes: of the pupil, in its order.
        temperature: divides the logits of both; above 1 the lesser probabilities count more.
    Raises:
        WeightsError: it does not know its classes or its preprocessing.
        Pseudo3dError: it has other classes, or sees what its pupil's clips do not show.
    """

    def __init__(
        self,
        weights: str | Path,
        classes: tuple[str, ...],
        pupil: Preprocessing,
        temperature: float,
    ) -> None:
        self.net: Network = load(weights).requires_grad_(False)
        self.pre, theirs = known(self.net)
        if differ := sorted({*theirs} ^ {*classes}):
            raise Pseudo3dError(
                f"{weights}: the teacher knows {len(theirs)} classes, its pupil is to learn "
                f"{len(classes)}; only in one of them: {', '.join(differ[:5])}"
            )
        if (self.pre.color == "flow") != (pupil.color == "flow"):
            raise Pseudo3dError(
                f"{weights}: the teacher sees {self.pre.color}, its pupil {pupil.color}; take a "
                "teacher of the same kind of input"
            )
        self.order = torch.tensor([theirs.index(name) for name in classes])
        self.temperature = temperature

    @torch.no_grad()
    def __call__(self, clips: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        """Softened probabilities of augmented clips, bytes as float, in the pupil's order."""
        device = clips.device
        self.net.to(device).eval()
        count = clips.shape[2]
        if self.pre.frames != count:
            at = torch.linspace(0, count - 1, self.pre.frames, device=device).round().long()
            clips = clips[:, :, at]
        if tuple(clips.shape[3:]) != self.pre.size:
            n, c, t = clips.shape[:3]
            frames = clips.flatten(1, 2)
            frames = F.interpolate(frames, self.pre.size, mode="bilinear", align_corners=False)
            clips = frames.view(n, c, t, *self.pre.size)
        logits = self.net(self.pre.normalize(clips)).float()[:, self.order.to(device)]
        return (logits / self.temperature).softmax(1)

    def loss(self, logits: Float[Tensor, "n k"], probs: Float[Tensor, "n k"]) -> Any:
        """Divergence from the teacher; times T squared, so that its gradients keep their size."""
        own = (logits.float() / self.temperature).log_softmax(1)
        return F.kl_div(own, probs, reduction="batchmean") * self.temperature**2
