"""Videos are decoded once, damaged ones are set aside, and nothing half written stays."""

import errno
import os
import pickle

import numpy as np
import pytest
import torch

from pseudo3d.data import cache
from pseudo3d.data.cache import FrameStore, default_folder, fits
from pseudo3d.data.manifest import Item
from pseudo3d.data.video import read_video, write_video
from pseudo3d.errors import Pseudo3dError, VideoError


def film(path, count=12, light=120, size=(48, 64)):
    frames = torch.full((3, count, *size), light, dtype=torch.uint8)
    frames[:, torch.arange(count), :, torch.arange(count)] = 250
    write_video(path, frames, fps=10)
    return Item(path=path, label="a")


@pytest.fixture
def items(tmp_path):
    return [film(tmp_path / f"{i}.mp4", count=10 + i) for i in range(4)]


@pytest.fixture
def store(tmp_path):
    return FrameStore(resize=24, folder=tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files decoded, in order."""
    names = []

    def counted(path, **options):
        names.append(path.name)
        return read_video(path, **options)

    monkeypatch.setattr(cache, "read_video", counted)
    return names


def test_a_video_is_decoded_once(items, store, decoded):
    first = store.read(items[0])
    again = store.read(items[0])
    assert decoded == ["0.mp4"]
    video = read_video(items[0].path, size=24)
    for frames in (first, again):
        assert np.array_equal(frames.pixels, video.frames.numpy())
        assert torch.equal(frames.times, video.times)
    other_process = FrameStore(resize=24, folder=store.folder)
    assert np.array_equal(other_process.read(items[0]).pixels, first.pixels)
    assert decoded == ["0.mp4"]


def test_without_a_folder_every_use_decodes(items, decoded):
    store = FrameStore(resize=24)
    first, again = store.read(items[0]), store.read(items[0])
    assert decoded == []  # a file that tells its times is left alone until frames are taken
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.pixels, read_video(items[0].path, size=24).frames)
    sent = pickle.loads(pickle.dumps(store))
    assert sent._indexes == {}
    assert np.array_equal(sent.read(items[0]).pixels, first.pixels)


def test_fill_decodes_what_is_missing_and_tells_its_progress(items, store, decoded):
    store.read(items[2])
    told = []
    store.fill(items, lambda done, total: told.append((done, total)))
    assert sorted(decoded) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    store.fill(items)
    assert len(decoded) == 4


def test_more_frames_than_fit_into_memory_are_read_right(items, store):
    store.fill(items)
    store._room = store.read(items[0]).pixels.nbytes  # the second does not fit
    store._held.clear()
    for item in (*items, *items):
        assert store.read(item).pixels.shape[1] == 10 + int(item.path.stem)
    assert list(store._held) == [items[0]]


def test_a_store_travels_without_its_frames(items, store):
    store.fill(items)
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent).read(items[0]).pixels, store.read(items[0]).pixels)


def test_size_color_and_span_are_kept_apart(items, store, decoded):
    span = Item(path=items[0].path, label="a", start=0.2, end=0.6)
    gray = FrameStore(resize=24, gray=True, folder=store.folder)
    small = FrameStore(resize=12, folder=store.folder)
    assert store.read(items[0]).pixels.shape == (3, 10, 24, 32)
    assert gray.read(items[0]).pixels.shape == (1, 10, 24, 32)
    assert small.read(items[0]).pixels.shape == (3, 10, 12, 16)
    assert store.read(span).pixels.shape == (3, 4, 24, 32)
    assert len(decoded) == 4


def test_a_changed_file_is_decoded_anew(tmp_path, store, decoded):
    item = film(tmp_path / "a.mp4", light=40)
    with item.path.open("ab") as file:
        file.write(bytes(1000))
    dark = store.read(item).pixels.mean()
    before = item.path.stat()
    film(item.path, light=200)
    with item.path.open("ab") as file:  # of the same size as before
        file.write(bytes(before.st_size - item.path.stat().st_size))
    os.utime(item.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    later = FrameStore(resize=24, folder=store.folder)  # one store may trust what it has mapped
    assert later.read(item).pixels.mean() > dark + 100
    assert len(decoded) == 2


def test_taking_frames_repeats_and_does_not_touch_the_cache(items, store):
    frames = store.read(items[0])
    taken = frames.take(torch.tensor([0, 3, 3, 9]))
    assert np.array_equal(taken.numpy(), frames.pixels[:, [0, 3, 3, 9]])
    taken.zero_()
    assert store.read(items[0]).pixels.mean() > 50


@pytest.mark.parametrize("gray", [False, True])
def test_the_size_is_known_before_the_cache_is_filled(tmp_path, items, gray):
    tall = film(tmp_path / "tall.mp4", size=(80, 48))
    span = Item(path=items[3].path, label="a", start=0.3, end=1.1)
    every = [*items, tall, span]
    store = FrameStore(resize=24, gray=gray, folder=tmp_path / "cache")
    told = store.bytes_needed(every)
    store.fill(every)
    filled = sum(file.stat().st_size for file in store.folder.iterdir())
    assert filled == pytest.approx(told, rel=0.2)


def test_unreadable_files_are_set_aside_with_the_reason(tmp_path, items, store):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    gone = tmp_path / "gone.mp4"
    bad = [Item(path=path, label="a") for path in (broken, empty, gone)]
    every = [bad[0], items[0], bad[1], items[1], bad[2]]
    needed = store.bytes_needed(every)
    told = []
    store.fill(every, lambda done, total: told.append((done, total)))
    assert set(store.quarantined) == {broken, empty, gone}
    assert all(path.name in why for path, why in store.quarantined.items())
    assert "0 bytes" in store.quarantined[empty]
    assert told[-1] == (5, 5)
    assert needed == store.bytes_needed(items[:2])
    assert store.read(items[1]).pixels.shape[1] == 11
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        store.read(bad[0])


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_full_disk_leaves_no_half_file_and_says_what_to_do(items, store, monkeypatch, fails_at):
    calls, save = [], cache.write_array

    def full(file, array):
        calls.append(file)
        if len(calls) == fails_at:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, array)

    monkeypatch.setattr(cache, "write_array", full)
    with pytest.raises(Pseudo3dError, match=r"No space left.*free some space") as caught:
        store.read(items[0])
    assert str(store.folder) in str(caught.value)
    left = list(store.folder.iterdir())
    assert len(left) == fails_at - 1
    assert all(np.load(file).ndim for file in left)
    monkeypatch.undo()
    assert np.array_equal(
        store.read(items[0]).pixels, read_video(items[0].path, size=24).frames.numpy()
    )


def test_a_full_disk_ends_the_filling(items, store, monkeypatch):
    def full(file, array):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "write_array", full)
    with pytest.raises(Pseudo3dError, match="No space left"):
        store.fill(items)
    assert store.quarantined == {}


def test_half_of_the_free_disk_stays_free(tmp_path, monkeypatch):
    usage = cache.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    assert fits(tmp_path / "not" / "there" / "yet", 500)
    assert not fits(tmp_path, 501)


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "pseudo3d" / "frames"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().parts[-3:] == (".cache", "pseudo3d", "frames")


@pytest.mark.parametrize("kind", [".npy", ".t.npy"])
@pytest.mark.parametrize("damage", ["turned", "header", "cut", "empty"])
def test_damaged_frames_are_decoded_again(items, store, decoded, caplog, kind, damage):
    wanted = store.read(items[0])
    path = next(p for p in store.folder.iterdir() if p.name.endswith(".t.npy") == (kind != ".npy"))
    data = path.read_bytes()
    turned = bytearray(data)
    turned[-40] ^= 4  # a value; the checksum takes the last 24 bytes
    header = data.replace(b", }", b", (", 1)  # numpy's own error there is none of reading
    path.write_bytes({"turned": turned, "header": header, "cut": data[:-60], "empty": b""}[damage])
    again = FrameStore(resize=store.resize, folder=store.folder)
    found = again.read(items[0])
    assert "is decoded again" in caplog.text
    assert np.array_equal(found.pixels, wanted.pixels)
    assert found.times.equal(wanted.times)
    assert len(decoded) == 2
    assert again.read(items[0]) is found


def test_frames_of_an_earlier_version_are_read(items, store, decoded):
    wanted = store.read(items[0])
    for path in store.folder.iterdir():
        np.save(path, np.load(path))
    found = FrameStore(resize=store.resize, folder=store.folder).read(items[0])
    assert np.array_equal(found.pixels, wanted.pixels)
    assert len(decoded) == 1
