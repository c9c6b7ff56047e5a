"""`p3d protocol`, through a command line of its own."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli import protocol
from pseudo3d.data.manifest import read_manifest
from pseudo3d.errors import ManifestError
from pseudo3d.protocols import get, names
from pseudo3d.protocols.miniature import CLASSES


@pytest.fixture(scope="module")
def p3d():
    """Runs `p3d protocol ...` and gives what it prints."""
    app = typer.Typer()
    protocol.add_to(app)
    app.command("other")(lambda: None)

    def run(*words):
        done = CliRunner().invoke(app, ["protocol", *map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_list_and_describe(p3d):
    assert [line.split("\t")[0] for line in p3d("list").splitlines()] == names()
    assert json.loads(p3d("list", "--json"))["aslan"] == get("aslan").title
    text = p3d("describe", "ucf101", "--set", "task=end_to_end", "--set", "splits=[1]")
    assert text.strip() == get("ucf101", task="end_to_end", splits=(1,)).describe().strip()
    assert "P3D-152 (Sports-1M), pool5 + linear SVM: 88.6 %" in text


def test_run_prints_the_score_with_its_protocol(p3d, mini, weights, tmp_path):
    root, path = mini("ucf101"), weights(*CLASSES)
    words = ("run", "ucf101", "--root", root, "--weights", path, "--set", "clips=1")
    score = get("ucf101", clips=1).run(root, path, partial=True)
    plain = json.loads(p3d(*words, "--partial", "--json", "--keep", tmp_path))
    assert plain == json.loads(json.dumps(score.to_dict()))
    assert (tmp_path / "ucf101-rgb.npz").exists()
    lines = p3d(*words, "--partial").splitlines()
    assert lines == [line for text in score.lines() for line in text.splitlines()]
    assert lines[0] == f"video_hit@1\t{score.figures['video_hit@1']:.1%}"
    assert any(line.startswith("deviation\tclips is 1, the paper's is 20") for line in lines)
    with pytest.raises(ManifestError, match="--partial"):
        p3d(*words)


def test_yardsticks_and_miniatures(p3d, tmp_path):
    p3d("miniature", "folds", "--out", tmp_path)
    out = p3d(
        "run",
        "folds",
        "--root",
        tmp_path,
        "--weights",
        "pixels",
        "--set",
        "layer=pixels",
        "--set",
        "clips=1",
        "--json",
    )
    assert json.loads(out)["counts"]["videos"] == 18


def test_a_split_becomes_a_manifest_to_train_on(p3d, mini, tmp_path):
    out, root = tmp_path / "one.csv", mini("ucf101")
    words = ("manifest", "ucf101", "--root", root, "--out", out, "--partial")
    p3d(*words, "--split", 2)
    found = read_manifest(out)
    assert found.classes == CLASSES
    assert (len(found.split("train").items), len(found.split("test").items)) == (12, 6)
    assert {item.group[-3:] for item in found.split("test").items} == {"g02"}
    with pytest.raises(ValueError, match=r"unknown split: 'None'\. Known: 1, 2, 3"):
        p3d(*words)
