"""Films and pictures show the stretch of video that was explained, heat on its own moment."""

import numpy as np
import pytest
import torch

from explain.known_nets import MOMENT, Spotter
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import read_video
from pseudo3d.data.writer import write_video
from pseudo3d.errors import VideoError
from pseudo3d.explain.attribution import How, explain_span
from pseudo3d.explain.overlay import frames_seen, story_of, write_film, write_pictures

pytest.importorskip("captum", reason="gradients need the extra `explain`")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three seconds of 32 x 48 pixels; every frame has its own gray."""
    path = tmp_path_factory.mktemp("film") / "gray.mp4"
    levels = torch.linspace(80, 250, 30).view(1, 30, 1, 1).expand(3, 30, 32, 48)
    write_video(path, levels.byte(), fps=10, crf=1)
    return path


@pytest.fixture(scope="module")
def found(film):
    pre = Preprocessing(frames=8, resize=16, size=(16, 16), color="gray", mean=(0.0,), std=(1.0,))
    net = Spotter(preprocessing=pre)
    return explain_span(net, film, (1.0, 2.6), target="seen", how=How(check=True, controls=4))


def test_the_frames_are_those_the_network_saw(film, found):
    frames, heat = frames_seen(film, found, side=32)
    assert frames.shape == (8, 32, 48, 3)
    assert heat.shape == (8, 32, 48)
    numbers = (found.times * 10).round().astype(int)
    shades = np.linspace(80, 250, 30)[numbers]
    assert np.abs(frames.mean((1, 2, 3)) - shades).max() < 6
    assert heat[MOMENT].max() > 0.9
    assert heat[:, :, :8].max() == 0  # beside the crop
    hot = np.argwhere(heat[MOMENT] > 0.9).mean(0)
    assert hot == pytest.approx((11.5, 27.5), abs=2)  # the cell in the crop, twice as large, + 8


def test_the_film_is_the_stretch_and_its_heat_comes_and_goes(film, found, tmp_path):
    made = read_video(write_film(film, found, tmp_path / "film.mp4"))
    assert made.frames.shape[1] == 16
    assert made.frames.shape[3] == 360  # 32 x 48 is enlarged to 240 x 360
    shown = made.frames[:, :, :240].float()
    colored = (shown.amax(0) - shown.amin(0)).mean((1, 2))
    moment = round((found.times[MOMENT] - 1.0) * 10)
    assert abs(int(colored.argmax()) - moment) <= 1
    assert colored[0] < 0.3 * colored.max()
    assert colored[-1] < 0.3 * colored.max()


def test_a_film_does_not_replace_its_video(film, found):
    before = film.read_bytes()
    with pytest.raises(VideoError, match="is the video itself"):
        write_film(film, found, film.parent / "." / film.name)
    assert film.read_bytes() == before


def test_pictures_and_words_come_with_it(film, found, tmp_path):
    files = write_pictures(film, found, tmp_path / "new", "gray")
    assert [p.name for p in files] == ["gray_strip.png", "gray_importance.png", "gray.gif"]
    assert all(p.stat().st_size > 500 for p in files)
    story = story_of(found, "gray.mp4")
    assert story.title.startswith("gray.mp4: seen, ")
    assert story.verdict == found.verdict
    assert story.tested is not None
    assert story.unit == "s"
