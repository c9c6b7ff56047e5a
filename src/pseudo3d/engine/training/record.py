"""Which samples an optimizer step really used: OUT/epochs/RANK.csv, a line per batch and process.

A line is `epoch,batch,items`: the items' numbers among the training rows of OUT/manifest.csv. The
lines reach the disk before a state that counts on them does, and those after the state that a run
goes on from are cut away, so that every line belongs to a step that is in the weights.
"""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from jaxtyping import Int64
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.dataset import EpochSampler
from pseudo3d.errors import Pseudo3dError
from pseudo3d.recycle.files import write_file

FOLDER, ABOUT = "epochs", "about.json"
HEADER = "epoch,batch,items\n"


def begin(out: Path, sampler: EpochSampler, items: int, done: int) -> None:
    """Make the record ready for a run that has `done` batches behind it; for one process to call.

    Args:
        items: training rows of the manifest.
    """
    folder = out / FOLDER
    for path in folder.glob("*.csv"):
        kept = [line for e, b, line in _lines(path) if e * len(sampler) + b < done]
        if kept:
            write_file(path, "".join([HEADER, *kept]).encode())
        else:
            path.unlink()
    about = {"items": items, "samples": sampler.items, "batches": len(sampler)}
    write_file(folder / ABOUT, json.dumps(about).encode())


def _lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """Epoch, batch and text of every whole line; a killed process may leave half a last one."""
    with path.open(newline="") as file:
        for line in file:
            if line.endswith("\n") and line != HEADER:
                epoch, batch, _ = line.split(",", 2)
                yield int(epoch), int(batch), line


class EpochRecord(Callback):
    """Writes one process's lines of the record."""

    def __init__(self, out: Path, rank: int) -> None:
        self.path = out / FOLDER / f"{rank}.csv"
        self.file: TextIO | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("a")
        if self.file.tell() == 0:
            self._write(HEADER)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: Any
    ) -> None:
        module = cast(Any, pl_module)
        epoch, number = divmod(module.batches - 1, len(module.sampler))
        items = [str(item) for item in batch.items.tolist() if item >= 0]
        if items:
            self._write(f"{epoch},{number},{' '.join(items)}\n")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.file is not None:
            os.fsync(self.file.fileno())
        trainer.strategy.barrier()  # the state is written when every process has come so far

    def on_train_end(self, *args: Any) -> None:
        self._close()

    def on_exception(self, *args: Any) -> None:
        self._close()

    def _write(self, text: str) -> None:
        if self.file is None:
            return
        try:
            self.file.write(text)
            self.file.flush()
        except OSError as err:
            raise Pseudo3dError(
                f"{self.path} cannot be written: {err.strerror or err}; free some space, then "
                "repeat the command: the run goes on from its last state"
            ) from err

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a record proves.

    `lost` and `doubled` name (epoch, item) that were used less or more often than once (patches of
    scans: than the recipe says); of the last epoch, where it is not finished, only `doubled`.
    """

    items: int
    epochs: int  # finished ones
    batches: int
    samples: int
    processes: int
    lost: tuple[tuple[int, str], ...] = ()
    doubled: tuple[tuple[int, str], ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()  # (epoch, batch) nobody has recorded

    @property
    def whole(self) -> bool:
        """Each sample once per epoch, and no batch missing."""
        return not (self.lost or self.doubled or self.gaps)


def check(out: str | Path) -> Counts:
    """Count the samples of a run's record.

    Raises:
        Pseudo3dError: the folder holds no record.
    """
    out = Path(out)
    items, times, per_epoch = _about(out)
    paths = sorted((out / FOLDER).glob("*.csv"))
    seen: dict[int, Int64[np.ndarray, " items"]] = {}
    batches: set[int] = set()
    for path in paths:
        for epoch, batch, line in _lines(path):
            used = np.array(line.split(",")[2].split(), dtype=np.int64)
            count = seen.setdefault(epoch, np.zeros(items, dtype=np.int64))
            np.add.at(count, used, 1)
            batches.add(epoch * per_epoch + batch)
    last = max(batches, default=-1)
    finished, names = (last + 1) // per_epoch, _names(out)
    lost = [(e, i) for e in seen if e < finished for i in np.flatnonzero(seen[e] < times).tolist()]
    doubled = [(e, i) for e in seen for i in np.flatnonzero(seen[e] > times).tolist()]
    return Counts(
        items=items,
        epochs=finished,
        batches=len(batches),
        samples=sum(int(count.sum()) for count in seen.values()),
        processes=len(paths),
        lost=tuple((e, names.get(i, str(i))) for e, i in sorted(lost)),
        doubled=tuple((e, names.get(i, str(i))) for e, i in sorted(doubled)),
        gaps=tuple(divmod(n, per_epoch) for n in range(last + 1) if n not in batches),
    )


def _about(out: Path) -> tuple[int, int, int]:
    """Items, how often each is used in an epoch, and batches of an epoch."""
    try:
        about = json.loads((out / FOLDER / ABOUT).read_text())
        return about["items"], about["samples"] // about["items"], about["batches"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as err:
        raise Pseudo3dError(
            f"{out} holds no record of epochs ({err}); wanted the folder of a run of `p3d train`"
        ) from err


def _names(out: Path) -> dict[int, str]:
    """Training rows of the run's manifest by number."""
    try:
        with (out / "manifest.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split") == "train"]
    except OSError:
        return {}
    return {i: row.get("path", "") for i, row in enumerate(rows)}
