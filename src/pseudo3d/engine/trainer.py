"""Lightning's Trainer, set up as a recipe says."""

import csv
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pseudo3d.engine.recipes import Recipe
from pseudo3d.recycle.files import write_file

LAST = "last.ckpt"


class _State(ModelCheckpoint):
    """Never saves after the last step: Lightning would resume to do nothing, not even average."""

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step < trainer.max_steps:
            super().on_train_batch_end(trainer, *rest)


class _WholeFile(TorchCheckpointIO):
    """Writes a state beside the old one and then in its place: a full disk leaves the old one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = BytesIO()
        torch.save(checkpoint, content)
        write_file(Path(path), content.getvalue())


def build_trainer(
    recipe: Recipe,
    out: Path,
    steps: int,
    *,
    checkpoint_every: int,
    has_val: bool,
    callbacks: list[Callback],
) -> Trainer:
    """A Trainer for `steps` optimizer steps; its state is in OUT/last.ckpt."""
    callbacks = [
        *callbacks,
        _State(
            dirpath=out,
            filename=Path(LAST).stem,
            every_n_train_steps=checkpoint_every,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        ),
    ]
    if recipe.ema:
        callbacks.append(
            EMAWeightAveraging(
                decay=max(0.0, 1 - 1 / (recipe.ema * steps)),
                update_starting_at_step=max(1, steps // 10),
            )
        )
    if recipe.patience and has_val:
        callbacks.append(EarlyStopping("val_clip_hit@1", mode="max", patience=recipe.patience))
    return Trainer(
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm or None,
        precision="bf16-mixed" if in_bfloat16(recipe) else "32-true",
        logger=_figures(out),
        callbacks=callbacks,
        plugins=[_WholeFile()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=out,
    )


def _figures(out: Path) -> CSVLogger:
    """Figures go to OUT/metrics.csv; where a run goes on, those from before its state stay."""
    logger = CSVLogger(out, name=None, version="")
    file, last = out / "metrics.csv", out / LAST
    if not (file.exists() and last.exists()):
        return logger
    with file.open(newline="") as old:
        rows = csv.DictReader(old)
        kept, names = list(rows), list(rows.fieldnames or ())
    step = torch.load(last, weights_only=True, map_location="cpu")["global_step"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is not empty.*", UserWarning)
        logger.experiment.metrics_keys = names  # the logger deletes the file here
    with file.open("w", newline="") as new:
        writer = csv.DictWriter(new, names)
        writer.writeheader()
        writer.writerows(row for row in kept if int(row["step"]) < step)
    return logger


def in_bfloat16(recipe: Recipe) -> bool:
    """What precision "auto" means here: bfloat16 where the processor computes in it."""
    if recipe.precision != "auto":
        return recipe.precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    look = getattr(torch.cpu, "get_capabilities", dict)  # since torch 2.12
    found: dict[str, object] = look()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
