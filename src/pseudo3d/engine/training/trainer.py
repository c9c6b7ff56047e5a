"""Lightning's Trainer, set up as a recipe says."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from torch.utils.data import DataLoader

from pseudo3d.engine.training.distributed import EndAtOnce, World, strategy_of
from pseudo3d.engine.training.figures import figures
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.training.module import ClipTraining
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.record import EpochRecord
from pseudo3d.engine.training.state import LAST as LAST
from pseudo3d.engine.training.state import State, WholeFile
from pseudo3d.nn.syncnorm import synchronized


class Averaging(EMAWeightAveraging):
    """Averages weights; before the first ones are averaged, the network's own are the result.

    Lightning's would put those of before the training in their place, at its end as well.
    """

    @property
    def state_key(self) -> str:
        return EMAWeightAveraging.__qualname__  # as in states of earlier versions

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._latest_update_step:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._latest_update_step:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._latest_update_step:
            super().on_train_end(trainer, pl_module)


def build_trainer(
    job: Job,
    module: ClipTraining,
    world: World,
    *,
    has_val: bool,
    callbacks: Sequence[Callback],
) -> Trainer:
    """A Trainer for the job's optimizer steps; its state is in OUT/last.ckpt."""
    recipe, out, steps = job.recipe, job.out, module.steps
    callbacks = [*callbacks, EpochRecord(out, world.rank), State(out, job.checkpoint_every)]
    if world.ranks > 1:
        callbacks.append(EndAtOnce())
    if recipe.ema:
        decay = max(0.0, 1 - 1 / (recipe.ema * steps))
        after = max(1, steps // 10)
        callbacks.append(Averaging(decay=decay, update_starting_at_step=after))
    if recipe.patience and has_val:
        callbacks.append(EarlyStopping("val_clip_hit@1", mode="max", patience=recipe.patience))
    return Trainer(
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm or None,
        precision="bf16-mixed" if in_bfloat16(recipe) else "32-true",
        accelerator="auto",
        devices=world.local_ranks,
        num_nodes=world.ranks // world.local_ranks,
        strategy=strategy_of(job.spread, world),
        use_distributed_sampler=False,  # ours gives every process its share
        logger=figures(out) if world.first else False,
        callbacks=callbacks,
        plugins=[WholeFile(), *([world.environment] if world.environment else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=out,
    )


def fit(
    trainer: Trainer,
    module: ClipTraining,
    clips: DataLoader,
    watched: DataLoader | None,
    job: Job,
) -> None:
    """Let Lightning train; an interruption by the user stays one."""
    alone = trainer.world_size == 1
    layers = nullcontext() if alone else synchronized(module.net, norms=job.spread.sync_norm)
    module.sharded = job.spread.strategy == "fsdp"
    with layers, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grad strides do not match")  # of 1x1x1 kernels
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning 2.6's own
        try:
            trainer.fit(
                module,
                clips,
                watched,
                ckpt_path=str(job.out / LAST) if job.resume else None,
                weights_only=True if job.resume else None,
            )
        except SystemExit:
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise


def in_bfloat16(recipe: Recipe) -> bool:
    """What precision "auto" means here: bfloat16 where the processor computes in it."""
    if recipe.precision != "auto":
        return recipe.precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    look = getattr(torch.cpu, "get_capabilities", dict)  # since torch 2.12
    found: dict[str, object] = look()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
