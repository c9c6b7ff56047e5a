"""What one call may take: pixels, frames, bytes that unpack to more."""

import numpy as np
import pytest
import torch

from pseudo3d.data.decode import Blob
from pseudo3d.data.isolation.tasks import frames
from pseudo3d.data.limits import (
    LARGEST,
    Limits,
    check_pixels,
    check_scaled,
    check_unpacked,
    limited,
    out_of_memory,
)
from pseudo3d.data.survey import survey
from pseudo3d.data.video import read_video
from pseudo3d.data.writer import write_video
from pseudo3d.errors import Pseudo3dError, VideoError


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("limits") / "a.mp4"
    write_video(path, torch.zeros(3, 4, 32, 48, dtype=torch.uint8), fps=5)
    return path


def test_videos_are_held_to_the_limits_in_force(film):
    for source in (film, Blob(film, film.read_bytes())):
        with limited(Limits(pixels=1000)), pytest.raises(VideoError, match="48 x 32 pixels"):
            read_video(source)
        with limited(Limits(frames=3)), pytest.raises(VideoError, match="more than 3 frames"):
            read_video(source)
        with limited(Limits(frames=4, pixels=1536)):
            assert read_video(source).frames.shape == (3, 4, 32, 48)
    assert read_video(film).frames.shape == (3, 4, 32, 48)  # the limits are gone again


def test_a_survey_goes_on_after_frames_that_are_too_large(film):
    with limited(Limits(pixels=1000)):
        (report,) = survey([film])
    assert report.problem == "unreadable: frames too large"


def test_a_playlist_leads_to_no_other_file(film, tmp_path):
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", str(film), "#EXT-X-ENDLIST", "")
    for name, text in (("a.m3u8", "\n".join(lines)), ("b.ffconcat", f"file '{film}'\n")):
        path = tmp_path / name
        path.write_text(("ffconcat version 1.0\n" if "concat" in name else "") + text)
        with pytest.raises(VideoError):
            read_video(path)


def test_frames_are_scaled_up_within_reason():
    check_scaled((1080, 1920), (2160, 3840))
    check_scaled((32, 48), (256, 384))
    check_scaled((4000, 4000), (4000, 4000))
    with pytest.raises(VideoError, match="60000 x 1 pixels would be scaled up to 1440000 x 24"):
        check_scaled((1, 60000), (24, 1440000))
    with pytest.raises(VideoError, match="the limit is"):
        check_pixels("a.mp4", 10**5, 10**5)


def test_bombs_are_told_from_what_packs_well():
    check_unpacked(LARGEST, 1)
    check_unpacked(10 * LARGEST, LARGEST)
    with pytest.raises(ValueError, match="times as many"):
        check_unpacked(LARGEST + 1, 1000)
    check_unpacked(LARGEST + 1, 1000, free=2 * LARGEST)
    with pytest.raises(ValueError, match="times as many"):
        check_unpacked(2 * LARGEST + 1, 1000, free=2 * LARGEST)


@pytest.mark.parametrize("name", ["seconds", "memory_bytes", "pixels", "frames"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_zero(name, value):
    with pytest.raises(Pseudo3dError, match=f"limit {name} is"):
        Limits(**{name: value})


def test_frames_apart_are_those_of_read_video(film):
    found, wanted = frames(film, size=16), read_video(film, size=16)
    assert np.array_equal(found["frames"], wanted.frames.numpy())
    assert np.array_equal(found["times"], wanted.times.numpy())
    assert (found["fps"], found["problem"]) == (5.0, None)


def test_lack_of_memory_is_known_in_its_many_forms():
    wrapped = VideoError("a.mp4: no frame can be decoded")
    wrapped.__cause__ = MemoryError()
    for err in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), wrapped):
        assert out_of_memory(err)
    assert not out_of_memory(VideoError("damaged"))
