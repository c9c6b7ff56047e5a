"""The picture of segments, and the short videos a recording is cut into."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from pseudo3d.data.video import read_video
from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import Pseudo3dError, VideoError
from pseudo3d.report.cut import cut_video
from pseudo3d.report.plots import class_color
from pseudo3d.report.segments import SegmentPicture, segments_png

Span_ = namedtuple("Span_", "start end label")
CLASSES = ("jump", "run", "rest")


def picture(**changes):
    times = np.arange(40) * 0.25
    probs = np.stack([np.sin(times) ** 2, np.cos(times) ** 2, 0 * times], axis=1)
    values = {"times": times, "probs": probs, "classes": CLASSES, "found": [Span_(1, 4, "jump")]}
    return SegmentPicture(**{**values, **changes})


def drawn(path, **changes):
    return np.asarray(Image.open(segments_png(picture(**changes), path)).convert("RGB")).astype(int)


def share_of(image, color):
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.abs(image - wanted).max(2) < 4).mean()


def test_bands_are_as_wide_as_their_segments(tmp_path):
    one = share_of(drawn(tmp_path / "a.png"), class_color(0))
    double = share_of(drawn(tmp_path / "b.png", found=[Span_(1, 7, "jump")]), class_color(0))
    none = share_of(drawn(tmp_path / "c.png", found=[]), class_color(0))
    assert double - none > 1.6 * (one - none) > 0


def test_the_truth_has_a_band_of_its_own(tmp_path):
    plain, with_truth = (
        drawn(tmp_path / "a.png", truth=truth, title="x") for truth in (None, [Span_(5, 9, "run")])
    )
    assert with_truth.shape[0] > plain.shape[0]
    run = class_color(1)
    assert share_of(with_truth, run) * with_truth.size > 3 * share_of(plain, run) * plain.size


def test_threshold_background_and_unknown_labels_are_drawn(tmp_path):
    base = drawn(tmp_path / "a.png")
    assert (drawn(tmp_path / "b.png", threshold=0.7) != base).any()
    pale = drawn(tmp_path / "c.png", background=("jump",))
    assert share_of(pale, class_color(0)) < share_of(base, class_color(0))
    assert share_of(drawn(tmp_path / "d.png", found=[Span_(1, 4, "hop")]), "#999999") > 0
    assert drawn(tmp_path / "e.png", found=[Span_(0, 9, f"label {i}") for i in range(60)]).size


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="wanted"):
        segments_png(picture(classes=("one",)), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def recording(tmp_path):
    """Ten seconds at 10 Hz; the gray of a frame says which one it is."""
    values = (torch.arange(100) * 2 + 20).byte()
    frames = values[None, :, None, None].expand(3, 100, 16, 16)
    with VideoWriter(tmp_path / "long.mp4", 10, crf=1) as writer:
        writer.write(frames.contiguous())
    return tmp_path / "long.mp4"


def shown(path):
    """Numbers of the frames in a file as near as its quality tells, and their times."""
    video = read_video(path)
    assert video.problem is None
    gray = video.frames.float().mean((0, 2, 3))
    return ((gray - 20) / 2).tolist(), video.times.tolist()


def test_every_segment_becomes_a_video_with_its_own_frames(recording, tmp_path):
    spans = [Span_(5.0, 6.5, "run far/away"), Span_(1.0, 2.0, "jump"), Span_(5.5, 9.99, "jump")]
    files = cut_video(recording, spans, tmp_path / "cut")
    assert [f.name for f in files] == [
        "long_001_jump.mp4", "long_002_run_far_away.mp4", "long_003_jump.mp4",
    ]  # fmt: skip
    assert shown(files[0])[0] == pytest.approx(list(range(10, 20)), abs=1.5)
    assert shown(files[1])[0] == pytest.approx(list(range(50, 65)), abs=1.5)
    assert shown(files[2])[0] == pytest.approx(list(range(55, 100)), abs=1.5)
    assert shown(files[0])[1] == pytest.approx(np.arange(10) / 10)
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {f.name for f in files}


def test_a_margin_is_shown_around_a_segment_as_far_as_the_recording_goes(recording, tmp_path):
    (file,) = cut_video(recording, [Span_(0.2, 1.0, "jump")], tmp_path / "cut", margin=0.5)
    assert shown(file)[0] == pytest.approx(list(range(15)), abs=1.5)


def test_what_has_no_frame_is_not_written(recording, tmp_path):
    assert cut_video(recording, [], tmp_path / "cut") == []
    files = cut_video(recording, [Span_(50, 60, "late"), Span_(1, 2, "jump")], tmp_path / "cut")
    assert [f.name for f in files] == ["long_001_jump.mp4"]
    with pytest.raises(Pseudo3dError, match="margin is -1"):
        cut_video(recording, [Span_(1, 2, "jump")], tmp_path / "cut", margin=-1)


def test_a_recording_that_cannot_be_read_leaves_nothing(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        cut_video(tmp_path / "bad.mp4", [Span_(1, 2, "jump")], tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
