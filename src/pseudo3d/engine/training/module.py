"""One training step, for Lightning to repeat."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from pseudo3d.data.dataset import Batch, EpochSampler, generator
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.share import Draws, Share
from pseudo3d.data.transforms import augment, center_crop
from pseudo3d.engine.training.distributed import shard
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.teacher import Teacher
from pseudo3d.models.network import Network
from pseudo3d.nn.syncnorm import place


class ClipTraining(LightningModule):
    """Cross-entropy on augmented clips; every random draw follows from the seed and the batch.

    So a run that is killed and resumed takes the very steps of one that is not, and several
    processes that share a batch take the steps of one.

    Args:
        swap: label of each label's mirror image, (K,).
        sampler: told the epoch and how many of its batches are done.
        steps: optimizer steps of the whole run.
        teacher: a network whose answers are learned beside the labels.
    """

    hits = True  # whether the share of right answers is logged

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
        self.sharded = False  # the weights lie in parts in several processes (FSDP)
        self.batches = 0  # done since the start of the run
        self.sums = torch.zeros(3, dtype=torch.float64)  # loss, hits, clips of the epoch so far
        self.scores: list[tuple[Tensor, Tensor]] = []

    def train(self, mode: bool = True) -> "ClipTraining":
        super().train(mode)
        if self.recipe.freeze_norm:
            norms = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm3d)]
            for module in norms[1:]:
                module.eval().requires_grad_(False)
        return self

    def configure_model(self) -> None:
        if self.sharded and self.device_mesh is not None:
            shard(self.net, self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        self.train()  # Lightning keeps the modes it finds

    def draws(self, rows: int) -> Draws:
        """The random numbers of the next batch, of which `rows` are here."""
        share = Share(0, rows, rows)
        if self.sampler.ranks > 1:
            share = self.sampler.share(self.batches % len(self.sampler))
        rng = generator(self.sampler.seed, self.batches, -2)
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))  # dropout
        place(self.net, share.start, share.of)
        return Draws(rng, share)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        batch = batch.used()
        draws = self.draws(len(batch.items))
        if not len(batch.items):
            return self.step_done(self.idle(batch.clips).sum(), draws.share)
        clips, mirrored = augment(
            batch.clips.float(),
            self.pre.size,
            self.recipe.augment,
            draws,
            flow=self.pre.color == "flow",
        )
        swap = self.swap.to(batch.labels.device)
        labels = torch.where(mirrored, swap[batch.labels], batch.labels)
        logits = self.net(self.pre.normalize(clips))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        if self.teacher is not None:
            told = self.teacher.loss(logits, self.teacher(clips))
            loss = torch.lerp(loss, told, self.recipe.distill)
        hits = (logits.argmax(1) == labels).float().mean()
        return self.step_done(loss * draws.share.weight, draws.share, hits * draws.share.weight)

    def idle(self, clips: Tensor) -> Tensor:
        """Logits of no clip at all: the other processes wait for this one in every layer."""
        for axis, want in enumerate(reversed(self.pre.size), start=1):
            clips = clips.narrow(-axis, 0, min(want, clips.shape[-axis]))
        return self.net(self.pre.normalize(clips)).float()

    def step_done(self, loss: Tensor, share: Share, hits: Tensor | None = None) -> Tensor:
        """Check, log and count one batch; loss and hits are this process's part of its own.

        Returns:
            The loss to follow, weighed so that a step's gradient is the mean over its clips.
        """
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss.item()} at batch {self.batches}; lower the learning rate "
                f"(now {self.recipe.lr}) or train with precision fp32"
            )
        told = loss.detach()
        row = torch.stack([told, told * 0 if hits is None else hits, torch.ones_like(told)])
        self.sums = self.sums.to(row.device) + share.of * row.double()
        weight = self.weight()
        self.batches += 1
        return loss * weight

    def weight(self) -> float:
        """Of the next batch in its step, times `accumulate`, by which Lightning divides any step.

        An epoch's last step may hold fewer batches, the last of them fewer clips.
        """
        number, together = self.batches % len(self.sampler), self.recipe.accumulate
        first = number - number % together
        last = min(first + together, len(self.sampler))
        rows = [self.sampler.share(n).of for n in range(first, last)]
        return together * rows[number - first] / sum(rows)

    def on_train_epoch_end(self) -> None:
        loss, hits, of = self.sums
        sync = self.trainer.world_size > 1  # the mean over the processes is that of the batch
        self.log("loss", (loss / of).float(), prog_bar=True, sync_dist=sync)
        if self.hits:
            self.log("train_clip_hit@1", (hits / of).float(), sync_dist=sync)

    def on_train_epoch_start(self) -> None:
        self.sampler.epoch, self.sampler.skip = divmod(self.batches, len(self.sampler))
        if self.sampler.skip == 0:
            self.sums = torch.zeros(3, dtype=torch.float64)

    def validation_step(self, batch: Batch, _: int) -> None:
        batch = batch.used()
        clips = self.pre.normalize(center_crop(batch.clips, self.pre.size))
        self.scores.append((self.net(clips).float().argmax(1) == batch.labels, batch.items))

    def on_validation_epoch_end(self) -> None:
        hits = torch.cat([hit for hit, _ in self.scores]).float()
        self.scores.clear()
        found = torch.stack([hits.sum(), hits.new_tensor(len(hits))])
        right, count = self.trainer.strategy.reduce(found, reduce_op="sum")
        self.log("val_clip_hit@1", right / count, prog_bar=True)

    def configure_optimizers(self) -> Any:
        r = self.recipe
        head = set(self.net.head.parameters())
        head_lr = {True: r.head_lr, False: r.head_lr * r.head_bias_lr}  # of its kernel, of its bias
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for p in self.net.parameters():
            groups.setdefault((p in head, p.ndim > 1), []).append(p)
        params = [
            {
                "params": ps,
                "lr": r.lr * (head_lr[is_kernel] if is_head else 1.0),
                "weight_decay": r.weight_decay if is_kernel else 0.0,
            }
            for (is_head, is_kernel), ps in groups.items()
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
        checkpoint["pseudo3d_sums"] = self.sums.cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches = checkpoint["pseudo3d_batches"]
        self.sums = checkpoint.get("pseudo3d_sums", self.sums)  # not in states of earlier versions
        self.on_train_epoch_start()  # Lightning leaves it out where a run goes on
