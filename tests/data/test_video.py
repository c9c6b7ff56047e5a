"""Frames come out upright, in time order, of the span asked for, or with a reason why not."""

import gc
import itertools
import resource
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pseudo3d.data.decode import opened, turned, upright
from pseudo3d.data.survey import survey
from pseudo3d.data.video import (
    VideoWriter,
    probe,
    read_video,
    stream_video,
    write_video,
)
from pseudo3d.errors import VideoError


def moving(count=30, height=48, width=64):
    """A bar that walks to the right over a ramp: each frame differs from every other one."""
    assert count <= 120
    frames = torch.zeros(3, count, height, width, dtype=torch.uint8)
    frames[1] = torch.linspace(0, 200, height).byte()[:, None]
    for t in range(count):
        frames[0, t, :, t : t + 6] = 255
        frames[2, t] = 2 * t
    return frames


def encode(path, codec, stamps, *, container=None, options=None, pixel_format="yuv420p"):
    """Write the moving bar with a key frame every 8 frames and the given time stamps (1/100 s)."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.options = options or {}
        stream.codec_context.gop_size = 8
        if codec == "libx264" and container != "avi":
            stream.codec_context.time_base = Fraction(1, 100)
        for image, stamp in zip(moving(len(stamps)).permute(1, 2, 3, 0), stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image.contiguous().numpy(), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Containers and codecs that seek differently, with whole reads of them."""
    home, steady = tmp_path_factory.mktemp("clips"), range(0, 120, 4)
    open_gop = {"x264-params": "open-gop=1:log-level=none"}
    uneven = [0, 2, 9, 12, 30, 34, 36, 37, 60, 61, 63, 70, 71, 90, 99, 120, 130, 131]
    paths = [
        encode(home / "closed.mp4", "libx264", steady),
        encode(home / "open.mp4", "libx264", steady, options=open_gop),
        encode(home / "open.mkv", "libx264", steady, options=open_gop),
        encode(home / "late.ts", "libx264", range(500, 620, 4), container="mpegts"),
        encode(home / "uneven.mp4", "libx264", uneven),
        encode(home / "guess.avi", "libx264", range(0, 240, 4), container="avi"),
        encode(home / "guess.mpg", "mpeg1video", range(0, 240, 4), container="mpeg"),
        encode(home / "vp9.webm", "libvpx-vp9", steady),
    ]
    return [(path, read_video(path)) for path in paths]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_reading_a_span_equals_cutting_it_from_the_whole(clips, data):
    path, whole = data.draw(st.sampled_from(clips), label="clip")
    first = data.draw(st.integers(0, len(whole.times) - 1), label="first")
    stop = data.draw(st.integers(first + 1, len(whole.times)), label="stop")
    end = float(whole.times[stop]) if stop < len(whole.times) else None
    span = read_video(path, start=float(whole.times[first]), end=end)
    assert torch.equal(span.times, whole.times[first:stop])
    assert torch.equal(span.frames, whole.frames[:, first:stop])


def test_only_the_span_is_decoded(tmp_path, monkeypatch):
    write_video(tmp_path / "long.mp4", moving(120), 25)
    seen = []
    monkeypatch.setattr(
        "pseudo3d.data.video.timed",
        lambda frames, first, stream: (seen.append(f) or (f.time, f) for f in frames),
    )
    video = read_video(tmp_path / "long.mp4", start=4.0, end=4.2)
    assert video.frames.shape[1] == 5
    assert len(seen) <= 12 + 5 + 1  # one group of pictures, the span, the frame after it


@pytest.mark.parametrize("chunk", [1, 7, 30, 64])
def test_streamed_parts_join_to_the_whole(clips, chunk):
    path, whole = clips[0]
    parts = list(stream_video(path, chunk=chunk))
    assert all(part.frames.shape[1] == chunk for part in parts[:-1])
    assert torch.equal(torch.cat([part.frames for part in parts], 1), whole.frames)


def test_times_follow_the_time_stamps_and_begin_at_zero(clips):
    by_name = {path.name: video for path, video in clips}
    uneven = [0, 0.02, 0.09, 0.12, 0.3, 0.34, 0.36, 0.37, 0.6, 0.61]
    assert_close(by_name["uneven.mp4"].times[:10], torch.tensor(uneven, dtype=torch.float64))
    late = by_name["late.ts"]
    assert late.info.start > 4
    assert_close(late.times, torch.arange(30, dtype=torch.float64) / 25)


@pytest.mark.parametrize(
    ("name", "turns"),
    [
        ("tc_nasa_13013_rotated.mp4", 1),
        ("decord_video_90.mov", -1),
        ("decord_video_180.mov", 2),
        ("decord_video_0.mov", 0),
    ],
)
def test_rotation_flag_is_applied(shared_data, name, turns):
    path = shared_data / "videos/odd" / name
    with av.open(str(path)) as file:
        coded = next(file.decode(video=0)).to_ndarray(format="rgb24")
    image = read_video(path, end=0.001).frames[:, 0].permute(1, 2, 0).numpy()
    assert np.array_equal(image, np.rot90(coded, turns))
    assert probe(path).rotation % 360 == 90 * turns % 360


@pytest.mark.parametrize("matrix", [(*m, *n) for m, n in itertools.product(
    [(1, 0), (-1, 0), (0, 1), (0, -1)], [(1, 0), (-1, 0), (0, 1), (0, -1)]
) if m[0] * n[1] - m[1] * n[0]])  # fmt: skip
def test_display_matrix_moves_each_pixel_where_it_says(matrix):
    a, b, c, d = matrix
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    raw = np.array([a, b, 0, c, d, 0, 0, 0, 1], np.int32) * 65536
    found = turned(image, raw.tobytes())
    spots = {
        (a * x + c * y, b * x + d * y): int(image[y, x, 0]) for y in range(3) for x in range(4)
    }
    left, top = (min(s[axis] for s in spots) for axis in (0, 1))
    for (x, y), value in spots.items():
        assert found[y - top, x - left, 0] == value


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("msr_a11_s01_e01_gray16_ffv1.mkv", (44, 240, 320)),
        ("carphone_gray8.mp4", (60, 144, 176)),
        ("carphone_1frame.mp4", (1, 144, 176)),
        ("tc_h265_10bits.mp4", (30, 200, 200)),
        ("tc_testsrc2_12bit_hdr.mp4", (60, 180, 320)),
        ("tc_testsrc2_odd_height_and_width_444.mp4", (25, 241, 321)),
        ("tc_testsrc2_odd_height_and_width_mpeg2.mp4", (10, 81, 121)),
        ("tc_animated.gif", (4, 48, 64)),
        ("tiny_16x16.mp4", (120, 16, 16)),
    ],
)
def test_every_pixel_format_becomes_eight_bits(shared_data, name, shape):
    path = shared_data / "videos/odd" / name
    color, gray = read_video(path), read_video(path, gray=True)
    assert color.frames.shape == (3, *shape)
    assert gray.frames.shape == (1, *shape)
    assert color.frames.dtype == gray.frames.dtype == torch.uint8
    assert color.frames.float().std() > 0.5  # depth in mm fills little of 16 bits
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None, None]
    luma = (color.frames * weights).sum(0)
    # Limited-range video keeps its luma; full-range and RGB sources match to rounding.
    assert (luma - gray.frames[0]).abs().mean() < 12


@pytest.mark.parametrize(
    ("size", "shape"), [(24, (24, 32)), (96, (96, 128)), ((20, 50), (20, 50)), (None, (48, 64))]
)
def test_size_is_the_short_side_or_the_pair(clips, size, shape):
    path, whole = clips[0]
    video = read_video(path, size=size, end=0.1)
    assert video.frames.shape == (3, 3, *shape)
    plain = torch.nn.functional.interpolate(
        whole.frames[:, :3].transpose(0, 1).float(), shape, mode="bilinear", antialias=True
    )
    assert (video.frames.transpose(0, 1) - plain).abs().max() <= 1.01


def test_writing_and_reading_keeps_the_picture_and_pads_odd_sizes(tmp_path):
    frames = moving(9, 37, 51)
    write_video(tmp_path / "odd.mp4", frames, 12.5, crf=4)
    video = read_video(tmp_path / "odd.mp4")
    assert video.frames.shape == (3, 9, 38, 52)
    assert_close(video.times, torch.arange(9, dtype=torch.float64) / 12.5)
    gray, before = video.frames.float().mean(0), frames.float().mean(0)
    assert (gray[:, :37, :51] - before).abs().mean() < 6
    assert (gray[:, 37] - gray[:, 36]).abs().mean() < 6  # the edge is repeated, not blackened


def test_writing_in_chunks_equals_writing_at_once(tmp_path):
    frames = moving(20)
    write_video(tmp_path / "whole.mp4", frames, 25)
    with VideoWriter(tmp_path / "parts.mp4", 25) as writer:
        for part in frames.split(6, dim=1):
            writer.write(part)
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "parts.mp4").read_bytes()


@pytest.mark.parametrize("room", [0, 2_000, 20_000])
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, room):
    write_video(tmp_path / "old.mp4", moving(3), 25)
    before = (tmp_path / "old.mp4").read_bytes()
    noise = torch.randint(0, 256, (3, 20, 64, 64), dtype=torch.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(VideoError, match=r"old\.mp4 cannot be written: the disk is full"):
            write_video(tmp_path / "old.mp4", noise, 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == before


def test_a_writer_that_is_interrupted_leaves_nothing(tmp_path):
    def interrupted():
        with VideoWriter(tmp_path / "a.mp4", 25) as writer:
            writer.write(moving(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(3, 2, 8, 8), "torch.float32: wanted"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"\(2, 3, 8, 8\)"),
        (torch.zeros(3, 0, 8, 8, dtype=torch.uint8), "no frames"),
    ],
)
def test_frames_that_are_no_video_are_not_written(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", frames, 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "frames", "problem"),
    [
        ("trunc40_ApplyEyeMakeup.avi", 61, "silent loss: 164 frames declared, 61 decoded"),
        ("bitflip_ApplyEyeMakeup.avi", 20, "silent loss: 164 frames declared, 20 decoded"),
        ("decord_corrupted.mp4", 28, "decoding fails after 28 frames (InvalidDataError)"),
        ("vfr_carphone.mp4", 96, None),
    ],
)
def test_a_damaged_file_gives_what_decodes_and_says_so(shared_data, name, frames, problem):
    path = shared_data / "videos/odd" / name
    video = read_video(path, size=16)
    assert (video.frames.shape[1], video.problem) == (frames, problem)
    assert (video.times.diff() > 0).all()
    assert read_video(path, size=16, end=0.2).problem is None


def test_files_that_are_no_video_are_named_with_the_way_out(tmp_path, shared_data):
    odd = shared_data / "videos/odd"
    for name in ["audio_only.mp4", "empty.mp4", "text.mp4", "noise.avi", "trunc_half_mma_test.mp4"]:
        with pytest.raises(VideoError, match=rf"{name}.*leave it out") as caught:
            read_video(odd / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "notes.txt").write_text("no video\n" * 100)
    with pytest.raises(VideoError, match=r"notes\.txt"):
        read_video(tmp_path / "notes.txt")
    with pytest.raises(VideoError, match="is a folder"):
        read_video(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lost\.mp4"):
        read_video(tmp_path / "lost.mp4")


def test_a_span_without_frames_is_named(clips):
    path, _ = clips[0]
    with pytest.raises(VideoError, match=r"no frame from 9 s to 10 s.*end at 1\.160 s"):
        read_video(path, start=9, end=10)
    with pytest.raises(VideoError, match=r"no frame from 1e\+30 s"):
        read_video(path, start=1e30)
    for start, end in [(-1, None), (2, 1), (float("nan"), None)]:
        with pytest.raises(ValueError, match="wanted 0 <= start < end"):
            read_video(path, start=start, end=end)


def test_frames_leave_memory_without_the_garbage_collector(tmp_path):
    torch.manual_seed(0)
    write_video(tmp_path / "a.mp4", torch.randint(0, 256, (3, 40, 16, 16), dtype=torch.uint8), 10)
    gc.collect()
    gc.disable()
    try:
        with opened(tmp_path / "a.mp4") as (container, stream):
            for frame in container.decode(stream):
                upright(frame.to_ndarray(format="rgb24"), frame)
        frame = None
        assert gc.collect() < 40  # less than one object for each frame
    finally:
        gc.enable()


def test_a_trim_without_encoding_anew_is_no_loss(tmp_path):
    """What comes before the cut stays in the file from the key frame on; an edit list hides it."""
    write_video(tmp_path / "long.mp4", torch.randint(255, (3, 40, 32, 32), dtype=torch.uint8), 10)
    with (
        av.open(str(tmp_path / "long.mp4")) as source,
        av.open(str(tmp_path / "cut.mp4"), "w") as out,
    ):
        ours = source.streams.video[0]
        stream, begin = out.add_stream_from_template(ours), None
        for packet in source.demux(ours):
            if packet.dts is None or (begin is None and not (packet.pts and packet.is_keyframe)):
                continue
            begin = begin or packet.pts + round(0.3 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, stream
            out.mux(packet)
    video = read_video(tmp_path / "cut.mp4")
    assert video.info.declared_frames > video.frames.shape[1]
    assert video.problem is None
    (report,) = survey([tmp_path / "cut.mp4"])
    assert report.problem is None
    assert report.declared_frames == report.decoded_frames
