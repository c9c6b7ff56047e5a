"""Shards hold the data set once, whole, in the same bytes whatever interrupts their packing."""

import gc
import hashlib
import json
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from data.shards.conftest import FEW, SMALL, film
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.shards import encode as coding
from pseudo3d.data.shards import write as writing
from pseudo3d.data.shards.read import load_contents, read_shards
from pseudo3d.data.shards.storage import open_storage
from pseudo3d.data.shards.verify import verify
from pseudo3d.data.shards.write import Sharding, pack_shards
from pseudo3d.data.video import read_video
from pseudo3d.errors import Pseudo3dError
from pseudo3d.lock import sole


def content(folder):
    """Checksum of every file."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != ".lock"
    }


def test_every_readable_video_is_in_one_shard_with_what_is_known_of_it(films, packed):
    out = packed.manifest.parent
    assert packed.counts == {"packed": 11, "kept": 0}
    assert list(packed.unreadable) == [films / "broken.mp4"]
    listed = {(i.path, i.start): i for i in read_manifest(films).items}
    assert len(packed.items) == len(packed.packed) == 11
    for old, new in zip(packed.items, packed.packed, strict=True):
        assert listed[old.path, old.start] == old
        assert (new.label, new.split, new.start, new.end) == (old.label, old.split, None, None)
        # the spans of one file stay on one side of every split
        assert new.group == (old.group or "long.mp4")
        was = read_video(old.path, start=old.start or 0.0, end=old.end, size=32)
        now = read_video(new.fetch())
        assert now.frames.shape == was.frames.shape
        assert torch.allclose(now.times, was.times - was.times[0], rtol=0, atol=1e-12)
        assert new.extent() == (len(was.times), *was.frames.shape[2:])
        assert new.seconds == pytest.approx(len(was.times) / 10)
    sizes = [p.stat().st_size for p in out.glob("*.tar")]
    assert len(sizes) > 3
    assert max(sizes) <= FEW.size
    assert sum(sizes) == sum(shard.bytes for shard in load_contents(open_storage(out)).shards)
    assert verify(out).damaged == {}
    told = json.loads((out / "index.json").read_text())
    assert (told["count"], told["classes"]) == (11, {"a": 6, "b": 5})


def test_webdataset_reads_the_shards(packed):
    webdataset = pytest.importorskip("webdataset")
    tars = sorted(str(p) for p in packed.manifest.parent.glob("*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
        data = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)
        found = {sample["__key__"]: sample for sample in data}
        del data
        gc.collect()
    assert len(found) == 11
    for item in packed.packed:
        sample = found[item.path.stem]
        assert sample["mp4"] == item.fetch().data
        facts = json.loads(sample["json"])
        assert (facts["label"], facts["group"], facts["split"]) == (
            item.label, item.group, item.split,
        )  # fmt: skip
        assert facts["sha256"] == item.sha256


def test_the_tar_is_plain_and_holds_each_sample_where_the_index_says(packed):
    places = {}
    for path in packed.manifest.parent.glob("*.tar"):
        with tarfile.open(path) as archive:
            for member in archive:
                assert member.isreg()
                assert "/" not in member.name
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                places[path.name, member.name] = (member.offset_data, member.size)
    for item in packed.packed:
        assert places[item.shard, item.path.name] == (item.offset, item.length)


@pytest.mark.parametrize("at", [1, 5, 9])
def test_an_interrupted_run_goes_on_and_comes_out_the_same(films, packed, tmp_path, at):
    def stop(done, total):
        if done == at:
            raise KeyboardInterrupt

    out = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        pack_shards(films, out, SMALL, FEW, stop)
    assert not (out / "index.json").exists()
    assert not [p for p in out.iterdir() if p.name.endswith(".part")]
    whole = len(list(out.glob("part-*.json")))
    told = []
    done = pack_shards(films, out, SMALL, FEW, lambda *count: told.append(count))
    assert done.counts["packed"] + done.counts["kept"] == 11
    assert (done.counts["kept"] > 0) == (whole > 0)
    assert told[-1] == (12, 12)
    assert len(told) == 12 - done.counts["kept"] - (told[0][0] - 1 - done.counts["kept"])
    assert content(out) == content(packed.manifest.parent)
    assert done.unreadable == packed.unreadable
    again = pack_shards(films, out, SMALL, FEW)
    assert again.counts == {"packed": 0, "kept": 11}
    assert again.unreadable == packed.unreadable


def test_a_shard_whose_note_is_damaged_or_whose_tar_is_cut_is_packed_again(films, packed, shards):
    (shards / "index.json").unlink()
    note = shards / "part-00003.json"
    data = bytearray(note.read_bytes())
    data[len(data) // 2] ^= 1
    note.write_bytes(data)
    done = pack_shards(films, shards, SMALL, FEW)
    assert 0 < done.counts["kept"] < 9
    assert content(shards) == content(packed.manifest.parent)
    (shards / "index.json").unlink()
    tar = shards / "part-00001.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    assert pack_shards(films, shards, SMALL, FEW).counts["kept"] == 0
    assert content(shards) == content(packed.manifest.parent)


def test_processes_give_the_same_bytes_and_a_crash_costs_one_video(
    films, packed, tmp_path, monkeypatch
):
    out = tmp_path / "shards"
    pack_shards(films, out, SMALL, Sharding(size=FEW.size, workers=1))
    assert content(out) == content(packed.manifest.parent)

    def crashing(waiting, plan, workers):
        yield waiting.popleft(), coding.encode_sample(first, plan)
        raise coding.BrokenProcessPool

    works = [coding.Work(str(i), item) for i, item in enumerate(packed.items[:3])]
    first = works[0].item
    monkeypatch.setattr(coding, "_in_pool", crashing)
    monkeypatch.setattr(coding, "_alone", lambda work, plan: f"alone {work.key}")
    found = [(w.key, r) for w, r in coding.encode_all(works, SMALL, 1)]
    assert found[1:] == [("1", "alone 1"), ("2", "alone 2")]


def test_jpeg_frames_are_keys_all(films, packed, tmp_path):
    from pseudo3d.data.pick import index_file

    done = pack_shards(films, tmp_path / "jpeg", Plan(size=32, frames=True), FEW)
    for old, new in zip(done.items[:3], done.packed[:3], strict=True):
        index = index_file(new.fetch())
        assert len(index.keys) == len(index.stamps) == new.frames
        was = read_video(old.path, start=old.start or 0.0, end=old.end, size=32).frames
        now = read_video(new.fetch()).frames
        assert (now.int() - was.int()).abs().float().mean() < 12
    again = pack_shards(tmp_path / "jpeg", tmp_path / "again", Plan(size=32, frames=True), FEW)
    assert sorted(i.sha256 for i in again.packed) == sorted(i.sha256 for i in done.packed)


def test_another_list_plan_or_size_is_refused_and_nothing_foreign_is_touched(
    films, packed, tmp_path, shards
):
    with pytest.raises(Pseudo3dError, match="packed with size 32"):
        pack_shards(films, shards, Plan(size=48), FEW)
    with pytest.raises(Pseudo3dError, match="shards of 30000 bytes"):
        pack_shards(films, shards, SMALL, Sharding(size=5, workers=0))
    few = films / "few.csv"
    few.write_text("path,label\na/0.mp4,a\nb/1.mp4,b\n")
    with pytest.raises(Pseudo3dError, match="other originals"):
        pack_shards(few, shards, SMALL, FEW)
    few.unlink()
    with pytest.raises(Pseudo3dError, match="holds shards"):
        pack(films, shards, SMALL)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(Pseudo3dError, match=r"something else \(notes\.txt\)"):
        pack_shards(films, mine, SMALL, FEW)
    with pytest.raises(Pseudo3dError, match="inside"):
        pack_shards(films, films / "out", SMALL, FEW)
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "pack.json").write_text(json.dumps({"plan": {"size": 32}, "manifest": None}))
    with pytest.raises(Pseudo3dError, match="without shards"):
        pack_shards(films, loose, SMALL, FEW)
    with sole(shards), ThreadPoolExecutor(1) as other:
        second = other.submit(pack_shards, films, shards, SMALL, FEW)
        assert "is being written by process" in str(second.exception())
    assert content(shards) == content(packed.manifest.parent)


def test_an_original_that_vanishes_is_not_taken_for_a_damaged_one(tmp_path):
    for i in range(4):
        film(tmp_path / "data" / "ab"[i % 2] / f"{i}.mp4", i)

    def vanish(done, total):
        for path in (tmp_path / "data").rglob("*.mp4"):
            path.rename(path.with_suffix(".gone"))

    with pytest.raises(Pseudo3dError, match="vanished"):
        pack_shards(tmp_path / "data", tmp_path / "out", SMALL, FEW, vanish)
    for path in (tmp_path / "data").rglob("*.gone"):
        path.rename(path.with_suffix(".mp4"))
    assert len(pack_shards(tmp_path / "data", tmp_path / "out", SMALL, FEW).items) == 4
    for label in "ab":
        (tmp_path / "bad" / label).mkdir(parents=True)
        (tmp_path / "bad" / label / "x.mp4").write_bytes(b"no video")
    with pytest.raises(Pseudo3dError, match="none of the 2"):
        pack_shards(tmp_path / "bad", tmp_path / "none", SMALL, FEW)


def test_a_full_disk_is_told_and_costs_one_shard(films, packed, tmp_path, monkeypatch):
    class Full(writing.TarWriter):
        def add(self, name, data):
            if len(list((tmp_path / "out").glob("part-*.json"))) == 2:
                raise OSError(28, "No space left on device")
            return super().add(name, data)

    monkeypatch.setattr(writing, "TarWriter", Full)
    with pytest.raises(Pseudo3dError, match=r"the disk is full.*complete shards are kept"):
        pack_shards(films, tmp_path / "out", SMALL, FEW)
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.endswith(".part")]
    monkeypatch.undo()
    assert pack_shards(films, tmp_path / "out", SMALL, FEW).counts["kept"] > 2
    assert content(tmp_path / "out") == content(packed.manifest.parent)


def test_shards_are_written_to_and_read_from_any_address(films, packed, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    done = pack_shards(films, "memory://bucket/shards", SMALL, FEW)
    assert done.counts == {"packed": 11, "kept": 0}
    there = {n.rpartition("/")[2]: bytes(f.getvalue()) for n, f in MemoryFileSystem.store.items()}
    here = {p.name: p.read_bytes() for p in packed.manifest.parent.iterdir()}
    assert there == here
    assert pack_shards(films, "memory://bucket/shards", SMALL, FEW).counts["kept"] == 11
    found = read_shards("memory://bucket/shards")
    assert [i.fetch().data for i in found.items] == [
        i.fetch().data for i in read_shards(packed.manifest.parent).items
    ]
    assert str(found.items[0].path).startswith("memory:/bucket/shards/part-00001.tar/")


@pytest.mark.parametrize("wrong", [{"size": 0}, {"workers": -1}])
def test_sharding_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sharding(**wrong)
