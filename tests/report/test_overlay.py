"""Heat lies over the frame it belongs to, in films, GIFs and strips."""

import numpy as np
import pytest
from PIL import Image

from pseudo3d.data.video import read_video
from pseudo3d.errors import VideoError
from pseudo3d.report.overlay import (
    Curves,
    Part,
    Story,
    blend,
    importance_png,
    overlay_gif,
    overlay_mp4,
    strip_png,
)

PNG = b"\x89PNG"


@pytest.fixture
def story():
    times = np.arange(6) / 10
    share = np.array([0.05, 0.05, 0.6, 0.2, 0.05, 0.05])
    tested = Curves(shares=(0.0, 0.5, 1.0), deleted=(0.9, 0.2, 0.1), inserted=(0.1, 0.8, 0.9))
    return Story(
        times=times, importance=share, title="wave, 90 % sure", verdict="it holds", tested=tested
    )


@pytest.fixture
def clip():
    """Colored frames, and heat in the upper left of the third."""
    rng = np.random.default_rng(0)
    frames = rng.integers(40, 90, (6, 48, 64, 3)).astype(np.uint8)
    heat = np.zeros((6, 48, 64), dtype=np.float32)
    heat[2, :16, :16] = 1
    return frames, heat


def test_what_is_cold_is_gray_and_what_is_hot_is_colored(clip):
    frames, heat = clip
    before = frames.copy()
    out = blend(frames, heat)
    assert np.array_equal(frames, before)
    cold = np.delete(out, 2, axis=0)
    assert (np.ptp(cold.astype(int), axis=-1) == 0).all()
    luma = frames[0] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(out[0, ..., 0] - luma).max() <= 1
    assert out[2, :16, :16, 0].mean() > 200  # the bright end of inferno
    assert np.ptp(out[2, 20:, 20:].astype(int), axis=-1).max() == 0
    half = blend(frames, heat * 0.3)[2, :16, :16].astype(int)
    assert np.ptp(half, axis=-1).mean() > 0


def test_sizes_that_differ_are_refused(clip, unchecked):
    frames, heat = clip
    with pytest.raises(ValueError, match="wanted the same size"):
        blend(frames, heat[:, :40])


def test_pictures_are_written_whole(clip, story, tmp_path):
    frames, heat = clip
    assert strip_png(frames, heat, story, tmp_path / "s.png").read_bytes().startswith(PNG)
    assert importance_png(story, tmp_path / "i.png").read_bytes().startswith(PNG)
    plain = Story(times=story.times, importance=story.importance, title="", verdict="")
    assert importance_png(plain, tmp_path / "p.png").read_bytes().startswith(PNG)
    with Image.open(tmp_path / "s.png") as strip, Image.open(tmp_path / "i.png") as curve:
        assert strip.size[1] > curve.size[1]
    assert {p.name for p in tmp_path.iterdir()} == {"s.png", "i.png", "p.png"}


def test_a_gif_has_every_frame_in_its_order(clip, tmp_path):
    frames, heat = clip
    spread = []
    with Image.open(overlay_gif(frames, heat, tmp_path / "a.gif", fps=10)) as gif:
        assert gif.n_frames == 6
        assert gif.info["duration"] == 100
        assert gif.info["loop"] == 0
        for number in range(6):
            gif.seek(number)
            corner = np.asarray(gif.convert("RGB"))[:12, :12].astype(int)
            spread.append(np.ptp(corner, axis=-1).mean())
    assert int(np.argmax(spread)) == 2
    large = np.zeros((1, 480, 640, 3), dtype=np.uint8)
    small = overlay_gif(large, np.zeros((1, 480, 640), dtype=np.float32), tmp_path / "b.gif")
    with Image.open(small) as gif:
        assert gif.size == (240, 180)


def test_a_film_keeps_its_frames_and_the_line_moves(clip, story, tmp_path):
    frames, heat = clip
    parts = [Part(frames[a:b], heat[a:b], story.times[a:b]) for a, b in ((0, 2), (2, 6))]
    path = overlay_mp4(iter(parts), story, tmp_path / "film.mp4", fps=10)
    film = read_video(path)
    assert film.frames.shape == (3, 6, 48 + 44, 64)
    hot = film.frames[:, :, :12, :12].float()
    assert int((hot.amax(0) - hot.amin(0)).mean((1, 2)).argmax()) == 2
    under = film.frames[:, :, -6:].float().mean((0, 2))  # the line is the darkest column
    line = under.argmin(1)
    assert line[0] < line[3] < line[5]


def test_a_film_of_nothing_is_no_file(story, tmp_path):
    with pytest.raises(VideoError, match="no frames"):
        overlay_mp4(iter([]), story, tmp_path / "film.mp4", fps=10)
    assert list(tmp_path.iterdir()) == []
