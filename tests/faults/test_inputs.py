"""Inputs that vanish, cannot be written, or are damaged; clocks that jump; two runs at once."""

import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.shards.write import Sharding, pack_shards
from pseudo3d.engine.predict import predict
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.train import train
from pseudo3d.errors import Pseudo3dError
from pseudo3d.features.extract import extract
from pseudo3d.features.unfinished import Unfinished, VideoRows
from pseudo3d.lock import sole
from pseudo3d.models import create_model
from pseudo3d.weights import load

PLAN = Plan(size=40, transcode=True)


@pytest.fixture
def own(films, tmp_path):
    """The six videos, to be harmed."""
    home = tmp_path / "own"
    home.mkdir()
    for path in films.parent.iterdir():
        (home / path.name).write_bytes(path.read_bytes())
    return home / "manifest.csv"


def learn(listed, out, store, callbacks=(), *, resume=False):
    """Four optimizer steps."""
    given = {"frames": 4, "sampling": "uniform", "resize": 18, "size": (16, 16)}
    how = Recipe(epochs=2, batch=2, precision="fp32", ema=0.0, input=given)
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2)
    job = Job(recipe=how, out=out, checkpoint_every=1, resume=resume, workers=0)
    return train(net, Parts(train=listed.split("train")), store, job, list(callbacks))


def test_a_video_that_vanishes_is_named_and_the_rest_is_done(own, weights, tmp_path):
    listed = read_manifest(own)
    (own.parent / "2.mp4").unlink()
    found = extract(weights, listed, clips=2, out=tmp_path / "out.npz")
    assert len(found) == 5
    [(name, why)] = found.meta["missing"].items()
    assert name.endswith("2.mp4")
    assert "2.mp4" in why


def test_training_stops_at_a_video_that_vanishes_and_goes_on_when_it_is_back(own, tmp_path):
    listed, gone = read_manifest(own), own.parent / "1.mp4"
    content = gone.read_bytes()
    whole = learn(listed, tmp_path / "whole", FrameStore(resize=18))

    class Unplug(Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            if module.batches == 2:
                gone.unlink()

    with pytest.raises((Pseudo3dError, FileNotFoundError), match=r"1\.mp4"):
        learn(listed, tmp_path / "torn", FrameStore(resize=18), [Unplug()])
    gone.write_bytes(content)
    again = learn(listed, tmp_path / "torn", FrameStore(resize=18), resume=True)
    ours, theirs = load(whole).state_dict(), load(again).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_data_on_a_disk_that_cannot_be_written_are_only_read(disk, films, weights, tmp_path):
    folder = disk(300)
    for path in films.parent.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    manifest = read_manifest(folder / "manifest.csv")
    pack(folder / "manifest.csv", tmp_path / "packed", PLAN)
    assert len(extract(weights, manifest, clips=2, out=tmp_path / "out.npz")) == 6
    learn(manifest, tmp_path / "run", FrameStore(resize=18, folder=tmp_path / "cache"))
    assert predict(weights, folder / "0.mp4").label in ("a", "b")
    for write in (
        lambda: pack(tmp_path / "packed", folder / "packed", PLAN),
        lambda: extract(weights, manifest, clips=2, out=folder / "out.npz"),
        lambda: learn(manifest, folder / "run", FrameStore(resize=18)),
    ):
        with pytest.raises(Pseudo3dError, match="cannot be written to: Read-only file system"):
            write()


@pytest.mark.parametrize("how", ["turned", "cut", "empty"])
def test_damaged_rows_of_an_extraction_are_computed_again(films, tmp_path, caplog, how):
    item = read_manifest(films).items[0]
    kept = Unfinished(tmp_path / "out.npz", {"layers": ["pool5"]})
    rows = VideoRows({"pool5": np.arange(8, dtype=np.float32)[None]}, np.zeros((1, 2)))
    with kept.mine():
        kept.write(item, rows)
        assert kept.read(item).layers["pool5"].tolist() == [list(range(8))]
        [path] = kept.folder.glob("*.npz")
        data = bytearray(path.read_bytes())
        data[data.find(rows.layers["pool5"].tobytes()) + 5] ^= 2
        path.write_bytes({"turned": data, "cut": data[:-30], "empty": b""}[how])
        assert kept.read(item) is None
    assert "is looked at again" in caplog.text


def test_clocks_that_jump_change_nothing(films, weights, tmp_path, monkeypatch):
    def everything(home):
        home.mkdir()
        listed = read_manifest(films)
        pack(films, home / "packed", PLAN)
        pack_shards(films, home / "shards", PLAN, Sharding(size=30_000, workers=0))
        extract(weights, listed, clips=2, out=home / "out.npz")
        learn(listed, home / "run", FrameStore(resize=18, folder=home / "cache"))
        kept = {p.relative_to(home): p.read_bytes() for p in home.rglob("*") if p.is_file()}
        return {name: data for name, data in kept.items() if name.parts[0] != "cache"}

    steady, now, real = everything(tmp_path / "steady"), time.time(), time.time
    jumps = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: now + jumps.uniform(-1e7, 1e7))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (now + jumps.uniform(-1e7, 1e7))))
    jumped = everything(tmp_path / "jumped")
    monkeypatch.setattr(time, "time", real)
    assert jumped.keys() == steady.keys()
    assert [name for name in steady if steady[name] != jumped[name]] == []


@pytest.mark.parametrize("what", ["pack", "shards", "features"])
def test_a_second_run_into_the_same_place_is_refused(films, weights, tmp_path, what):
    place = tmp_path / (".out.npz.parts" if what == "features" else "out")
    work = {
        "pack": lambda: pack(films, place, PLAN),
        "shards": lambda: pack_shards(films, place, PLAN, Sharding(size=30_000, workers=0)),
        "features": lambda: extract(
            weights, read_manifest(films), clips=2, out=tmp_path / "out.npz"
        ),
    }[what]
    with ThreadPoolExecutor(1) as pool, sole(place):
        said = pool.submit(work).exception()
    assert isinstance(said, Pseudo3dError)
    assert "is being written by process" in str(said)
    work()
    assert not list(tmp_path.rglob(".*"))
