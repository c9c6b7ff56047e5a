"""`p3d export`: a file beside the weights, a report, and messages for what does not fit."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli import export as command
from pseudo3d.errors import Pseudo3dError

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def run():
    """The command in this process; starting a new one for every case takes seconds."""
    app = typer.Typer()
    command.add_to(app)

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


def test_the_report_names_parity_input_and_axes(run, trained, tmp_path):
    done = run(trained, "--to", "onnx", "--out", tmp_path / "net.onnx")
    assert done.exit_code == 0, done.output
    lines = dict(line.split("\t", 1) for line in done.stdout.strip().splitlines())
    assert lines["file"].startswith(str(tmp_path / "net.onnx"))
    assert lines["input"] == "frames (N * 4, 3, 16, 16), any N"
    assert "limit 1e-05" in lines["parity"]
    assert lines["axes"].startswith("4 at most")


def test_int8_is_calibrated_on_one_part_and_scored_on_the_other(run, trained, films):
    done = run(
        trained, "--to", "openvino", "--precision", "int8", "--data", films, "--calibration", 5,
        "--views", 1, "--cache", "none", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["path"] == str(trained.with_name("weights-int8.xml"))
    assert trained.with_name("weights-int8.bin").is_file()
    assert found["calibration"] == {"clips": 5, "seed": 0}
    assert found["videos"] == 12
    assert "split test" in found["protocol"]
    assert abs(found["after"]["video_hit@1"] - found["before"]["video_hit@1"]) <= 0.35


def test_what_cannot_be_is_said_before_the_weights_are_read(run, tmp_path):
    done = run(tmp_path / "no.safetensors", "--to", "openvino", "--precision", "int8")
    assert isinstance(done.exception, Pseudo3dError)
    assert "--data" in str(done.exception)
    done = run(tmp_path / "no.safetensors", "--to", "tflite")
    assert isinstance(done.exception, TypeError)
    assert "unknown export target: 'tflite'" in str(done.exception)
