"""The record of epochs proves what was used, and finds what was lost or used twice."""

from types import SimpleNamespace

import pytest
import torch

from pseudo3d.data.dataset import EpochSampler
from pseudo3d.engine.training.record import EpochRecord, begin, check
from pseudo3d.errors import Pseudo3dError

ITEMS = 5


def write(out, epochs=2, batch=2, ranks=2, upto=None, times=1):
    """The record of a run of `epochs` or `upto` batches, as the callback writes it."""
    samplers = [EpochSampler(ITEMS * times, batch, 0, rank=r, ranks=ranks) for r in range(ranks)]
    begin(out, samplers[0], ITEMS, 0)
    for rank, sampler in enumerate(samplers):
        note = EpochRecord(out, rank)
        note.on_train_start(None, None)
        done = 0
        for sampler.epoch in range(epochs):
            for draws in sampler:
                if done == upto:
                    break
                done += 1
                module = SimpleNamespace(batches=done, sampler=sampler)
                items = torch.tensor([-1 if d.spare else d.item % ITEMS for d in draws])
                note.on_train_batch_end(None, module, None, SimpleNamespace(items=items))
        note.on_train_end()
    return samplers[0]


def test_a_whole_record_counts_every_sample_once_per_epoch(tmp_path):
    write(tmp_path)
    found = check(tmp_path)
    assert found.whole
    assert (found.items, found.epochs, found.batches, found.samples) == (ITEMS, 2, 6, 10)
    assert found.processes == 2


def test_an_epoch_that_is_not_finished_has_lost_nothing(tmp_path):
    write(tmp_path, upto=4)
    found = check(tmp_path)
    assert found.whole
    assert (found.epochs, found.batches, found.samples) == (1, 4, 7)


def test_patches_are_counted_by_scan(tmp_path):
    write(tmp_path, times=3)
    found = check(tmp_path)
    assert found.whole
    assert found.samples == 2 * 3 * ITEMS


def lines(path):
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_lost_line_is_found_and_a_doubled_one(tmp_path, line):
    write(tmp_path)
    path = tmp_path / "epochs" / "0.csv"
    kept = lines(path)
    item = kept[line].split(",")[2].strip()
    rows = "path,label,split\n" + "".join(f"film{i}.mp4,a,train\n" for i in range(ITEMS))
    (tmp_path / "manifest.csv").write_text(rows)
    path.write_text("".join(kept[:line] + kept[line + 1 :]))
    assert check(tmp_path).lost == ((0, f"film{item}.mp4"),)
    path.write_text("".join([*kept, kept[line]]))
    assert check(tmp_path).doubled == ((0, f"film{item}.mp4"),)


def test_a_batch_that_nobody_recorded_is_a_gap(tmp_path):
    write(tmp_path)
    for path in (tmp_path / "epochs").glob("*.csv"):
        path.write_text("".join(line for line in lines(path) if not line.startswith("0,1,")))
    found = check(tmp_path)
    assert found.gaps == ((0, 1),)
    assert not found.whole


def test_a_run_that_goes_on_cuts_away_what_its_state_does_not_hold(tmp_path):
    sampler = write(tmp_path)
    path = tmp_path / "epochs" / "1.csv"
    with path.open("a") as file:
        file.write("1,2")  # a killed process's last line
    begin(tmp_path, sampler, ITEMS, 4)
    found = check(tmp_path)
    assert found.whole
    assert found.batches == 4
    begin(tmp_path, sampler, ITEMS, 0)
    assert check(tmp_path).batches == 0
    assert [p.name for p in (tmp_path / "epochs").iterdir()] == ["about.json"]


def test_a_folder_without_a_record_is_said(tmp_path):
    with pytest.raises(Pseudo3dError, match="holds no record of epochs"):
        check(tmp_path)
