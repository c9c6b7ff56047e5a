"""`p3d factorize`: a checkpoint in, a cheaper checkpoint out, with scores and a way to go on."""

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli import factorize as command
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.training import train as engine
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.weights import load, save


@pytest.fixture(scope="module")
def run():
    """The command in this process; starting a new one for every case takes seconds."""
    app = typer.Typer()
    command.add_to(app)

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture(scope="module")
def full(films, tmp_path_factory):
    """A 3-D network for the films; it has seen none of them."""
    torch.manual_seed(0)
    classes = read_manifest(films).classes
    net = create_model("r3d_tiny", num_classes=len(classes), in_channels=1, widths=(16, 16, 32, 32))
    pre = Preprocessing(frames=4, resize=16, size=(16, 16), color="gray", mean=(0.5,), std=(0.25,))
    path = tmp_path_factory.mktemp("full") / "full.safetensors"
    recipe = {"lr": 0.004, "batch": 6, "augment": {"zoom": [0.9, 1.1]}, "of_tomorrow": 1}
    save(net, path, classes=classes, preprocessing=pre, training={"recipe": recipe, "seed": 7})
    return path


def test_the_result_is_a_checkpoint_and_the_report_a_table(run, full, tmp_path):
    out = tmp_path / "small.safetensors"
    done = run(full, "--rank", 16, "--cost", "macs", "--out", out)
    assert done.exit_code == 0, done.output
    lines = done.stdout.strip().splitlines()
    assert lines[0].startswith("layer\tkernel\tchannels\tfirst\trank")
    assert lines[-1] == f"file\t{out}"
    net, before = load(out), load(full)
    assert net.cfg.ranks
    assert net.card.classes == before.card.classes
    assert net.card.preprocessing == before.card.preprocessing
    assert net.card.training["seed"] == 7
    told = net.card.training["factorized"]
    assert (told["source"], told["rank"], told["cost"]) == ("full.safetensors", 16, "macs")


def test_with_data_it_is_scored_before_after_and_fine_tuned(run, full, films, tmp_path):
    out = tmp_path / "small.safetensors"
    words = (
        full, "--speedup", 1.5, "--cost", "macs", "--data", films, "--clips", 3, "--epochs", 1,
        "--set", "ema=0", "--views", 1, "--cache", "none", "--out", out, "--json",
    )  # fmt: skip
    done = run(*words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["report"]["samples"] == 3
    before, after = found["report"]["macs"]
    assert before / after >= 1.5
    assert {"before", "after", "tuned"} <= set(found)
    assert found["videos"] == 12
    assert "split test" in found["protocol"]
    net = load(out)
    assert net.card.scores["video_hit@1"] == found["tuned"]["video_hit@1"]
    recipe = net.card.training["recipe"]
    assert (recipe["epochs"], recipe["batch"]) == (1, 6)
    assert recipe["lr"] == pytest.approx(0.00004)
    assert (recipe["ema"], recipe["augment"]["zoom"]) == (0, [0.9, 1.1])
    assert net.card.training["factorized"]["speedup"] == 1.5
    assert net.card.training["teacher"] == "full.safetensors"
    first = load(tmp_path / "small.run" / "factorized.safetensors")
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), net.parameters()))  # noqa: B905

    again = run(*words)
    assert "going on with the factorized network" in again.stderr
    assert json.loads(again.stdout)["tuned"] == found["tuned"]
    other = run(*words[:2], 1.4, *words[3:])
    assert isinstance(other.exception, Pseudo3dError)
    assert "holds a run with" in str(other.exception)


def test_an_interrupted_fine_tuning_goes_on(run, full, films, tmp_path, monkeypatch):
    out = tmp_path / "small.safetensors"
    words = (
        full, "--rank", 16, "--cost", "macs", "--data", films, "--clips", 1, "--epochs", 1,
        "--views", 1, "--cache", "none", "--out", out,
    )  # fmt: skip

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train", stop)
        assert run(*words).exit_code != 0
    assert not out.exists()

    def finish(net, parts, store, job, callbacks):
        weights = job.out / "weights.safetensors"
        save(net, weights, classes=net.card.classes, preprocessing=net.card.preprocessing)
        return weights

    monkeypatch.setattr(engine, "train", finish)
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "going on" in done.stderr
    assert out.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "got none; wanted exactly one of"),
        (("--rank", 4, "--speedup", 2), "got --speedup, --rank"),
        (("--rank", 4, "--epochs", 2), "--epochs needs --data"),
        (("--rank", 4, "--out", "net.xml"), "a name that ends in .safetensors"),
    ],
)
def test_what_cannot_be_is_said_before_the_weights_are_read(run, tmp_path, words, says):
    done = run(tmp_path / "no.safetensors", "--out", tmp_path / "out.safetensors", *words)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())


def test_a_network_without_such_convolutions_leaves_nothing_behind(run, tmp_path):
    weights, out = tmp_path / "flat.safetensors", tmp_path / "new" / "small.safetensors"
    save(create_model("p3d_unet", widths=(4, 8), depths=(1, 1), strides=((2, 2, 2),)), weights)
    done = run(weights, "--rank", 4, "--out", out)
    assert isinstance(done.exception, Pseudo3dError)
    assert "nothing to factorize in this UNet" in str(done.exception)
    assert [p.name for p in tmp_path.rglob("*")] == ["flat.safetensors"]


@pytest.mark.parametrize("name", ["p3d_light_s", "p3d_unet_full"])
def test_light_networks_and_full_u_nets_are_written_too(run, name, tmp_path):
    size = {"widths": (8, 8), "depths": (1, 1), "strides": ((2, 2, 2),)}
    net = create_model(name, num_classes=2, **(size if "unet" in name else {}))
    pre = Preprocessing(frames=4, resize=16, size=(16, 16), mean=(0.5,) * 3, std=(1,) * 3)
    weights, out = tmp_path / "full.safetensors", tmp_path / "small.safetensors"
    save(net, weights, preprocessing=pre if "light" in name else None)
    done = run(weights, "--rank", 4, "--cost", "macs", "--out", out)
    assert done.exit_code == 0, done.output
    assert load(out).cfg.ranks
