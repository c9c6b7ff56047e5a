"""The page of a training run."""

import pytest

from pseudo3d.data.cache import FrameStore
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.train import train
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.run_report import run_report
from pseudo3d.models import create_model

SHAPE = {"resize": 18, "size": (16, 16), "sampling": "uniform"}


@pytest.fixture
def run(films, tmp_path):
    def make(frames=4, **parts):
        torch_net = create_model("p3d_nano", widths=(4, 4, 8, 8), stem_width=4, num_classes=2)
        store = FrameStore(resize=18, gray=False, folder=tmp_path / "frames")
        recipe = Recipe(epochs=2, batch=4, precision="fp32", input={**SHAPE, "frames": frames})
        job = Job(recipe=recipe, out=tmp_path / "run")
        listed = Parts(train=films.split("train"), **parts)
        train(torch_net, listed, store, job)
        return tmp_path / "run"

    return make


def test_the_page_shows_training_scores_and_the_use_of_time(run, films):
    home, stages = run(held=films.split("test")), []

    def progress(stage):
        stages.append(stage)
        return lambda done, total: None

    page = run_report(home, views=2, progress=progress).read_text()
    assert stages == ["evaluating", "other orders of frames"]
    for text in (
        "p3d_nano: 2 classes", "8 test, 16 train", "8 of 4 clips", "How it went",
        "Protocol: split test, 8 videos, 2 views", "Does it use time?", "3 shuffles",
    ):  # fmt: skip
        assert text in page
    assert "among the first five" not in page  # of two classes
    assert page.count("data:image/png;base64,") == 3
    assert {p.name for p in home.glob("*.png")} == {
        "curves.png", "confusion.png", "timecheck.png",
    }  # fmt: skip


def test_without_a_part_to_score_on_the_training_is_shown(run):
    page = run_report(run()).read_text()
    assert "How it went" in page
    assert "Protocol" not in page


def test_a_network_of_single_frames_has_no_order_to_check(run, films):
    page = run_report(run(frames=1, held=films.split("test")), views=1).read_text()
    assert "Protocol" in page
    assert "Does it use time?" not in page


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(Pseudo3dError, match=r"not the folder of a finished run; wanted weights"):
        run_report(tmp_path)
