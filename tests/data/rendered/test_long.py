"""Rendered sessions: what their truth says is what is seen."""

import json

import numpy as np
import pytest

from pseudo3d.data.annotation_files import read_annotations
from pseudo3d.data.rendered.long import EXERCISES, FPS, render_session, render_sessions
from pseudo3d.data.video import read_video
from pseudo3d.errors import Pseudo3dError


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = tmp_path_factory.mktemp("session") / "one.mp4"
    return path, *render_session(path, person=3, sets=3, size=48)


def test_repetitions_are_in_order_and_apart_and_every_exercise_is_there(session):
    path, marks, seconds = session
    assert {m.label for m in marks} == set(EXERCISES)
    assert 9 <= len(marks) <= 15
    ends = [t for m in marks for t in (m.start, m.end)]
    assert ends == sorted(ends)
    assert all(1.3 <= m.end - m.start <= 2.1 for m in marks)
    assert read_video(path).frames.shape[1] == round(seconds * FPS)


def test_people_move_in_repetitions_and_hardly_between_them(session):
    path, marks, _ = session
    frames = read_video(path, gray=True).frames[0].numpy().astype(np.float32)
    frames = frames.reshape(len(frames), 12, 4, 12, 4).mean((2, 4))  # noise and shake average out
    inside = np.zeros(len(frames), dtype=bool)
    for m in marks:
        inside[round(m.start * FPS) : round(m.end * FPS)] = True
    change = np.abs(frames[3:] - frames[:-3]).max((1, 2))
    whole = inside[3:] & inside[:-3]
    none = ~(inside[3:] | inside[:-3])
    assert np.median(change[whole]) > 2 * np.median(change[none])


def test_the_same_seed_gives_the_same_session(session, tmp_path):
    path, marks, _ = session
    again, _ = render_session(tmp_path / "two.mp4", person=3, sets=3, size=48)
    assert again == marks
    assert (tmp_path / "two.mp4").read_bytes() == path.read_bytes()
    other, _ = render_session(tmp_path / "two.mp4", person=4, sets=1, size=48)
    assert other != marks


def test_a_set_of_sessions_has_one_truth_in_two_forms(tmp_path):
    calls = []
    table = render_sessions(
        tmp_path, people=3, sets=1, size=32, progress=lambda *c: calls.append(c)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    rows, notes = read_annotations(table), read_annotations(tmp_path / "truth.json")
    assert [v.path for v in rows.videos] == [v.path for v in notes.videos]
    assert [v.split for v in rows.videos] == ["train", "val", "test"]
    assert [v.split for v in notes.videos] == ["train", "val", "test"]
    assert len({v.group for v in rows.videos}) == 3
    for a, b in zip(rows.videos, notes.videos, strict=True):
        assert a.marks == b.marks
    assert json.loads((tmp_path / "truth.json").read_text())["version"] == "VERSION 1.3"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"people": 2}, "2 people"), ({"sets": 0}, "0 sets"), ({"size": 33}, "size is 33")],
)
def test_impossible_sessions_are_refused_before_anything_is_written(wrong, words, tmp_path):
    with pytest.raises(Pseudo3dError, match=words):
        render_sessions(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
