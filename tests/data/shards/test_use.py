"""What works on a list of files works on shards."""

import numpy as np
import pytest

from pseudo3d.data.manifest import Item, Manifest, read_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.shards.read import ShardItem
from pseudo3d.data.survey import survey_data
from pseudo3d.features.extract import extract


def test_a_survey_counts_and_names_what_is_damaged(shards):
    found = survey_data(shards)
    assert (found.files, found.problems) == (11, {})
    assert found.classes == {"a": 6, "b": 5}
    assert found.splits == {"train": 8, "val": 3}
    assert found.sizes == {"36x32": 11}
    item = read_manifest(shards).items[2]
    data = bytearray((shards / item.shard).read_bytes())
    data[item.offset + 50] ^= 8
    data[513] ^= 1  # a note for other programs, that nothing here reads
    (shards / item.shard).write_bytes(data)
    told = []
    found = survey_data(shards, lambda *count: told.append(count))
    name = f"{item.shard}/{item.path.name}"
    assert set(found.problems) == {item.shard, name}
    assert "unreadable: checksum differs" in found.problems[name]
    assert told[-1] == (11, 11)


def test_features_of_shards_are_those_of_the_files_and_go_on_where_they_stopped(
    packed, tmp_path, monkeypatch
):
    items = packed.packed[:4]
    files = []
    for item in items:
        path = tmp_path / item.path.name
        path.write_bytes(item.fetch().data)
        files.append(Item(path=path, label=item.label))
    out, manifest, reads = tmp_path / "x.npz", Manifest(tuple(items), ("a", "b")), []
    with pytest.raises(KeyboardInterrupt):
        extract("pixels", manifest, clips=2, out=out, progress=_stop)
    fetch = ShardItem.fetch
    monkeypatch.setattr(ShardItem, "fetch", lambda self: reads.append(self.path) or fetch(self))
    found = extract("pixels", manifest, clips=2, out=out)
    assert 0 < len(set(reads)) < 4  # the first was kept
    assert items[0].path not in reads
    loose = extract("pixels", Manifest(tuple(files), ("a", "b")), clips=2)
    assert np.array_equal(found.layers["pixels"], loose.layers["pixels"])
    assert found.paths == tuple(str(item.path) for item in items)


def _stop(done, total):
    raise KeyboardInterrupt


def test_shards_become_files_again(packed, tmp_path):
    done = pack(packed.manifest.parent, tmp_path / "loose", Plan(size=32))
    assert done.counts == {"encoded": 0, "copied": 11, "kept": 0}
    for old, new in zip(done.items, done.packed, strict=True):
        assert new.path.read_bytes() == old.fetch().data
        assert (new.label, new.group, new.split) == (old.label, old.group, old.split)
    assert done.bytes() == (sum(i.length for i in packed.packed),) * 2
    assert pack(packed.manifest.parent, tmp_path / "loose", Plan(size=32)).counts["kept"] == 11
