"""`p3d features` and `p3d linear`: files, scores and their protocol."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli.features import add_to
from pseudo3d.data.manifest import read_manifest
from pseudo3d.errors import Pseudo3dError
from pseudo3d.features.featureset import FeatureSet

app = typer.Typer()
add_to(app)


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def made(weights, films, tmp_path_factory):
    """Features of the 36 films of three people, two layers."""
    out = tmp_path_factory.mktemp("features") / "f.npz"
    layers = ("--layer", "pool5", "--layer", "stem", "--clips", 2)
    done = run("features", weights, films, "--out", out, *layers, "--mirror", "--json")
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


def test_features_are_written_with_their_protocol(made, weights, films):
    out, told = made
    assert told["layers"] == {"pool5": 8, "stem": 4}
    assert told["videos"] == 36
    assert told["weights"] == str(weights)
    assert "2 clips per video" in told["protocol"]
    assert "mirror" in told["protocol"]
    found = FeatureSet.load(out)
    assert len(found.classes) == 12
    assert len(set(found.groups)) == 3
    again = run("features", weights, films, "--out", out, "--layer", "pool5", "--layer", "stem",
                "--clips", 2, "--mirror")  # fmt: skip
    assert "pool5\t8 numbers" in again.stdout
    with pytest.raises(Pseudo3dError, match="clips"):
        run("features", weights, films, "--out", out, "--clips", 3)


def test_a_folder_of_videos_needs_no_labels(weights, films, tmp_path):
    home = sorted(films.parent.glob("waving/*.mp4"))[0].parent
    out, windows = tmp_path / "w.npz", ("--window", 0.3, "--hop", 0.2)
    done = run("features", weights, home, "--out", out, *windows)
    assert "rows of clips" in done.stdout
    found = FeatureSet.load(out)
    assert set(found.labels) == {None}
    assert len(found.clip_video) > 2 * len(found)
    one = run("features", weights, next(home.glob("*.mp4")), "--out", tmp_path / "1.npz")
    assert "videos\t1" in one.stdout


def test_yardsticks_take_the_input_of_the_weights(weights, films, tmp_path):
    for source, size in (("pixels", 3 * 3 * 16 * 16), ("random:p3d_nano", 80)):
        out = tmp_path / f"{source[:6]}.npz"
        data = (films, "--out", out, "--clips", 1, "--input-of", weights)
        run("features", source, *data, "--group", read_manifest(films).groups[0])
        found = FeatureSet.load(out)
        assert found.layer().shape == (12, size)
        assert found.meta["preprocessing"]["frames"] == 3
    run("features", "pixels", films, "--out", tmp_path / "s.npz", "--set", "size=[8,8]", "--set",
        "resize=9", "--set", "frames=2", "--clips", 1)  # fmt: skip
    assert FeatureSet.load(tmp_path / "s.npz").layer().shape == (36, 3 * 2 * 8 * 8)


def test_linear_scores_with_interval_and_protocol(made, tmp_path):
    out = made[0]
    done = json.loads(run("linear", out, "--layer", "pool5", "--leave-out", "group",
                          "--json").stdout)  # fmt: skip
    assert done["low"] <= done["accuracy"] <= done["high"]
    assert done["videos"] == 36
    assert len(done["folds"]) == 3
    assert "leave one group out (3 folds); ssqrt, l2; linear SVM (libsvm), C 1" in done["protocol"]
    text = run("linear", out, "--layer", "pool5", "--pca", 4, "--pca", 2, "--normalize",
               "zscore", "--C", "10").stdout  # fmt: skip
    rows = [line.split("\t") for line in text.splitlines() if line.startswith("accuracy")]
    assert [row[-1] for row in rows] == ["PCA 4", "PCA 2"]
    assert "zscore, PCA to 2 fitted on the training part" in text
    found = FeatureSet.load(out)
    table = tmp_path / "idt.csv"
    table.write_text("".join(f"{p},{i},1\n" for i, p in enumerate(found.paths)))
    fused = run("linear", out, "--fuse", table, "--folds", 3, "--normalize", "none")
    assert "3 folds, groups kept whole; linear SVM" in fused.stdout
    parts = {name: found.split(name).save(tmp_path / f"{name}.npz") for name in ("train", "test")}
    other = ("--layer", "stem", "--json")
    here = json.loads(run("linear", out, *other).stdout)
    there = json.loads(run("linear", parts["train"], "--test", parts["test"], *other).stdout)
    assert here == there
    assert np.isclose(here["folds"][0]["right"] / here["videos"], here["accuracy"])


def test_ways_to_score_exclude_each_other(made):
    assert run("linear", made[0], "--folds", 3, "--leave-out", "video").exit_code == 2
    assert run("linear", made[0], "--C", "best").exit_code == 2
