"""Windows of a video side by side: one scale, in the order of time."""

import numpy as np
import pytest
import torch

from explain.known_nets import Spotter
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.explain import whole
from pseudo3d.explain.attribution import How, explain_span
from pseudo3d.explain.whole import explain_whole, joined

pytest.importorskip("captum", reason="gradients need the extra `explain`")


@pytest.fixture(scope="module")
def spot(tmp_path_factory):
    """A network for windows of a second, and six seconds that are bright in the fourth alone."""
    pre = Preprocessing(frames=8, resize=16, size=(16, 16), color="gray", mean=(0.0,), std=(1.0,))
    net = Spotter(preprocessing=pre, training={"clip_seconds": 1.0, "longest_seconds": 1.0})
    film = torch.full((3, 60, 16, 16), 20, dtype=torch.uint8)
    film[:, 30:40] = 255
    path = tmp_path_factory.mktemp("whole") / "film.mp4"
    write_video(path, film, fps=10, crf=1)
    return net, path


def test_the_second_that_speaks_for_a_class_has_the_heat(spot):
    net, film = spot
    told = []
    seen, found = explain_whole(
        net,
        film,
        target="seen",
        how=How(check=True, controls=3),
        progress=lambda *n: told.append(n),
    )
    assert len(seen.starts) > 20
    assert found.span == (0, pytest.approx(6, abs=0.1))
    assert found.heat.shape == (48, 16, 16)
    assert np.all(np.diff(found.times) > 0)
    assert found.importance.sum() == pytest.approx(1)
    assert 3 <= found.times[found.importance.argmax()] < 4
    inside = (found.times >= 3) & (found.times < 4)
    assert found.importance[inside].sum() > 0.6
    assert found.heat[~inside].max() < 0.2  # alone, a dark window's map would go up to 1
    assert found.answer > 0.9
    assert told[-1] == (6, 6)
    assert any("windows have a map that holds" in note for note in found.notes)


def test_one_window_is_as_it_was_and_order_does_not_matter(spot):
    net, film = spot
    first, second = (
        explain_span(net, film, span, target="seen") for span in ((0.0, 1.0), (3.0, 4.0))
    )
    alone = joined([second])
    assert np.allclose(alone.heat, second.heat)
    assert np.allclose(alone.importance, second.importance)
    one, other = joined([first, second]), joined([second, first])
    assert np.array_equal(one.heat, other.heat)
    assert np.array_equal(one.times, np.concatenate([first.times, second.times]))
    assert one.answer == second.answer


def test_long_videos_are_thinned_out_and_it_is_said(spot, monkeypatch):
    net, film = spot
    monkeypatch.setattr(whole, "MOST", 3)
    _, found = explain_whole(net, film, target="seen")
    assert len(found.times) == 24
    assert "3 of 6 windows were explained, evenly spread" in found.notes
