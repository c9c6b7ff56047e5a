"""The demo replaces what an earlier demo made, and nothing else."""

import json

import pytest

from pseudo3d.demo import run as demo
from pseudo3d.errors import Pseudo3dError

PLAN = demo.Plan(clips_per_class=10, epochs=1, views=1, size=16, frames=4)


class Begun(Exception):
    """The demo has taken the folder and would render now."""


@pytest.fixture
def begin(monkeypatch):
    """Runs the demo up to its first film."""

    def render(*given, **more):
        raise Begun

    def start(out):
        with pytest.raises(Begun):
            demo.run(out, PLAN, 0, progress=render, bar=render, say=print)

    return start


@pytest.mark.parametrize(
    "name", ["runs/p3d_nano/weights.safetensors", "motions/manifest.csv", "report.html"]
)
def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("three days of training")
    with pytest.raises(Pseudo3dError, match="--out"):
        demo.run(tmp_path, PLAN, 0, progress=print, bar=print, say=print)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "three days of training"


def test_scores_of_something_else_do_not_make_a_demo(tmp_path):
    for text in ("my scores", "[1]", json.dumps({"P3D": 0.9})):
        (tmp_path / "scores.json").write_text(text)
        with pytest.raises(Pseudo3dError, match="no demo made"):
            demo.run(tmp_path, PLAN, 0, progress=print, bar=print, say=print)


def test_a_demo_runs_again_in_its_own_folder_also_after_it_was_interrupted(tmp_path, begin):
    begin(tmp_path / "new")
    (tmp_path / "new" / "report.html").write_text("of the first run")
    begin(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    begin(tmp_path / "empty")


def test_a_demo_of_an_older_version_is_known_by_its_scores(tmp_path, begin):
    (tmp_path / "scores.json").write_text(json.dumps({"seed": 0, "P3D": {}, "2-D twin": {}}))
    (tmp_path / "report.html").write_text("old")
    begin(tmp_path)
