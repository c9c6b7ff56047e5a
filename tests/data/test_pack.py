"""A packed data set is the same data set: same frames at the same times, cheaper to read."""

import hashlib
import json
from fractions import Fraction

import av
import pytest
import torch

from pseudo3d.data import pack as module
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.pack import Plan, pack
from pseudo3d.data.pick import index_file
from pseudo3d.data.speed import compare
from pseudo3d.data.video import probe, read_video, write_video
from pseudo3d.errors import Pseudo3dError, VideoError

UNEVEN = [0, 2, 9, 12, 30, 34, 36, 37, 60, 61, 63, 70, 71, 90, 99, 120, 130, 131, 140, 147]


def scene(count, size=(48, 66), light=0):
    """A bar that walks over a still pattern."""
    noise = torch.randint(0, 120, (3, 1, *size), generator=torch.Generator().manual_seed(light))
    frames = noise.byte().repeat(1, count, 1, 1)
    for t in range(count):
        frames[:, t, :, t : t + 4] = 255 - light
    return frames


def uneven(path, odd=False):
    """Variable frame rate, stamps in 1/100 s, one key frame."""
    frames = scene(len(UNEVEN), (49, 67) if odd else (48, 66))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264rgb", rate=25)
        stream.height, stream.width = frames.shape[2:]
        stream.pix_fmt, stream.options = "rgb24", {"qp": "0"}
        stream.codec_context.time_base = Fraction(1, 100)
        for image, stamp in zip(frames.permute(1, 2, 3, 0), UNEVEN, strict=True):
            frame = av.VideoFrame.from_ndarray(image.contiguous().numpy(), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.fixture
def data(tmp_path):
    """Two classes: an uneven file, a long file with two spans, one that is broken."""
    home = tmp_path / "data"
    home.mkdir()
    uneven(home / "uneven.mp4")
    write_video(home / "long.mp4", scene(50, light=9), fps=25)
    (home / "broken.mp4").write_bytes(b"no video" * 99)
    (home / "manifest.csv").write_text(
        "path,label,group,split,start,end\n"
        "uneven.mp4,a/b,ann,train,,\n"
        "long.mp4,clap,ben,test,,0.8\n"
        "long.mp4,clap,ben,test,0.8,1.6\n"
        "broken.mp4,clap,carl,test,,\n"
    )
    return home


def snapshot(folder):
    """Content of every file, to see that nothing has changed."""
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("lossless", [False, True])
def test_frames_keep_their_times_and_spans_become_files(data, tmp_path, lossless):
    before = snapshot(data)
    told = []
    done = pack(
        data,
        tmp_path / "out",
        Plan(size=32, gop=5, lossless=lossless),
        lambda done, total: told.append((done, total)),
    )
    assert snapshot(data) == before
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert done.counts == {"encoded": 3, "copied": 0, "kept": 0}
    assert list(done.unreadable) == [data / "broken.mp4"]
    assert "broken.mp4" in done.unreadable[data / "broken.mp4"]
    packed = read_manifest(tmp_path / "out")
    assert [i.path for i in packed.items] == [i.path for i in done.packed]
    for item, now in zip(done.items, packed.items, strict=True):
        assert (now.label, now.group, now.split) == (item.label, item.group, item.split)
        assert (now.start, now.end) == (None, None)
        old = read_video(item.path, start=item.start or 0.0, end=item.end, size=32)
        new = read_video(now.path, size=32)
        assert torch.allclose(new.times, old.times - old.times[0], rtol=0, atol=1e-12)
        assert new.frames.shape == old.frames.shape
        error = (new.frames.int() - old.frames.int()).abs()
        assert error.max() == 0 if lossless else error.float().mean() < 12
        keys = index_file(now.path).keys.tolist()
        assert max(b - a for a, b in zip(keys, [*keys[1:], len(old.times)], strict=True)) <= 5


@pytest.mark.parametrize("lossless", [False, True])
def test_small_and_odd_videos_are_not_enlarged(tmp_path, lossless):
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        uneven(tmp_path / "data" / label / "odd.mp4", odd=True)
    done = pack(tmp_path / "data", tmp_path / "out", Plan(size=64, lossless=lossless))
    assert not done.unreadable
    new, old = (read_video(part[0].path) for part in (done.packed, done.items))
    assert tuple(new.frames.shape[2:]) == ((49, 67) if lossless else (48, 66))
    assert torch.equal(new.times, old.times)
    if lossless:
        assert torch.equal(new.frames, old.frames)


def test_a_given_rate_takes_the_frame_that_is_shown(data, tmp_path):
    done = pack(data, tmp_path / "out", Plan(size=32, fps=10.0, lossless=True))
    old, new = read_video(done.items[0].path, size=32), read_video(done.packed[0].path)
    assert new.times.tolist() == pytest.approx([k / 10 for k in range(15)])
    shown = [max(i for i, s in enumerate(UNEVEN) if s <= 10 * k) for k in range(15)]
    assert torch.equal(new.frames, old.frames[:, shown])


def test_what_fits_already_is_copied_unless_asked_otherwise(data, tmp_path):
    table = "path,label\nlong.mp4,a\nuneven.mp4,b\n"
    (data / "manifest.csv").write_text(table)
    done = pack(data, tmp_path / "out", Plan(size=48))
    assert done.counts == {"encoded": 1, "copied": 1, "kept": 0}  # uneven has one key frame
    assert done.packed[0].path.read_bytes() == (data / "long.mp4").read_bytes()
    anew = pack(data, tmp_path / "anew", Plan(size=48, transcode=True))
    assert anew.counts["encoded"] == 2
    small = pack(data, tmp_path / "small", Plan(size=32))
    assert small.counts["encoded"] == 2
    fewer = pack(data, tmp_path / "fewer", Plan(size=48, gop=6))
    assert fewer.counts["encoded"] == 2


def test_a_second_run_keeps_what_is_there_and_adds_what_is_new(data, tmp_path, monkeypatch):
    out, plan, one = tmp_path / "out", Plan(size=32), module._pack_one

    def full(item, *rest):
        if item.start == 0.8:
            raise VideoError("the disk is full")
        return one(item, *rest)

    monkeypatch.setattr(module, "_pack_one", full)
    with pytest.raises(VideoError, match="full"):
        pack(data, out, plan)
    monkeypatch.undo()
    assert not (out / "manifest.csv").exists()
    begun = {p: v for p, v in snapshot(out).items() if p.suffix == ".mp4"}
    assert begun
    done = pack(data, out, plan)
    assert done.counts["kept"] == len(begun)
    assert {p: v for p, v in snapshot(out).items() if p in begun} == begun
    with (data / "manifest.csv").open("a") as file:
        file.write("long.mp4,clap,ben,test,1.6,\n")
    more = pack(data, out, plan)
    assert more.counts == {"encoded": 1, "copied": 0, "kept": 3}
    assert len(read_manifest(out).items) == 4


def test_no_half_file_stays_after_an_interruption(data, tmp_path, monkeypatch):
    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(data, tmp_path / "out", Plan(size=32), interrupted)
    left = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert all(name.endswith(".mp4") or name == "pack.json" for name in left)
    assert not any(name.startswith(".") for name in left)


def test_nothing_of_the_users_is_overwritten(data, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(Pseudo3dError, match="already holds something else"):
        pack(data, mine, Plan(size=32))
    with pytest.raises(Pseudo3dError, match="inside"):
        pack(data, data / "out", Plan(size=32))
    out = tmp_path / "out"
    pack(data, out, Plan(size=32))
    with pytest.raises(Pseudo3dError, match=r"packed with size 32, crf 20"):
        pack(data, out, Plan(size=40, crf=30))
    with (out / "manifest.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(Pseudo3dError, match="changed by hand"):
        pack(data, out, Plan(size=32))
    assert (mine / "notes.txt").read_text() == "mine"
    assert json.loads((out / "pack.json").read_text())["plan"]["size"] == 32


def test_damage_is_told_and_nothing_readable_is_an_error(data, tmp_path):
    with av.open(str(data / "cut.avi"), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 66, "yuvj420p"
        for image in scene(40).permute(1, 2, 3, 0):
            picture = av.VideoFrame.from_ndarray(image.contiguous().numpy(), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    whole = (data / "cut.avi").read_bytes()
    (data / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (data / "manifest.csv").write_text("path,label\ncut.avi,a\nuneven.mp4,b\n")
    old = read_video(data / "cut.avi", size=32)
    assert old.problem
    done = pack(data, tmp_path / "out", Plan(size=32, lossless=True))
    assert done.shortened == {data / "cut.avi": old.problem}
    packed = read_video(done.packed[0].path).frames
    assert packed.shape == old.frames.shape
    # the cut runs through the last picture: what its missing part holds is the decoder's whim
    assert torch.equal(packed[:, :-1], old.frames[:, :-1])
    (data / "other.mp4").write_bytes(b"neither")
    (data / "manifest.csv").write_text("path,label\nbroken.mp4,a\nother.mp4,b\n")
    with pytest.raises(Pseudo3dError, match="none of the 2 files"):
        pack(data, tmp_path / "none", Plan(size=32))


@pytest.mark.parametrize(
    "wrong", [{"size": 33}, {"size": 8}, {"gop": 0}, {"crf": 52}, {"fps": 0.0}, {"fps": -1.0}]
)
def test_a_plan_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Plan(**wrong)


def test_the_loader_is_compared_on_the_same_clips(tmp_path):
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        write_video(tmp_path / "data" / label / "v.mp4", scene(60, (240, 320)), fps=25)
    done = pack(tmp_path / "data", tmp_path / "out", Plan(size=32))
    before, after = done.bytes()
    assert after < before == sum(item.path.stat().st_size for item in done.items)
    uniform, dense = compare(done.items, done.packed, 32, seconds=0.5)
    assert (uniform.sampling, dense.sampling) == ("uniform", "dense")
    assert min(uniform.ratio, dense.ratio) > 1.5
    assert probe(done.packed[0].path).height == 32
