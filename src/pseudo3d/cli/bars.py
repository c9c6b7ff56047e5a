"""Progress of a training run: rate, time left, loss, share of time spent waiting for data."""

import logging
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 20.0  # s, where standard error is no terminal


class TrainingBar(Callback):
    """A bar on a terminal, a line now and then elsewhere; both on standard error."""

    def __init__(self, what: str = "training") -> None:
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips, device lists
        self.what, self.console = what, Console(stderr=True)
        self.bar: Progress | None = None
        self.waited = self.worked = 0.0
        self.mark = self.spoke = time.perf_counter()

    @property
    def waiting(self) -> float:
        """Share of the training time spent waiting for data."""
        return self.waited / max(self.waited + self.worked, 1e-9)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.mark = time.perf_counter()
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn(self.what),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[state]}"),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.bar.add_task(self.what, total=trainer.max_steps, state="")

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        now = time.perf_counter()
        self.waited += now - self.mark
        self.mark = now

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        now = time.perf_counter()
        self.worked += now - self.mark
        self.mark = now
        state = f"{self._scores(trainer)}data wait {self.waiting:.0%}"
        if self.bar is not None:
            task = self.bar.task_ids[0]
            self.bar.update(task, completed=trainer.global_step, state=state)
        elif now - self.spoke > LINE_EVERY:
            self.spoke = now
            self._line(trainer, state)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()
        state = f"{self._scores(trainer)}data wait {self.waiting:.0%}"
        self._line(trainer, f"{state}, {self.waited + self.worked:.0f} s")

    def on_exception(self, trainer: Trainer, *args: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _line(self, trainer: Trainer, state: str) -> None:
        self.console.print(
            f"{self.what}: step {trainer.global_step}/{trainer.max_steps}, {state}",
            highlight=False,
            soft_wrap=True,
        )

    @staticmethod
    def _scores(trainer: Trainer) -> str:
        shown = (("loss", "loss {:.3f}"), ("val_clip_hit@1", "val {:.1%}"))
        found = [
            text.format(float(trainer.callback_metrics[key]))
            for key, text in shown
            if key in trainer.callback_metrics
        ]
        return "".join(f"{text}, " for text in found)
