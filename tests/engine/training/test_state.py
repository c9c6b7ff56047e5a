"""The state of an unfinished run: damage is noticed, and the state before it is still there."""

import csv
import errno
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.engine.training.figures import figures
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.training.state import BEFORE, LAST, WholeFile, damage, drop, mend
from pseudo3d.engine.training.train import train
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.lock import sole


def keep(out, step):
    """A state as a run writes it."""
    content = {"global_step": step, "state_dict": {"w": torch.full((50,), float(step))}}
    WholeFile().save_checkpoint(content, out / LAST)


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


@pytest.fixture
def out(tmp_path):
    """A folder with the states of steps 2 and 3."""
    for step in (1, 2, 3):
        keep(tmp_path, step)
    return tmp_path


def turn(path, bit):
    torn = bytearray(path.read_bytes())
    torn[bit // 8] ^= 1 << bit % 8
    path.write_bytes(torn)


def test_two_states_are_kept_and_torch_reads_both(out):
    assert {p.name: step_of(p) for p in out.iterdir()} == {LAST: 3, BEFORE: 2}
    assert damage(out / LAST) is None
    mend(out)
    assert step_of(out / LAST) == 3
    drop(out)
    assert list(out.iterdir()) == []


def test_every_bit_counts_or_is_in_the_name_of_the_digest(out):
    size, rng = (out / LAST).stat().st_size, random.Random(0)
    whole, mark = (out / LAST).read_bytes(), b"pseudo3d sha256 "
    named = range(8 * (size - 64 - len(mark)), 8 * (size - 64), 3)
    bits = {rng.randrange(8 * size) for _ in range(60)} | set(range(8 * (size - 64), 8 * size, 9))
    for bit in sorted(b for b in bits if not named.start <= b < named.stop):
        turn(out / LAST, bit)
        assert damage(out / LAST), bit
        (out / LAST).write_bytes(whole)
    for bit in named:  # the digest is not recognized, but what it is of is whole
        turn(out / LAST, bit)
        assert damage(out / LAST) is not None or step_of(out / LAST) == 3
        (out / LAST).write_bytes(whole)


@pytest.mark.parametrize("how", ["turned", "cut", "empty"])
def test_a_damaged_state_gives_way_to_the_one_before(out, how, caplog):
    data = (out / LAST).read_bytes()
    if how == "turned":
        turn(out / LAST, 8 * (len(data) // 2))
    else:
        (out / LAST).write_bytes(data[: len(data) // 2] if how == "cut" else b"")
    mend(out)
    assert step_of(out / LAST) == 2
    assert not (out / BEFORE).exists()
    assert "last.ckpt was damaged" in caplog.text
    (out / LAST).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"is damaged.*no.*state before.*Remove .* train again"):
        mend(out)


def test_a_state_of_an_earlier_version_is_checked_by_its_own_sums(tmp_path):
    torch.save({"global_step": 7, "w": torch.arange(1000.0)}, tmp_path / LAST)
    mend(tmp_path)
    assert step_of(tmp_path / LAST) == 7
    turn(tmp_path / LAST, 8 * ((tmp_path / LAST).stat().st_size // 2))
    assert damage(tmp_path / LAST)


def test_a_file_system_with_one_name_per_file_gets_a_copy(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none)
    keep(tmp_path, 1)
    keep(tmp_path, 2)
    assert {p.name: step_of(p) for p in tmp_path.iterdir()} == {LAST: 2, BEFORE: 1}


def test_a_full_disk_leaves_both_states(out, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"last.ckpt cannot be written.*No space left"):
        keep(out, 4)
    assert {p.name: step_of(p) for p in out.iterdir()} == {LAST: 3, BEFORE: 2}


def test_figures_keep_whole_rows_from_before_the_state(tmp_path):
    keep(tmp_path, 20)
    (tmp_path / "metrics.csv").write_bytes(
        b"epoch,loss,step\r\n0,1.5,9\r\n1,1.25,19\r\n2,9,25\r\n2,1,2"
    )
    logger = figures(tmp_path)
    logger.log_metrics({"epoch": 2, "loss": 1.0}, step=29)
    logger.save()
    logger.log_metrics({"epoch": 3, "val": 0.5}, step=39)
    logger.save()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [(r["epoch"], r["loss"], r["step"], r["val"]) for r in csv.DictReader(file)]
    assert rows == [
        ("0", "1.5", "9", ""),
        ("1", "1.25", "19", ""),
        ("2", "1.0", "29", ""),
        ("3", "", "39", "0.5"),
    ]


class Pressed(Callback):
    """Ctrl-C, pressed at moments of a run."""

    def __init__(self, *batches, signal=signal.SIGINT):
        self.batches, self.signal, self.seen = batches, signal, []

    def on_train_batch_end(self, trainer, module, *rest):
        self.seen.append(module.batches)

    def on_before_zero_grad(self, trainer, module, optimizer):
        for _ in range(self.batches.count(module.batches)):
            signal.raise_signal(self.signal)


class PressedWatching(Pressed):
    """Ctrl-C, pressed while the watched part is looked at."""

    def on_before_zero_grad(self, *_):
        pass

    def on_validation_epoch_start(self, trainer, module):
        super().on_before_zero_grad(trainer, module, None)


@pytest.fixture
def job(small, tmp_path):
    """Six steps, states far apart."""
    return Job(recipe=small, out=tmp_path / "run", checkpoint_every=50)


@pytest.mark.parametrize(
    ("pressed", "batch"),
    [
        (Pressed(2), 2),
        (Pressed(3), 3),  # the last step of an epoch: it is watched first
        (PressedWatching(3), 3),
        (Pressed(2, signal=signal.SIGTERM), 2),
        (Pressed(3, signal=signal.SIGTERM), 3),
        (PressedWatching(3, signal=signal.SIGTERM), 3),
    ],
)
def test_a_run_asked_to_stop_lets_the_step_end_and_goes_on_from_it(
    job, parts, store, fresh, tmp_path, caplog, pressed, batch
):
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), parts, store, job, [pressed])
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    if pressed.signal == signal.SIGINT:
        assert "Ctrl-C again stops at once" in caplog.text
    assert step_of(job.out / LAST) == pressed.seen[-1] == batch
    resumed = Job(**{**vars(job), "resume": True})
    train(fresh(), parts, store, resumed)
    whole = Job(**{**vars(job), "out": tmp_path / "whole"})
    train(fresh(), parts, store, whole)
    for name in ("weights.safetensors", "metrics.csv"):
        assert (job.out / name).read_bytes() == (whole.out / name).read_bytes(), name
    assert not (job.out / LAST).exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_twice_stops_at_once(job, parts, store, fresh):
    pressed, before = Pressed(1, 1), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), parts, store, job, [pressed])
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed.seen == []  # not even the step was ended
    assert not (job.out / LAST).exists()
    with sole(job.out):
        pass


def test_a_second_run_into_a_folder_is_refused(job, parts, store, fresh):
    class Second(Callback):
        def on_train_batch_end(self, trainer, *rest):
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as pool:
                self.said = pool.submit(train, fresh(), parts, store, job).exception()
            trainer.should_stop = True

    second = Second()
    train(fresh(), parts, store, job, [second])
    assert isinstance(second.said, Pseudo3dError)
    assert "is being written by process" in str(second.said)
