"""Videos that are no files of this machine arrive whole, or not at all."""

from dataclasses import replace

import pytest

from pseudo3d.cluster import fetch as module
from pseudo3d.cluster.fetch import fetch
from pseudo3d.cluster.inputs import COLUMNS, read_input, read_part, write_table
from pseudo3d.cluster.place import Place
from pseudo3d.data.pack import Plan
from pseudo3d.data.shards.read import shard_items
from pseudo3d.data.shards.write import Sharding, pack_shards
from pseudo3d.errors import Pseudo3dError, VideoError

FEW = Sharding(size=20_000, workers=0)


@pytest.fixture(scope="module")
def shards(listed, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "packed"
    pack_shards(listed, out, Plan(size=18), FEW)
    return out


def test_samples_of_shards_are_read_by_their_place_and_checked(shards, tmp_path):
    items = {str(item.path): item for item in shard_items(shards)}
    place = Place(tmp_path)
    listing = read_input(str(shards))
    write_table(listing, 24, place)
    rows = read_part(place, 0)
    assert len(rows) == len(items) == 24
    assert len({row["shard"] for row in rows}) > 1
    for row in rows:
        item = items[row["name"]]
        assert fetch(row) == item.fetch().data
        assert (row["label"], row["group"]) == (item.label, item.group)
    with pytest.raises(VideoError, match="checksum differs"):
        fetch({**rows[0], "offset": rows[1]["offset"]})
    with pytest.raises(Pseudo3dError, match="missing"):
        fetch({**rows[0], "shard": "part-99999.tar"})
    other = replace(listing, rows=lambda: ({**r, "sha256": "0" * 64} for r in listing.rows()))
    assert other.digest() != listing.digest()


def test_too_large_videos_and_missing_ones_are_refused(monkeypatch):
    store = Place("memory://large")
    store.write("v.mp4", bytes(3000))
    row = {**dict.fromkeys(COLUMNS), "name": "memory://large/v.mp4"}
    assert fetch(row) == bytes(3000)
    monkeypatch.setattr(module, "LARGEST", 2000)
    with pytest.raises(VideoError, match="on a disk that the workers share"):
        fetch(row)
    with pytest.raises(FileNotFoundError):
        fetch({**row, "name": "memory://large/gone.mp4"})
    store.remove("")
