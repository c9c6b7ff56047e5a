"""One training step, for Lightning to repeat."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from pseudo3d.data.dataset import Batch, EpochSampler, generator
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import augment, center_crop
from pseudo3d.engine.recipes import Recipe
from pseudo3d.engine.teacher import Teacher
from pseudo3d.models.network import Network


class ClipTraining(LightningModule):
    """Cross-entropy on augmented clips; every random draw follows from the seed and the batch.

    So a run that is killed and resumed takes the very steps of one that is not.

    Args:
        swap: label of each label's mirror image, (K,).
        sampler: told the epoch and how many of its batches are done.
        steps: optimizer steps of the whole run.
        teacher: a network whose answers are learned beside the labels.
    """

    def __init__(
        self,
        net: Network,
        recipe: Recipe,
        preprocessing: Preprocessing,
        sampler: EpochSampler,
        *,
        steps: int,
        swap: Tensor,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.net, self.recipe, self.pre = net, recipe, preprocessing
        self.sampler, self.steps, self.swap = sampler, steps, swap
        self.teacher = teacher
        self.batches = 0  # done since the start of the run
        self.scores: list[tuple[Tensor, Tensor]] = []

    def train(self, mode: bool = True) -> "ClipTraining":
        super().train(mode)
        if self.recipe.freeze_norm:
            norms = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm3d)]
            for module in norms[1:]:
                module.eval().requires_grad_(False)
        return self

    def on_fit_start(self) -> None:
        self.train()  # Lightning keeps the modes it finds

    def training_step(self, batch: Batch, _: int) -> Tensor:
        rng = generator(self.sampler.seed, self.batches, -2)
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))  # dropout
        clips, mirrored = augment(batch.clips.float(), self.pre.size, self.recipe.augment, rng)
        swap = self.swap.to(batch.labels.device)
        labels = torch.where(mirrored, swap[batch.labels], batch.labels)
        logits = self.net(self.pre.normalize(clips))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        if self.teacher is not None:
            told = self.teacher.loss(logits, self.teacher(clips))
            loss = torch.lerp(loss, told, self.recipe.distill)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} at batch {self.batches}; lower the learning rate "
                f"(now {self.recipe.lr}) or train with precision fp32"
            )
        hits = (logits.argmax(1) == labels).float().mean()
        self.log("loss", loss.detach(), prog_bar=True, on_step=False, on_epoch=True)
        self.log("train_clip_hit@1", hits, on_step=False, on_epoch=True)
        self.batches += 1
        return loss

    def on_train_epoch_start(self) -> None:
        self.sampler.epoch, self.sampler.skip = divmod(self.batches, len(self.sampler))

    def validation_step(self, batch: Batch, _: int) -> None:
        clips = self.pre.normalize(center_crop(batch.clips, self.pre.size))
        self.scores.append((self.net(clips).float().argmax(1) == batch.labels, batch.items))

    def on_validation_epoch_end(self) -> None:
        hits = torch.cat([hit for hit, _ in self.scores]).float().mean()
        self.scores.clear()
        self.log("val_clip_hit@1", hits, prog_bar=True)

    def configure_optimizers(self) -> Any:
        r = self.recipe
        head = set(self.net.head.parameters())
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for p in self.net.parameters():
            groups.setdefault((p in head, p.ndim > 1), []).append(p)
        params = [
            {
                "params": ps,
                "lr": r.lr * (r.head_lr if is_head else 1.0),
                "weight_decay": r.weight_decay if decays else 0.0,
            }
            for (is_head, decays), ps in groups.items()
        ]
        optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(params, lr=r.lr)
            if r.optimizer == "adamw"
            else torch.optim.SGD(params, lr=r.lr, momentum=0.9, nesterov=r.schedule == "cosine")
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        """Factor of the learning rate at an optimizer step."""
        r = self.recipe
        warm = max(1, round(r.warmup * self.steps)) if r.warmup else 0
        if step < warm:
            return (step + 1) / warm
        if r.schedule == "step":
            return 0.1 ** (step // r.step_every)
        done = (step - warm) / max(1, self.steps - warm)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pseudo3d_batches"] = self.batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches = checkpoint["pseudo3d_batches"]
        self.sampler.epoch, self.sampler.skip = divmod(self.batches, len(self.sampler))
