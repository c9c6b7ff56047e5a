"""A full disk is said in words, leaves no half file, and what was whole goes on counting."""

import json
import subprocess

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.shards import write as shards
from pseudo3d.data.shards.read import read_shards
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.state import BEFORE, LAST, damage
from pseudo3d.engine.training.train import train
from pseudo3d.errors import Pseudo3dError
from pseudo3d.features.extract import extract
from pseudo3d.features.unfinished import Unfinished
from pseudo3d.models import create_model
from pseudo3d.report.files import save_bytes
from pseudo3d.weights import save

FULL = r"cannot (be written|keep).*([Nn]o space left|disk is full)"


def fill(folder, but):
    """Use the disk up, but for so many kilobytes."""
    free = subprocess.run(
        ["df", "--output=avail", "-k", str(folder)], capture_output=True, text=True, check=True
    )
    size = 1024 * (int(free.stdout.split()[-1]) - but)
    (folder / "ballast").write_bytes(b"\0" * size)


def hidden(folder):
    return sorted(p.name for p in folder.rglob(".*") if p.is_file())


def tiny():
    torch.manual_seed(0)
    return create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2)


def test_weights_stay_what_they_were(disk, weights):
    folder = disk(600)
    path = folder / "net.safetensors"
    path.write_bytes(weights.read_bytes())
    fill(folder, but=20)
    with pytest.raises(Pseudo3dError, match=FULL):
        save(tiny(), path)
    assert path.read_bytes() == weights.read_bytes()
    assert hidden(folder) == []


def test_training_goes_on_from_its_last_state_when_there_is_room_again(disk, films, tmp_path):
    listed = read_manifest(films)
    parts = Parts(train=listed.split("train"), val=listed.split("val"))
    given = {"frames": 4, "sampling": "uniform", "resize": 18, "size": (16, 16)}
    how = Recipe(epochs=3, batch=2, precision="fp32", ema=0.0, input=given)
    store = FrameStore(resize=18, folder=tmp_path / "cache")
    whole = train(tiny(), parts, store, Job(recipe=how, out=tmp_path / "whole"))
    folder = disk(2000)
    out = folder / "run"

    class Fill(Callback):
        def on_train_batch_start(self, trainer, module, *rest):
            if module.batches == 3:
                fill(folder, but=16)

    with pytest.raises(Pseudo3dError, match=FULL):
        train(tiny(), parts, store, Job(recipe=how, out=out, checkpoint_every=1), [Fill()])
    assert damage(out / LAST) is None
    assert hidden(folder) == []
    (folder / "ballast").unlink()
    train(tiny(), parts, store, Job(recipe=how, out=out, checkpoint_every=1, resume=True))
    assert (out / "weights.safetensors").read_bytes() == whole.read_bytes()
    assert not (out / LAST).exists()
    assert not (out / BEFORE).exists()


@pytest.mark.parametrize("what", ["pack", "shards", "features"])
def test_long_work_goes_on_when_there_is_room_again(disk, films, weights, what):
    folder = disk(300)
    manifest = read_manifest(films)

    def work():
        if what == "pack":
            return pack(films, folder / "out", Plan(size=40, transcode=True)).counts["kept"]
        if what == "shards":
            how = shards.Sharding(size=30_000, workers=0)
            shards.pack_shards(films, folder / "out", Plan(size=40, transcode=True), how)
            return len([item.fetch() for item in read_shards(folder / "out").items]) - 5
        extract(weights, manifest, clips=40, out=folder / "out.npz", layers=["res2", "res3"])
        return 1

    if what == "features":
        kept = Unfinished(folder / "out.npz", {"layers": []})
        fill(folder, but=8)
    else:
        kept = None
        fill(folder, but=60)
    with pytest.raises(Pseudo3dError, match=FULL):
        work()
    assert not list(folder.rglob("*.part"))
    (folder / "ballast").unlink()
    if kept is not None:
        assert json.loads((kept.folder / "job.json").read_text())["network"] == "p3d_nano"
    assert work() > 0
    assert hidden(folder) == []


def test_frames_that_find_no_room_end_in_words(disk, films):
    folder = disk(120)
    fill(folder, but=16)
    store = FrameStore(resize=36, folder=folder / "cache")
    with pytest.raises(Pseudo3dError, match=r"cannot keep decoded frames: No space left"):
        store.fill(read_manifest(films).items)
    assert hidden(folder) == []


def test_results_that_find_no_room_leave_the_old_ones(disk):
    folder = disk(64)
    save_bytes(folder / "page.html", b"old")
    fill(folder, but=8)
    with pytest.raises(Pseudo3dError, match=FULL):
        save_bytes(folder / "page.html", b"x" * 50_000)
    assert (folder / "page.html").read_bytes() == b"old"
    assert hidden(folder) == []
