"""`p3d bench` in a small case: a table, JSON, a picture; what it refuses."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.bench import machine
from pseudo3d.bench.ways import enliven
from pseudo3d.cli import bench
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.weights import save

SMALL = (
    "--model", "p3d_nano", "--net", "num_classes=5", "--frames", "4", "--size", "24",
    "--seconds", "0", "--threads", "1", "--precision", "bf16",
)  # fmt: skip


@pytest.fixture
def run(small_limits, monkeypatch):
    """Runs the command with the ways of torch alone."""
    from pseudo3d.bench import ways

    for name in list(ways.WAYS):
        if name.startswith(("onnx", "openvino")):
            monkeypatch.delitem(ways.WAYS, name)
    app = typer.Typer()
    bench.add_to(app)
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


def test_table_and_picture(run, tmp_path):
    done = run(*SMALL, "--out", tmp_path / "bench.png")
    assert done.exit_code == 0, done.output
    limits, rows = done.stdout.strip().split("\n\n")
    assert [line.split("\t")[0] for line in limits.splitlines()] == ["limit", "fp32", "bf16"]
    names = [line.split("\t")[0] for line in rows.splitlines()]
    assert names == ["variant", "plain PyTorch, eager", "pseudo3d, optimized bf16"]
    assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_json_for_weights(run, tmp_path):
    file = tmp_path / "net.safetensors"
    save(enliven(create_model("p3d_nano", num_classes=5)), file)
    done = run(*SMALL[4:], "--model", file, "--batch", 2, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["model"], found["shape"]) == ("p3d_nano", [2, 3, 4, 24, 24])
    assert [row["name"] for row in found["rows"]] == ["plain", "bf16"]
    assert "torch" in found["machine"]


def test_what_it_refuses(run, tmp_path):
    wrong = run(*SMALL, "--precision", "fp8")
    assert wrong.exit_code == 2
    assert "unknown precision" in wrong.output
    both = run("--model", tmp_path / "x.safetensors", "--net", "a=1")
    assert both.exit_code == 2
    assert isinstance(run("--model", "p3d_nan").exception, Pseudo3dError)


def test_what_a_figure_was_measured_on():
    assert "cores" in machine.machine()
    assert machine.versions("torch", "no-such-package").startswith("torch ")
    assert "," not in machine.versions("torch", "no-such-package")
