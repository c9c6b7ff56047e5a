"""Frames by number are those of the whole video, at the price of the frames they need."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudo3d.data import cache, pick
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, Draw
from pseudo3d.data.manifest import Item
from pseudo3d.data.pick import FileFrames, file_frames, index_file
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import read_video, write_video

UNEVEN = [0, 2, 9, 12, 30, 34, 36, 37, 60, 61, 63, 70, 71, 90, 99, 120, 130, 131, 140, 147]


def numbered(count=30):
    """Frames that all differ."""
    frames = torch.zeros(3, count, 32, 48, dtype=torch.uint8)
    for t in range(count):
        frames[:, t, :, t : t + 8] = 255 - 4 * t
    return frames


def encode(path, codec="libx264", stamps=range(0, 120, 4), container=None, options=None):
    """A key frame every 8 frames; time stamps in 1/100 s."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = options or {}
        stream.codec_context.gop_size = 8
        if codec == "libx264" and container != "avi":
            stream.codec_context.time_base = Fraction(1, 100)
        for image, stamp in zip(numbered(len(stamps)).permute(1, 2, 3, 0), stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image.contiguous().numpy(), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Containers and codecs that seek differently, with whole reads of them."""
    home = tmp_path_factory.mktemp("clips")
    open_gop = {"x264-params": "open-gop=1:log-level=none"}
    paths = [
        encode(home / "closed.mp4"),
        encode(home / "open.mp4", options=open_gop),
        encode(home / "open.mkv", options=open_gop),
        encode(home / "late.ts", stamps=range(500, 620, 4), container="mpegts"),
        encode(home / "uneven.mp4", stamps=UNEVEN),
        encode(home / "guess.avi", stamps=range(0, 240, 4), container="avi"),
        encode(home / "guess.mpg", "mpeg1video", stamps=range(0, 240, 4), container="mpeg"),
        encode(home / "vp9.webm", "libvpx-vp9"),
    ]
    return [(path, read_video(path, size=24)) for path in paths]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_picked_frames_equal_those_of_the_whole_video(clips, data):
    path, whole = data.draw(st.sampled_from(clips), label="clip")
    last = len(whole.times) - 1
    start = data.draw(st.none() | st.integers(0, last).map(lambda i: float(whole.times[i])))
    after = [None, *(float(t) for t in whole.times if t > (start or 0.0))]
    item = Item(path=path, label="a", start=start, end=data.draw(st.sampled_from(after)))
    span = read_video(path, start=start or 0.0, end=item.end, size=24)
    frames = FrameStore(resize=24).read(item)
    assert torch.equal(frames.times, span.times)
    numbers = st.lists(st.integers(0, len(span.times) - 1), min_size=1, max_size=6)
    wanted = [torch.tensor(n) for n in data.draw(st.lists(numbers, min_size=1, max_size=3))]
    for clip, index in zip(frames.clips(wanted), wanted, strict=True):
        assert torch.equal(clip, span.frames[:, index])


def test_files_with_trusted_packets_are_not_read_whole(clips):
    stays = {path.name: index_file(path) is not None for path, _ in clips}
    assert stays == {
        "closed.mp4": True, "open.mp4": True, "open.mkv": True, "late.ts": True,
        "uneven.mp4": True, "guess.avi": False, "guess.mpg": False, "vp9.webm": True,
    }  # fmt: skip


@pytest.fixture
def counted(monkeypatch):
    """Numbers of frames turned into pictures, and times a file was opened to pick some."""
    seen = {"pictures": 0, "picks": 0}
    image_of, inner = pick.image_of, pick.pick

    def picture(*args):
        seen["pictures"] += 1
        return image_of(*args)

    def picks(*args):
        seen["picks"] += 1
        return inner(*args)

    monkeypatch.setattr(pick, "image_of", picture)
    monkeypatch.setattr(pick, "pick", picks)
    monkeypatch.setattr(cache, "read_video", None)  # must not be called
    return seen


def test_only_the_groups_of_the_wanted_frames_are_decoded(tmp_path, monkeypatch, counted):
    write_video(tmp_path / "long.mp4", numbered(40).repeat(1, 6, 1, 1), fps=25)  # groups of 12
    index = index_file(tmp_path / "long.mp4")
    frames = file_frames(tmp_path / "long.mp4", index, size=24)
    seen, real = [], pick.decoded

    def counting(container, stream):
        for frame in real(container, stream):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(pick, "decoded", counting)
    frames.take(torch.tensor([100, 104, 104, 200]))
    assert counted["pictures"] == 3
    assert len(seen) <= sum(n - max(k for k in index.keys if k <= n) + 1 for n in (100, 104, 200))
    seen.clear()
    key = int(index.keys[5])
    frames.take(torch.arange(key - 2, key + 2))  # over a key frame without a jump
    assert len(seen) == key + 2 - index.keys[4]


def test_all_views_of_a_video_come_from_one_decoding(tmp_path, counted):
    items = []
    for i in range(2):
        write_video(tmp_path / f"{i}.mp4", numbered(40), fps=25)
        items.append(Item(path=tmp_path / f"{i}.mp4", label="a"))
    pre = Preprocessing(frames=4, resize=24, size=(24, 24), mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=5)
    data = ClipDataset(items, [0, 0], FrameStore(resize=24), spec)
    clips = [data[Draw(i, view)][0] for i in range(2) for view in range(5)]
    assert counted == {"picks": 2, "pictures": 2 * 20}
    assert len({clip.numpy().tobytes() for clip in clips[:5]}) == 5
    assert torch.equal(clips[0], clips[5])


def test_packets_that_promise_too_much_are_found_out(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(30), fps=25)
    index = index_file(tmp_path / "a.mp4")
    wrong = pick.Index(stamps=index.stamps + 1, keys=index.keys, tick=index.tick)
    frames = file_frames(tmp_path / "a.mp4", wrong, size=24)
    whole = read_video(tmp_path / "a.mp4", size=24)
    assert pick.pick(frames, [3, 4]) is None
    assert torch.equal(frames.take(torch.tensor([3, 20])), whole.frames[:, [3, 20]])


def test_where_the_end_is_missing_clips_are_spread_over_the_rest(tmp_path, caplog):
    write_video(tmp_path / "a.mp4", numbered(30), fps=25)
    index = index_file(tmp_path / "a.mp4")
    step = index.stamps[1] - index.stamps[0]
    more = index.stamps[-1] + step * np.arange(1, 31)
    promised = pick.Index(
        stamps=np.concatenate([index.stamps, more]), keys=index.keys, tick=index.tick
    )
    frames = file_frames(tmp_path / "a.mp4", promised, size=24)
    whole = read_video(tmp_path / "a.mp4", size=24)
    there = torch.linspace(0, 29, 60).round().long()
    with caplog.at_level(logging.WARNING):
        taken = frames.take(torch.arange(60))
    assert torch.equal(taken, whole.frames[:, there])
    assert "a.mp4: 30 of 60 frames decode" in caplog.text


def test_a_cut_file_is_read_whole(tmp_path):
    encode(tmp_path / "a.ts", container="mpegts")
    encode(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as whole:
        assert whole.streams.video[0].frames == 30
    file = tmp_path / "a.ts"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    whole = read_video(file, size=24)
    frames = FrameStore(resize=24).read(Item(path=file, label="a"))
    kept = torch.arange(len(whole.times) - 1)
    assert torch.equal(frames.take(kept), whole.frames[:, kept])


def test_frames_in_a_file_know_all_their_pixels(tmp_path):
    write_video(tmp_path / "a.mp4", numbered(10), fps=25)
    frames = FrameStore(resize=24, gray=True).read(Item(path=tmp_path / "a.mp4", label="a"))
    assert isinstance(frames, FileFrames)
    whole = read_video(tmp_path / "a.mp4", size=24, gray=True)
    assert torch.equal(torch.from_numpy(frames.pixels), whole.frames)
