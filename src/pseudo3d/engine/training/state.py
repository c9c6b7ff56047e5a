"""The state an unfinished run goes on from: written whole, with a digest, the one before kept."""

import hashlib
import logging
import os
import shutil
import signal
import threading
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.files import write_file

LAST = "last.ckpt"
BEFORE = "before.ckpt"  # the state that `last.ckpt` took the place of
_MARK = b"pseudo3d sha256 "  # begins the comment that ends the archive
_BLOCK = 2**20
_log = logging.getLogger(__name__)


class State(Checkpoint):
    """Saves every few steps, and when a run is asked to stop (Ctrl-C, SIGTERM), which then ends.

    The first Ctrl-C lets the step it falls into end, so that the state is one that the undisturbed
    run has, too; the second one stops at once. Processes of a group are stopped by whoever started
    them. A state of an epoch's last step is written when the epoch's scores and figures are, too:
    a run that goes on from it begins with the next epoch.

    Never saves after the last step: Lightning would resume to do nothing, not even average.
    """

    def __init__(self, out: Path, every: int) -> None:
        self._out, self._every, self._asked, self._steps = out, every, False, 0
        self._due = False  # by the number of steps
        self._ended: dict[str, Any] | None = None  # the loops where an epoch's last step was done
        self._handler: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._steps = trainer.global_step
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        stepped, self._steps = trainer.global_step != self._steps, trainer.global_step
        if not stepped or trainer.global_step >= trainer.max_steps:
            return
        self._due = trainer.global_step % self._every == 0
        if pl_module.batches % len(pl_module.sampler) == 0:
            self._ended = _loops(trainer)
        else:
            self._save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self._ended is not None:
            self._save(trainer)
            self._ended = None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        if self._ended is not None and isinstance(exception, SIGTERMException):
            self._write(trainer)  # Lightning ends before the next epoch starts

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        if self._ended is not None:
            checkpoint["loops"]["fit_loop"] = self._ended

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _save(self, trainer: Trainer) -> None:
        """Save if it is time to, or if the run is to stop, which is then done."""
        stop = trainer.world_size == 1 and (self._asked or trainer.received_sigterm)
        if self._due or stop:
            self._write(trainer)
        if stop:
            raise KeyboardInterrupt

    def _write(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self._out / LAST, weights_only=False)

    def _ask(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        _log.warning("stopping after this step; Ctrl-C again stops at once")


def _loops(trainer: Trainer) -> dict[str, Any]:
    """How far Lightning's loops are, the number of epochs begun put right.

    A run that was resumed at the end of an epoch is one behind with it, and resumed there again it
    would miscount its epochs.
    """
    found = trainer.fit_loop.state_dict()
    for count in found["epoch_progress"].values():
        count["ready"] = count["started"] = count["processed"] + 1
    return found


class WholeFile(TorchCheckpointIO):
    """Writes a state beside the old one and then in its place: a full disk leaves the old one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        keep = path.with_name(BEFORE) if path.name == LAST and path.exists() else None
        part = path.with_name(f".{BEFORE}.{os.getpid()}.part")
        try:
            if keep is not None:
                _link(path, part)
            write_file(path, seal(content.getvalue()))
            if keep is not None:
                part.replace(keep)
        finally:
            part.unlink(missing_ok=True)


def _link(path: Path, other: Path) -> None:
    """The file under a second name; a copy where the file system has one name per file."""
    try:
        other.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, other)


def seal(archive: bytes) -> bytes:
    """A zip archive whose comment is the sha256 of all that comes before; torch reads it as ever.

    torch itself compares no checksum, not even the archive's own.
    """
    if archive[-22:-18] != b"PK\5\6":
        raise WeightsError("torch wrote no zip archive; update with `pip install -U torch`")
    body = archive[:-2] + (len(_MARK) + 64).to_bytes(2, "little") + _MARK
    return body + hashlib.sha256(body).hexdigest().encode()


def damage(path: Path) -> str | None:
    """What is wrong with a state; None if it is as it was written.

    A state of before there were digests is checked by the sums of its archive.
    """
    try:
        with path.open("rb") as file:
            length = max(0, os.fstat(file.fileno()).st_size - 64)
            file.seek(max(0, length - len(_MARK)))
            if file.read(len(_MARK)) == _MARK:
                whole = file.read() == _digest(file, length)
                return None if whole else "its content does not match its sha256"
        with ZipFile(path) as archive:
            torn = archive.testzip()
            return None if torn is None else f"its entry {torn} does not match its checksum"
    except (OSError, BadZipFile, zlib.error, ValueError, NotImplementedError, EOFError) as err:
        return str(err) or type(err).__name__


def _digest(file: BinaryIO, length: int) -> bytes:
    """Sha256 of the first `length` bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while length > 0 and (block := file.read(min(length, _BLOCK))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest().encode()


def mend(out: Path) -> None:
    """Put the state before in the place of a damaged last one, and say so.

    Raises:
        WeightsError: both are damaged, or there is only one.
    """
    last, before = out / LAST, out / BEFORE
    if not last.exists() or (wrong := damage(last)) is None:
        return
    also = damage(before) if before.exists() else "there is none"
    if also is not None:
        raise WeightsError(
            f"{last} is damaged: {wrong}; nor is there a state before it to go on from "
            f"({BEFORE}: {also}). Remove {out} and train again, or bring the file back from a copy."
        )
    before.replace(last)
    _log.warning("%s was damaged (%s); going on from the state before it", last, wrong)


def drop(out: Path) -> None:
    """Remove what only an unfinished run needs."""
    (out / BEFORE).unlink(missing_ok=True)
    (out / LAST).unlink(missing_ok=True)
