"""Samples come back as they were packed, from a folder or over a bad line, or not at all."""

import hashlib
import json
import os
import pickle
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item, read_manifest, write_manifest
from pseudo3d.data.shards import read as reading
from pseudo3d.data.shards.cache import SampleCache, cache_of_environment
from pseudo3d.data.shards.layout import seal, unseal
from pseudo3d.data.shards.order import epoch_order, shard_order
from pseudo3d.data.shards.read import Home, is_shards, read_shards
from pseudo3d.data.shards.storage import Folder, Remote, address_of, is_remote, open_storage
from pseudo3d.data.shards.verify import verify
from pseudo3d.errors import ManifestError, Pseudo3dError, VideoError


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Nothing here is worth waiting for."""

    def quick(text):
        return Remote(address_of(text), (0.0, 0.0)) if is_remote(text) else open_storage(text)

    monkeypatch.setattr(reading, "open_storage", quick)
    monkeypatch.delenv("PSEUDO3D_SHARDS_CACHE", raising=False)


def flip(path, at):
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_manifest_is_recognized_and_its_rows_lead_back_into_the_shards(packed, shards, tmp_path):
    found = read_manifest(shards)
    assert found.classes == ("a", "b")
    assert found == read_shards(shards) == read_manifest(str(shards))
    assert read_shards(shards, ["b", "z", "a"]).classes == ("b", "z", "a")
    with pytest.raises(ManifestError, match="unknown class: 'a'"):
        read_shards(shards, ["b", "c"])
    train, val = found.split("train"), found.split("val")
    assert len(train.items) + len(val.items) == len(found.items) == 11
    write_manifest(val, tmp_path / "val.csv")
    rows = (tmp_path / "val.csv").read_text().splitlines()
    assert rows[1].startswith("copy/part-0000")
    again = read_manifest(tmp_path / "val.csv")
    assert again.items == val.items
    assert again.items[0].fetch() == val.items[0].fetch()
    (tmp_path / "val.csv").write_text("path,label\ncopy/part-00001.tar/nobody.mp4,a\n")
    with pytest.raises(ManifestError, match="holds no such sample"):
        read_manifest(tmp_path / "val.csv")
    assert not is_shards(tmp_path)
    assert not is_shards(tmp_path / "nowhere")


def test_frames_come_out_of_shards_as_out_of_files(packed, tmp_path):
    loose = []
    for item in packed.packed[:4]:
        path = tmp_path / item.path.name
        path.write_bytes(item.fetch().data)
        loose.append(Item(path=path, label=item.label, start=0.2))
    stores = [FrameStore(resize=24), FrameStore(resize=24, folder=tmp_path / "cache")]
    for store in stores:
        store.fill(packed.packed)
        assert not store.quarantined
        for item, file in zip(packed.packed[:4], loose, strict=True):
            sample = pickle.loads(pickle.dumps(item))
            assert sample == item
            sample = reading.replace(sample, start=0.2)
            one, two = store.read(sample), store.read(file)
            assert torch.equal(one.times, two.times)
            assert (one.pixels == two.pixels).all()
            clip = torch.tensor([3, 0, 5])
            assert torch.equal(one.take(clip), two.take(clip))
    kept = {p.name for p in (tmp_path / "cache").iterdir()}
    moved = reading.replace(packed.packed[0], path=Path("elsewhere.mp4"))
    stores[1].read(moved)
    assert {p.name for p in (tmp_path / "cache").iterdir()} == kept
    told = stores[0].bytes_needed(packed.packed)
    assert told == sum(i.extent()[0] * 3 * 24 * 27 for i in packed.packed)


def test_damage_is_named_and_only_what_is_damaged_is_lost(shards):
    items = read_shards(shards).items
    hit = items[4]
    flip(shards / hit.shard, hit.offset + hit.length // 2)
    for item in items:
        if item is hit:
            with pytest.raises(VideoError, match=f"{item.path.name}: checksum differs"):
                item.fetch()
            assert item.fetch(verify=False).data != b""
        else:
            assert len(item.fetch().data) == item.length
    found = verify(shards)
    assert found.lost == 1
    assert found.damaged == {
        hit.shard: "its checksum differs from the index",
        f"{hit.shard}/{hit.path.name}": found.damaged[f"{hit.shard}/{hit.path.name}"],
    }
    store = FrameStore(resize=24, folder=shards / "frames")
    store.fill(items)
    assert list(store.quarantined) == [hit.path]


def test_a_missing_or_cut_shard_is_set_aside_before_training(shards):
    items = read_shards(shards).items
    gone, cut = items[0].shard, items[-1].shard
    (shards / gone).unlink()
    (shards / cut).write_bytes((shards / cut).read_bytes()[:600])
    store = FrameStore(resize=24)
    store.fill(items)
    assert set(store.quarantined) == {i.path for i in items if i.shard in (gone, cut)}
    assert "missing" in store.quarantined[items[0].path]
    assert "600 bytes, the index says" in store.quarantined[items[-1].path]
    for item in (items[0], items[-1]):
        with pytest.raises(VideoError, match=r"copy it again|checksum differs"):
            item.fetch()
    assert {gone, cut} <= set(verify(shards).damaged)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bit_of_an_index_can_turn_unseen(packed, data):
    whole = (packed.manifest.parent / "part-00002.json").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bent = bytearray(whole)
    bent[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ManifestError):
        unseal(bytes(bent), "index.json")


def test_no_bit_of_the_seal_itself_can_turn_unseen(packed):
    whole = (packed.manifest.parent / "part-00002.json").read_bytes()
    assert unseal(whole, "index.json")["name"] == "part-00002"
    for bit in range(8 * 90):
        bent = bytearray(whole)
        bent[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ManifestError):
            unseal(bytes(bent), "index.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s["samples"].update(key=["../../x", *s["samples"]["key"][1:]]), "a key holds"),
        (lambda s: s.update(name="../part-00001"), "a shard is called"),
        (lambda s: s["samples"].update(offset=[10**9, *s["samples"]["offset"][1:]]), "of a shard"),
        (lambda s: s["samples"].update(offset=[-512, *s["samples"]["offset"][1:]]), "offset"),
        (lambda s: s["samples"].update(length=[True, *s["samples"]["length"][1:]]), "offset"),
        (lambda s: s["samples"].update(seconds=[None, *s["samples"]["seconds"][1:]]), "seconds"),
        (lambda s: s["samples"].update(sha256=[5, *s["samples"]["sha256"][1:]]), "sha256"),
        (lambda s: s["samples"].update(label=[["a"], *s["samples"]["label"][1:]]), "label"),
        (
            lambda s: s["samples"].update(label=["c", *s["samples"]["label"][1:]]),
            "unlisted classes",
        ),
        (lambda s: s["samples"].pop("group"), "group is a NoneType"),
        (lambda s: s["samples"]["key"].pop(), "different length"),
        (lambda s: s.update(bytes="9"), "bytes is a str"),
        (lambda s: s.update(unreadable={"x": 5}), "more than text"),
        (lambda s: s.clear(), "samples is a NoneType"),
    ],
)
def test_an_index_that_lies_is_refused(shards, change, says):
    value = json.loads((shards / "index.json").read_text())
    change(value["shards"][0])
    value.pop("sha256")
    (shards / "index.json").write_bytes(seal(value))
    with pytest.raises(ManifestError, match=says):
        read_shards(shards)


def test_an_index_of_another_kind_is_told(shards):
    index = shards / "index.json"
    value = json.loads(index.read_text())
    for twice in ("shards", "keys"):
        two = json.loads(json.dumps(value))
        two["shards"].append(two["shards"][0])
        two["shards"][-1]["name"] = "part-00099" if twice == "keys" else "part-00001"
        two.pop("sha256")
        index.write_bytes(seal(two))
        with pytest.raises(ManifestError, match="listed twice"):
            read_shards(shards)
    later = seal({**value, "format": "x"}).replace(b"pseudo3d shards 1", b"pseudo3d shards 2")
    index.write_bytes(later)
    with pytest.raises(ManifestError, match=r"damaged|format"):
        read_shards(shards)
    index.write_text('{"shards": []}')
    assert not is_shards(shards)
    with pytest.raises(ManifestError, match="no index of `p3d pack"):
        read_shards(shards)
    index.unlink()
    with pytest.raises(ManifestError, match=r"holds no index\.json"):
        read_shards(shards)


def test_a_tar_made_to_harm_others_is_named(shards):
    index = json.loads((shards / "index.json").read_text())
    tar = shards / "part-00001.tar"
    with tarfile.open(tar, "a") as archive:
        link = tarfile.TarInfo("../../escape")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    index["shards"][0] |= {
        "bytes": tar.stat().st_size,
        "sha256": hashlib.sha256(tar.read_bytes()).hexdigest(),
    }
    index.pop("sha256")
    (shards / "index.json").write_bytes(seal(index))
    assert "no plain file" in verify(shards).damaged["part-00001.tar"]
    assert all(item.fetch() for item in read_shards(shards).items)


def test_http_gives_the_same_bytes_by_one_request_each(server, shards):
    near, far = read_shards(shards), read_manifest(Path(server.url))
    assert [i.sha256 for i in far.items] == [i.sha256 for i in near.items]
    server.asked.clear()
    for one, two in zip(near.items, far.items, strict=True):
        assert two.fetch().data == one.fetch().data
    wanted = [f"{i.shard} bytes={i.offset}-{i.offset + i.length - 1}" for i in far.items]
    assert server.asked == wanted
    assert verify(server.url).damaged == {}
    store = FrameStore(resize=24)
    store.fill(far.items)
    assert not store.quarantined
    write_manifest(far.split("val"), shards / "far.csv")
    assert f"{server.url}/part-" in (shards / "far.csv").read_text()
    assert read_manifest(shards / "far.csv").items == far.split("val").items


@pytest.mark.parametrize("mood", ["broken", "cut", "short"])
def test_what_fails_once_is_asked_for_again_and_what_goes_on_failing_is_told(server, mood):
    item = read_shards(server.url).items[3]
    server.mood, server.turns = mood, 2
    assert len(item.fetch().data) == item.length
    server.turns = 3
    with pytest.raises(VideoError, match=r"cannot be read .*repeat the command"):
        item.fetch()


def test_a_server_that_sends_whole_files_is_found_out_at_once(server):
    item = read_shards(server.url).items[3]
    server.mood = "whole"
    server.asked.clear()
    with pytest.raises(VideoError, match=r"does.* support range requests"):
        item.fetch()
    assert len(server.asked) == 1


def test_a_file_that_changes_under_us_is_found_out(server, shards):
    item = read_shards(server.url).items[0]
    flip(shards / item.shard, item.offset + 5)
    with pytest.raises(VideoError, match="damaged or changed since it was packed"):
        item.fetch()
    (shards / item.shard).unlink()
    with pytest.raises(VideoError, match=r"404|missing"):
        item.fetch()
    with pytest.raises(VideoError, match=r"404|missing"):
        item.check()
    (shards / "index.json").unlink()
    assert not is_shards(server.url)
    with pytest.raises(ManifestError, match=r"holds no index\.json"):
        read_shards(server.url)


def test_a_cache_asks_once_and_keeps_to_its_room(server, tmp_path):
    room = 60_000
    cache = SampleCache(tmp_path / "cache", room)
    items = pickle.loads(pickle.dumps(read_shards(server.url, cache=cache).items))
    server.asked.clear()
    first = items[0].fetch()
    assert items[0].fetch() == first
    assert len(server.asked) == 1
    (kept,) = (p for p in cache.folder.rglob("*") if p.is_file())
    assert kept.name == items[0].sha256
    flip(kept, 100)
    assert items[0].fetch() == first
    assert len(server.asked) == 2
    for item in items:
        item.fetch()
        assert sum(p.stat().st_size for p in cache.folder.rglob("*") if p.is_file()) <= room
    assert not cache.get(items[0].sha256)  # used longest ago
    assert cache.get(items[-1].sha256) == items[-1].fetch().data
    small = SampleCache(tmp_path / "small", 10)
    small.put(items[0].sha256, first.data)
    assert not small.folder.exists()
    (tmp_path / "file").touch()
    SampleCache(tmp_path / "file" / "below", room).put(items[0].sha256, first.data)
    with pytest.raises(ValueError, match="room"):
        SampleCache(tmp_path, 0)


def test_a_cache_forgets_what_was_used_longest_ago(tmp_path):
    cache = SampleCache(tmp_path, 10_000)
    parts = {
        hashlib.sha256(data).hexdigest(): data for data in (bytes([i]) * 3000 for i in range(4))
    }
    first, second, third, last = parts
    for age, name in enumerate((first, second, third)):
        cache.put(name, parts[name])
        os.utime(tmp_path / name[:2] / name, (age, age))
    assert cache.get(first) == parts[first]
    cache.put(last, parts[last])
    assert {p.name for p in tmp_path.glob("*/*")} == {first, third, last}


def test_the_cache_of_the_environment(server, tmp_path, monkeypatch):
    assert cache_of_environment() is None
    monkeypatch.setenv("PSEUDO3D_SHARDS_CACHE", str(tmp_path / "kept"))
    assert cache_of_environment() == SampleCache(tmp_path / "kept", 10**11)
    monkeypatch.setenv("PSEUDO3D_SHARDS_CACHE_BYTES", "5e6")
    assert read_shards(server.url).items[0].home.cache == SampleCache(tmp_path / "kept", 5 * 10**6)
    assert read_shards(server.root).items[0].home.cache is None
    monkeypatch.setenv("PSEUDO3D_SHARDS_CACHE_BYTES", "much")
    with pytest.raises(Pseudo3dError, match="'much'"):
        cache_of_environment()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**31))
def test_an_epoch_holds_each_sample_once_and_stays_within_its_window(packed, window, seed):
    items = packed.packed
    order = shard_order(items, torch.Generator().manual_seed(seed), window)
    assert sorted(order.tolist()) == list(range(len(items)))
    same = epoch_order(items, window)(torch.Generator().manual_seed(seed))
    assert torch.equal(order, same)
    tars = [items[i].shard for i in order.tolist()]
    spans = {tar: (tars.index(tar), len(tars) - tars[::-1].index(tar)) for tar in tars}
    for at in range(len(tars)):
        assert sum(first <= at < end for first, end in spans.values()) <= window
    assert window == 1 or len(spans) == 1 or _some_window_mixes(items, window)


def _some_window_mixes(items, window):
    """Whether items of different shards come between each other in some order."""
    for seed in range(20):
        order = shard_order(items, torch.Generator().manual_seed(seed), window).tolist()
        changes = sum(items[a].shard != items[b].shard for a, b in pairwise(order))
        if changes >= len({item.shard for item in items}):
            return True
    return False


def test_files_need_no_order_of_shards(packed):
    files = [Item(path=Path("a.mp4"), label="a"), Item(path=Path("b.mp4"), label="b")]
    assert epoch_order(files, 4) is None
    mixed = shard_order([*files, *packed.packed], torch.Generator(), 2)
    assert sorted(mixed.tolist()) == list(range(13))
    with pytest.raises(ValueError, match="window is 0"):
        shard_order(files, torch.Generator(), 0)


def test_addresses_survive_being_paths():
    for text in ("s3://bucket/a/b", "https://host:80/a", "simplecache::s3://bucket/a"):
        assert is_remote(text)
        assert address_of(Path(text)) == address_of(text) == text
    for text in ("a/b", "/a/b", "c:/a", "file:///a/b", "./s3:/a"):
        assert not is_remote(text)
    assert open_storage("file:///a/b") == Folder(Path("/a/b"))
    with pytest.raises(Pseudo3dError, match="nonsense"):
        read_shards("nonsense://a/b")


def test_a_home_looks_at_each_shard_once(packed, monkeypatch):
    calls = []
    monkeypatch.setattr(Folder, "size", lambda self, name: calls.append(name) or os.stat)
    home = Home(Folder(packed.manifest.parent), {"part-00001.tar": 1})
    for _ in range(3):
        with pytest.raises(VideoError, match="the index says 1"):
            home.check("part-00001.tar")
    assert calls == ["part-00001.tar"]
