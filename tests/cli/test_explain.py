"""`p3d timecheck`, `map`, `neighbors`, `imagine` on small files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli import explain
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import probe
from pseudo3d.data.writer import write_video
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.models import create_model
from pseudo3d.weights import save

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Eight videos, a network with random weights, and features."""
    home, rows = tmp_path_factory.mktemp("explain"), ["path,label,group,split"]
    for i in range(8):
        noise = torch.randint(0, 256, (3, 6, 18, 18), dtype=torch.uint8)
        write_video(home / f"{i}.mp4", noise, fps=10)
        rows.append(f"{i}.mp4,{'ab'[i % 2]},g{i // 4},{('train', 'test')[i // 4]}")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2)
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    save(net, home / "net.safetensors", classes=("a", "b"), preprocessing=pre)
    items = read_manifest(home / "manifest.csv").items
    FeatureSet(
        layers={"pool5": np.random.default_rng(0).normal(size=(8, 5))},
        paths=tuple(item.path.name for item in items),
        labels=tuple(item.label for item in items),
        groups=tuple(item.group for item in items),
        splits=tuple(item.split for item in items),
    ).save(home / "f.npz")
    return home


@pytest.fixture(scope="module")
def run():
    """Run a command and return its result; what it raises is raised."""
    app = typer.Typer()
    explain.add_to(app)

    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    return call


def test_timecheck_prints_verdict_table_and_protocol(run, home):
    words = ("timecheck", home / "net.safetensors", home / "manifest.csv", "--cache", "none")
    picture = home / "time.png"
    text = run(*words, "--views", 2, "--out", picture).stdout.splitlines()
    assert text[0].startswith(("not decided: ", "uses order", "does not use order"))
    assert {line.split("\t")[0] for line in text} >= {"in order", "reversed", "2x speed"}
    assert text[-1].startswith("protocol\tsplit test, 4 videos, 2 views")
    assert picture.read_bytes().startswith(PNG)
    found = json.loads(run(*words, "--group", "g0", "--shuffles", 2, "--json").stdout)
    assert "groups g0" in found["protocol"]
    assert "2 shuffles" in found["protocol"]
    assert set(found["conditions"]) >= {"in order", "shuffled", "reversed", "frozen"}


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_map_draws_a_feature_file(run, home, method):
    out = home / f"{method}.png"
    done = run("map", home / "f.npz", "--method", method, "--out", out, "--color", "split")
    assert done.stdout.strip() == str(out)
    assert out.read_bytes().startswith(PNG)


def test_what_no_video_has_gives_no_color(run, home, tmp_path):
    bare = replace(FeatureSet.load(home / "f.npz"), groups=(None,) * 8).save(tmp_path / "f.npz")
    app = typer.Typer()
    explain.add_to(app)
    words = ["map", str(bare), "--color", "group", "--out", str(tmp_path / "m.png")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "no video has a group" in done.stderr


def test_neighbors_draws_a_sheet_and_tells_the_share(run, home):
    words = ("neighbors", home / "f.npz", "--out", home / "n.png", "--root", home, "-k", 3)
    assert run(*words).stdout.startswith("same_label@1\t")
    assert (home / "n.png").read_bytes().startswith(PNG)
    found = json.loads(run(*words, "--query", "5.mp4", "--other-groups", "--json").stdout)
    assert list(found["neighbors"]) == ["5.mp4"]
    assert set(found["neighbors"]["5.mp4"]) <= {f"{i}.mp4" for i in range(4)}
    assert 0 <= found["same_label@1"] <= 1


def test_imagine_writes_a_video_and_its_frames(run, home):
    out, frames = home / "a.mp4", home / "a.png"
    done = run(
        "imagine", home / "net.safetensors", "--class", "a", "--out", out, "--sheet", frames,
        "--steps", 4, "--json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["class"] == "a"
    assert 0 <= found["probability"] <= 1
    info = probe(out)
    assert (info.declared_frames, min(info.width, info.height)) == (4, 256)
    assert frames.read_bytes().startswith(PNG)
