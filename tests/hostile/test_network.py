"""Nothing goes to the network unless it is asked to by name.

The whole suite runs without a way out (see `_no_network` in conftest.py), every command of `p3d`
among it; here the plain ones run without even a way to this machine.
"""

import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from hostile.network import alone, is_here
from hostile.targets import _film
from pseudo3d.cli.main import main
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.models import create_model
from pseudo3d.weights import save


def test_the_guard_of_this_suite_holds():
    for host in ("example.org", "192.0.2.1", "2001:db8::1"):
        assert not is_here(host)
        with pytest.raises(pytest.fail.Exception, match="the network was asked for"):
            socket.create_connection((host, 80), timeout=0.1)
        with pytest.raises(pytest.fail.Exception), socket.socket() as sock:
            sock.connect_ex((host, 80))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address):
            pass
        with alone(loopback=False), pytest.raises(pytest.fail.Exception):
            socket.create_connection(address)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Weights and labeled videos."""
    root = tmp_path_factory.mktemp("network")
    net = create_model("p3d_nano", num_classes=2, widths=(4, 4, 4, 4), stem_width=4)
    pre = Preprocessing(frames=4, resize=24, size=(24, 24), mean=(0.4,) * 3, std=(0.3,) * 3)
    torch.manual_seed(0)
    save(net, root / "w.safetensors", classes=("a", "b"), preprocessing=pre)
    film = _film(root)
    for label in "ab":
        for i in range(2):
            path = root / "data" / label / f"{i}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(film.read_bytes())
    return root


@pytest.mark.parametrize("library", ["openvino", "nncf"])
def test_libraries_do_not_tell_their_makers_what_they_are_used_for(library):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    code = (
        f"from pseudo3d.errors import require; require({library!r}, 'export'); import sys; "
        "assert sys.modules['openvino_telemetry'] is None; "
        "from openvino.tools.ovc import convert_impl; assert 'stub' in convert_impl.tm.__name__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


COMMANDS = (
    "models p3d_nano",
    "scan {0}/data",
    "weights list",
    "weights check {0}/w.safetensors",
    "predict {0}/w.safetensors {0}/data/a/0.mp4",
    "evaluate {0}/w.safetensors {0}/data --split all",
    "features {0}/w.safetensors {0}/data --out {0}/f.npz",
    "pack {0}/data {0}/packed",
    "protocol list",
)


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.split()[0])
def test_commands_ask_nobody(line, place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["p3d", *line.format(place).split()])
    monkeypatch.setattr("pseudo3d.cli.main.fail", told)
    with alone(loopback=False), pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None), capsys.readouterr().err


def told(message, code):
    """What a command ends with, as the cause of a failure here."""
    raise AssertionError(message)
