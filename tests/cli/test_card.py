"""Commands leave a card of how their results were made, and `p3d card` reads it."""

import json

import pytest
from typer.testing import CliRunner

from pseudo3d.cli import card
from pseudo3d.cli.main import app
from pseudo3d.report.cards.card import read_card


@pytest.fixture(scope="module")
def cards():
    """`p3d card` in this process."""
    import typer

    ours = typer.Typer()
    ours.callback()(lambda: None)
    card.add_to(ours)
    return lambda *words: CliRunner().invoke(ours, ["card", *map(str, words)])


def test_a_training_leaves_a_card_with_its_data_seed_and_command(trained, films, cards):
    found = read_card(trained.parent)
    assert (found["task"], found["state"]) == ("train", "finished")
    assert found["seeds"] == {"seed": 0}
    assert found["data"]["items"] == 36
    assert found["command"].startswith("p3d train ")
    told = dict(line.split("\t")[:2] for line in cards(trained.parent).stdout.splitlines())
    assert told["task"] == "train"
    assert told["data"] == str(films)


def test_scores_are_kept_with_their_card(films, trained, tmp_path, monkeypatch, cards):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "v1.0"
    line = ["evaluate", trained, films, "--views", 1, "--json", "--out", out]
    done = CliRunner().invoke(app, [*map(str, line)])
    assert done.exit_code == 0, done.output
    assert json.loads((out / "scores.json").read_text())["split"] == "test"
    found = read_card(out)
    assert found["inputs"]["weights"]["sha256"]
    assert found["data"]["part"] == "test"
    differs = json.loads(cards(out, trained.parent, "--json").stdout)["differs"]
    assert differs["task"] == ["evaluate", "train"]
    assert "packages.torch" not in differs
    missing = cards(tmp_path)
    assert "wanted the folder or file of a run" in str(missing.exception)


def test_features_have_a_card_beside_them(films, trained, tmp_path):
    out = tmp_path / "pool5.npz"
    line = ["features", trained, films, "--clips", 1, "--split", "test", "--out", out]
    done = CliRunner().invoke(app, [*map(str, line)])
    assert done.exit_code == 0, done.output
    assert read_card(out)["data"]["items"] == 12


def test_packed_data_say_where_they_come_from(films, tmp_path):
    out = tmp_path / "packed"
    for _ in range(2):  # the second one finds everything done, and its card
        done = CliRunner().invoke(app, ["pack", str(films), str(out), "--size", "32"])
        assert done.exit_code == 0, done.output
    found = read_card(out)
    assert (found["task"], found["data"]["items"], len(found["earlier"])) == ("pack", 36, 1)
