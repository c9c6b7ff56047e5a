"""`p3d export --stream`: a file with its state as inputs and outputs, and what is refused."""

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d import create_model, save
from pseudo3d.cli import export as command
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError
from pseudo3d.runtime.streaming.exported import ExportedStream

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run():
    app = typer.Typer()
    command.add_to(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    torch.manual_seed(0)
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    net = create_model("p3d_nano", widths=(4, 6, 8, 8), stem_width=4, num_classes=3, causal=True)
    path = tmp_path_factory.mktemp("net") / "weights.safetensors"
    save(net, path, classes=("a", "b", "c"), preprocessing=pre)
    return path


def test_the_report_names_chunk_state_and_parity(run, causal):
    done = run(causal, "--to", "onnx", "--stream", "--frames", 4, "--memory", 8)
    assert done.exit_code == 0, done.output
    lines = dict(line.split("\t", 1) for line in done.stdout.strip().splitlines())
    path = causal.with_name("weights-stream.onnx")
    assert lines["file"].startswith(str(path))
    assert lines["input"].startswith("4 frames of 3 x 16 x 16 at a time")
    assert lines["decides"] == "from the last 8 frames"
    assert "limit 1e-05" in lines["parity"]
    assert lines["axes"].startswith("4 at most")
    assert ExportedStream(path).spec.memory == 8


def test_json_says_the_same(run, causal, tmp_path):
    pytest.importorskip("openvino")
    out = tmp_path / "s.xml"
    done = run(causal, "--to", "openvino", "--stream", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["input"], found["chunk"], found["period"]) == ("stream", [2, 3, 16, 16], 2)
    assert found["state_bytes"] > 0


def test_what_does_not_go_together_is_refused(run, causal, trained):
    assert "needs --stream" in run(causal, "--to", "onnx", "--memory", 8).output
    assert "leave it out" in run(causal, "--to", "onnx", "--stream", "--data", causal).output
    done = run(causal, "--to", "openvino", "--stream", "--precision", "int8")
    assert isinstance(done.exception, Pseudo3dError)
    done = run(trained, "--to", "onnx", "--stream")
    assert isinstance(done.exception, Pseudo3dError)
    assert "looks" in str(done.exception)
    assert "--net causal=true" in str(done.exception)
