"""Stages measured in a small case, and what a process says that could not."""

import json
from multiprocessing import Pipe
from threading import Barrier

import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.bench.scale import samples
from pseudo3d.bench.scale.stages import (
    Predicting,
    Training,
    Trial,
    _answer,
    _work,
    costs_of,
    sample,
)
from pseudo3d.cli import plan
from pseudo3d.errors import Pseudo3dError

SMALL = {"model": "p3d_nano", "frames": 4, "resize": 36, "size": 32, "clips": 2, "seconds": 0.0}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return samples.render(tmp_path_factory.mktemp("videos"), count=2, side=64)


@pytest.fixture
def run():
    """Runs the command."""
    app = typer.Typer()
    plan.add_to(app)
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


def rounds(stages, count=4):
    for number in range(count):
        stages.round(number)
    return {**stages.times, "start": [2.0]}


def test_a_video_and_a_step_are_measured(videos, tmp_path):
    trial = Trial(task="predict", videos=sample(videos), **SMALL)
    stages = rounds(Predicting(trial))
    costs = costs_of(trial, [stages, stages])
    assert costs.decode > 0 < costs.network
    wall = costs_of(trial, [{**stages, "wall decode": [7.0]}], "wall")
    assert (wall.decode, wall.start) == (7.0, 2.0)
    assert (costs.start, costs.gradient, costs.save) == (2.0, 0.0, 0.0)
    assert costs.size == sum(p.stat().st_size for p in videos.rglob("*.mp4")) / 2
    trial = Trial(task="train", videos=sample(videos), precision="bf16", **SMALL)
    stages = Training(trial, tmp_path)
    times = rounds(stages)
    costs = costs_of(trial, [times])
    assert len(times["decode"]) == 2 * len(times["network"])
    assert costs.network == pytest.approx(sum(times["network"]) / 8)
    assert costs.gradient == 4 * sum(p.numel() for p in stages.net.parameters())
    assert costs.save > 0 < costs.block
    assert all(p.grad is None for p in stages.net.parameters())


def test_the_command_measures_once_and_reads_that_again(videos, run, tmp_path):
    file = tmp_path / "stages.json"
    words = ("predict", "--videos", "1e6", "--data", videos, "--stages", file, "--model",
             "p3d_nano", "--frames", 4, "--size", 32, "--clips", 2, "--processes", 1,
             "--seconds", 0)  # fmt: skip
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "measuring in 1 processes" in done.stderr
    written = json.loads(file.read_text())
    assert written["costs"]["decode"] > 0 < written["costs"]["start"]
    again = run(*words, "--json")
    assert "measuring" not in again.stderr
    assert json.loads(again.stdout)["job"]["costs"] == written["costs"]
    other = run(*words, "--precision", "bf16")
    assert isinstance(other.exception, Pseudo3dError)
    assert "was measured with precision 'fp32'" in str(other.exception)


def test_a_process_that_fails_says_why(videos, tmp_path):
    ours, theirs = Pipe(duplex=False)
    trial = Trial(task="predict", videos=sample(videos), **{**SMALL, "model": "p3d_nan"})
    _work(trial, tmp_path, Barrier(2), theirs)
    with pytest.raises(Pseudo3dError, match="could not be measured: Pseudo3dError: unknown model"):
        _answer(ours)
    theirs.close()
    with pytest.raises(Pseudo3dError, match="a process died"):
        _answer(ours)
    ours.close()


KNOWN = ("--cost", "network=0.2", "--cost", "decode=0.05", "--cost", "size=3e5")


def test_a_plan_from_figures_alone(run, tmp_path):
    done = run("predict", "--videos", "1e6", *KNOWN, "--hours", 0.5, "--set", "price=2.5", "--out",
               tmp_path / "plan.png")  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = dict(line.split("\t")[:2] for line in done.stdout.splitlines() if line)
    assert float(rows["hours"]) <= 0.5
    assert rows["limited by"] == "cores"
    assert float(rows["price"]) == pytest.approx(2.5 * float(rows["node hours"]), rel=0.01)
    assert (tmp_path / "plan.png").stat().st_size > 10_000


def test_a_plan_of_training_as_json(run):
    done = run("train", "--videos", "1e4", "--epochs", 3, "--batch", 64, *KNOWN, "--cost",
               "gradient=1e8", "--nodes", 2, "--set", "cores=8", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["task"], found["job"]["clips"], found["limit"]) == ("train", 3e4, "steps")
    assert found["hours"] == pytest.approx(found["hours_at_best"], rel=0.05)
    assert "lifetime" not in found["cluster"]


def test_figures_that_cannot_be_used(run, tmp_path):
    assert run("predict", "--videos", 10, "--nodes", 1, "--hours", 1).exit_code == 2
    wrong = run("predict", "--videos", 10, *KNOWN, "--set", "core=3")
    assert "Did you mean cores" in str(wrong.exception)
    file = tmp_path / "stages.json"
    file.write_text("[]")
    assert "holds no measured costs" in str(
        run("predict", "--videos", 10, "--stages", file).exception
    )
