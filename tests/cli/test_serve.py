"""`p3d serve`: what it refuses before it starts, and one service from its start to Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli import serve
from pseudo3d.errors import Pseudo3dError
from pseudo3d.serve.settings import Settings

for _module in ("fastapi", "uvicorn", "websockets", "python_multipart"):
    pytest.importorskip(_module, reason=f"{_module} is absent: pip install 'pseudo3d[serve]'")

START = """
import typer
from pseudo3d.cli import serve
app = typer.Typer()
serve.add_to(app)
app()
"""


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"never read")
    return path


@pytest.fixture
def asked(monkeypatch):
    """The settings a command line makes, without a service."""
    made = []
    monkeypatch.setattr(serve, "run", made.append)
    app = typer.Typer()
    serve.add_to(app)

    def ask(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return made[-1] if made else done

    return ask


def test_the_defaults_are_safe(asked, weights, monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    found = asked(weights)
    assert found == Settings(weights=weights)
    assert (found.host, found.loopback, found.token, found.insecure) == (
        "127.0.0.1", True, None, False,
    )  # fmt: skip
    assert found.limits.upload_bytes == 200 * 2**20


def test_options_reach_the_settings(asked, weights):
    found = asked(
        weights, "--port", 0, "--upload", "1.5MB", "--memory", "300MB", "--seconds", 5, "--frames",
        7, "--pixels", 9, "--decode", 3, "--timeout", 4, "--queue", 2, "--cameras", 1,
        "--decoders", 3, "--batch", 5, "--window", 1.5, "--hop", 0.5, "--precision", "bf16",
        "--runtime", "torch", "--threads", 1, "--public-host", "clips.example.org",
    )  # fmt: skip
    limits = found.limits
    assert found.public_host == "clips.example.org"
    assert (limits.upload_bytes, limits.memory) == (3 * 2**19, 300 * 2**20)
    assert (limits.seconds, limits.frames, limits.pixels, limits.decode_seconds) == (5, 7, 9, 3)
    assert (found.timeout, found.queue, found.streams, found.decoders) == (4, 2, 1, 3)
    assert (found.batch, found.window, found.hop) == (5, 1.5, 0.5)
    assert (found.precision, found.runtime, found.threads) == ("bf16", "torch", 1)


def test_the_token_comes_from_a_file_or_the_environment(asked, weights, tmp_path, monkeypatch):
    monkeypatch.setenv(serve.TOKEN, "from-the-environment")
    assert asked(weights, "--host", "0.0.0.0").token == "from-the-environment"
    kept = tmp_path / "token"
    kept.write_text("from-a-file\n")
    assert asked(weights, "--token-file", kept).token == "from-a-file"
    kept.write_text("\n")
    with pytest.raises(Pseudo3dError, match="is empty"):
        asked(weights, "--token-file", kept)
    monkeypatch.setenv(serve.TOKEN, "short")
    with pytest.raises(Pseudo3dError, match="8 characters"):
        asked(weights)


def test_what_cannot_work_is_refused_before_it_starts(asked, weights, tmp_path, monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    with pytest.raises(Pseudo3dError, match="--insecure"):
        asked(weights, "--host", "0.0.0.0")
    assert asked(weights, "--host", "0.0.0.0", "--insecure").insecure
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        asked(tmp_path / "none.safetensors")


@pytest.mark.parametrize("text", ["much", "1TBx", "", "infMB"])
def test_a_wrong_size_is_misuse(text):
    with pytest.raises(typer.BadParameter, match="200MB"):
        serve.size(text)


def test_a_taken_port_is_said(weights):
    from pseudo3d.serve.run import listen

    with listen(Settings(weights=weights, port=0)) as door:
        port = door.getsockname()[1]
        with pytest.raises(Pseudo3dError, match=f"{port} cannot be listened to"):
            listen(Settings(weights=weights, port=port))


def test_a_service_says_where_it_is_and_ends_with_ctrl_c(weights):
    line = [sys.executable, "-c", START, str(weights), "--port", "0"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address + "openapi.json", timeout=60) as answer:
                assert "/predict" in json.load(answer)["paths"]
        finally:
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
    assert "Ctrl-C" in told
    assert "Traceback" not in told
