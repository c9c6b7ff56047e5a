"""`p3d study` and `p3d report` on small videos."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli import report, study, train
from pseudo3d.errors import Pseudo3dError

SMALL = ("--frames", 2, "--size", 16, "--epochs", 1, "--threads", 1)


@pytest.fixture(scope="module")
def run():
    """Run a command and return its result; what it raises is raised."""
    app = typer.Typer()
    for module in (train, report, study):
        module.add_to(app)

    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    return call


def test_study_prints_the_table_and_what_it_finds(run, films, tmp_path):
    words = ("study", films, "--out", tmp_path / "study", "--cache", tmp_path / "frames",
             "--models", "p3d_nano", "--models", "resnet_nano", "--seeds", 1, *SMALL)  # fmt: skip
    lines = run(*words, "--picture", tmp_path / "s.png").stdout.splitlines()
    assert lines[0].split("\t")[:3] == ["network", "parameters", "MB"]
    assert [line.split("\t")[0] for line in lines[1:3]] == ["p3d_nano", "resnet_nano"]
    assert (tmp_path / "s.png").exists()
    again = run(*words, "--json")
    assert "trained in" not in again.stderr
    found = json.loads(again.stdout)
    assert [row["title"] for row in found["rows"]] == ["p3d_nano", "resnet_nano"]
    assert found["plan"]["videos"]["test"] > 0


def test_a_misspelled_network_is_refused_before_any_is_trained(films, tmp_path):
    words = ("study", films, "--out", tmp_path / "s", "--models", "p3d_nano", "--models", "p3d_nno")
    app = typer.Typer()
    study.add_to(app)
    app.callback()(lambda: None)
    with pytest.raises(Pseudo3dError, match="unknown model: 'p3d_nno'"):
        CliRunner().invoke(app, [str(word) for word in (*words, *SMALL)], catch_exceptions=False)
    assert not (tmp_path / "s").exists()


def test_report_is_written_by_train_and_again(run, films, tmp_path):
    out, cache = tmp_path / "run", ("--cache", tmp_path / "frames")
    run("train", films, "--out", out, "--model", "p3d_nano", *SMALL, *cache)
    page = out / "report.html"
    assert "Does it use time?" in page.read_text()
    page.unlink()
    assert run("report", out, "--views", 1, *cache).stdout.strip() == str(page)
    assert page.exists()
    other = tmp_path / "other"
    run("train", films, "--out", other, "--model", "p3d_nano", *SMALL, *cache, "--no-report")
    assert not (other / "report.html").exists()
