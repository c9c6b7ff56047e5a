"""One training step on scans, and the score that picks the epoch; the rest is that of clips."""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from pseudo3d.data.dataset import Batch, EpochSampler
from pseudo3d.data.scans.manifest import Task
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.share import Share
from pseudo3d.engine.training.module import ClipTraining
from pseudo3d.engine.volumes.augment import augment_volumes
from pseudo3d.engine.volumes.losses import mask_loss
from pseudo3d.engine.volumes.recipes import VolumeRecipe
from pseudo3d.engine.volumes.sliding import slide
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.scores.auc import auc_one_vs_rest

WATCHED: dict[Task, str] = {"classify": "val_auc", "segment": "val_dice", "regress": "val_r2"}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is learned: the task, and for numbers the scale they are learned on."""

    task: Task = "classify"
    classes: tuple[str, ...] = ()
    mean: float = 0.0  # of the training part's values; regress only
    std: float = 1.0


class VolumeTraining(ClipTraining):
    """Classes, numbers or masks of augmented scans.

    Args:
        sampler: told the epoch and how many of its batches are done.
        steps: optimizer steps of the whole run.
        swap: label of each label's mirror image, (K,).
    """

    recipe: VolumeRecipe
    hits = False

    def __init__(
        self,
        net: Network,
        recipe: VolumeRecipe,
        preprocessing: ScanPreprocessing,
        sampler: EpochSampler,
        *,
        goal: Goal,
        steps: int,
    ) -> None:
        swap = torch.arange(max(1, len(goal.classes)))
        if goal.task == "classify":
            swap = recipe.augment.swap_labels(goal.classes)
        elif recipe.augment.swap:
            raise Pseudo3dError(f"augment.swap exchanges labels; the task is {goal.task}")
        super().__init__(net, recipe, cast(Any, preprocessing), sampler, steps=steps, swap=swap)
        self.goal, self.input = goal, preprocessing
        self.seen: list[tuple[Tensor, Tensor]] = []  # of the watched part: answers and truth

    def training_step(self, batch: Batch, _: int) -> Tensor:
        batch = batch.used()
        draws = self.draws(len(batch.items))
        if not len(batch.items):
            return self.step_done(self._idle_loss(batch, draws.share), draws.share)
        masks = batch.labels if self.goal.task == "segment" else None
        pre = self.input
        spacing = pre.spacing or (1.0, 1.0, 1.0)
        volumes, moved, mirrored = augment_volumes(
            batch.clips.float(), masks, pre.size, self.recipe.augment, draws, spacing
        )
        logits = self.net(pre.normalize(volumes)).float()
        if moved is not None:
            loss = self._mask_loss(logits, moved, draws.share)
        else:
            loss = self._loss(logits, batch.labels, mirrored) * draws.share.weight
        return self.step_done(loss, draws.share)

    def _idle_loss(self, batch: Batch, share: Share) -> Tensor:
        """What a process without a scan adds, which is nothing."""
        logits = self.idle(batch.clips)
        if self.goal.task != "segment":
            return logits.sum()
        none = torch.zeros((0, *logits.shape[2:]), dtype=torch.int64, device=logits.device)
        return self._mask_loss(logits, none, share)

    def _mask_loss(self, logits: Tensor, masks: Tensor, share: Share) -> Tensor:
        return mask_loss(logits, masks, self.recipe.loss, self.recipe.label_smoothing, share)

    def _loss(self, logits: Tensor, labels: Tensor, mirrored: Tensor) -> Tensor:
        smooth = self.recipe.label_smoothing
        if self.goal.task == "regress":
            wanted = (labels - self.goal.mean) / self.goal.std
            return F.smooth_l1_loss(logits[:, 0], wanted)
        swap = self.swap.to(labels.device)
        return F.cross_entropy(
            logits, torch.where(mirrored, swap[labels], labels), label_smoothing=smooth
        )

    def validation_step(self, batch: Batch, _: int) -> None:
        truth = batch.labels.cpu()  # where scores are computed, and masks are blended
        if self.goal.task == "segment":
            found = slide(self.net, batch.clips[0], self.input).argmax(0)
            self.seen.append((found, truth[0]))
            return
        logits = self.net(self.input.normalize(batch.clips)).float().cpu()
        self.seen.append((logits.softmax(1) if logits.shape[1] > 1 else logits, truth))

    def on_validation_epoch_end(self) -> None:
        self.log(WATCHED[self.goal.task], self.score(), prog_bar=True)
        self.seen.clear()

    def score(self) -> float:
        """AUC, mean Dice of the labels, or R2 of what the watched part got; higher is better."""
        if self.goal.task == "segment":
            pairs = [(found, truth) for found, truth in self.seen]
            return float(mean_dice(pairs, len(self.goal.classes)).mean())
        answers, truth = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        if self.goal.task == "classify":
            return auc_one_vs_rest(answers.numpy(), truth.numpy())[0]
        error = (answers[:, 0] * self.goal.std + self.goal.mean - truth).square().sum()
        return float(1 - error / (truth - truth.mean()).square().sum().clamp(min=1e-12))


def mean_dice(pairs: list[tuple[Tensor, Tensor]], classes: int) -> Tensor:
    """Dice of each label but the background over all voxels of all scans, (K - 1,)."""
    found = []
    for k in range(1, classes):
        both = sum(int(((a == k) & (b == k)).sum()) for a, b in pairs)
        total = sum(int((a == k).sum()) + int((b == k).sum()) for a, b in pairs)
        found.append(2 * both / total if total else 1.0)
    return torch.tensor(found)


class KeepBest(Callback):
    """Remembers the weights of the epoch with the best watched score.

    Must stand before the callback that averages weights: while a part is watched, the averaged ones
    are in place.
    """

    def __init__(self) -> None:
        self.score, self.epoch = float("-inf"), -1
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = cast(VolumeTraining, pl_module)
        score = module.score()
        if score >= self.score:  # of equals the later one: it has learned longer
            self.score, self.epoch = score, trainer.current_epoch
            self.weights = {k: v.detach().clone() for k, v in module.net.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.epoch = state_dict["score"], state_dict["epoch"]
        self.weights = state_dict["weights"]

    def restore(self, net: Network) -> None:
        """Put the best weights into the network, if any part was watched."""
        if self.weights:
            net.load_state_dict(self.weights)
