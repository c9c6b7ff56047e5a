"""`p3d train` in several processes: who starts them, who speaks, what is refused."""

import os
import subprocess
import sys

import pytest

from pseudo3d.cli.common import note, say
from pseudo3d.cli.main import app
from pseudo3d.cli.spread import finished_before, one_voice, start_processes, store_of_first
from pseudo3d.data.cache import FrameStore
from pseudo3d.engine.training.distributed import Spread, World
from pseudo3d.errors import Pseudo3dError


def test_one_process_is_not_started_by_another(monkeypatch):
    assert not start_processes(Spread())
    assert not start_processes(Spread(devices=1))
    assert not start_processes(Spread(devices=2, nodes=2))  # torchrun's to start
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0" if name != "WORLD_SIZE" else "1")
    assert not start_processes(Spread(devices=2))


def test_several_machines_are_started_by_torchrun(tmp_path):
    with pytest.raises(Pseudo3dError, match=r"nodes is 2, and 1 take part.*torchrun --nnodes"):
        app(["train", str(tmp_path), "--out", str(tmp_path / "x"), "--nodes", "2"])


def speak(rank, error=None):
    with one_voice(World(rank=rank, ranks=2)):
        say(f"result of {rank}")
        note(f"note of {rank}")
        if error is not None:
            raise error


def test_process_0_alone_prints_and_errors_of_all_are_raised(capsys):
    speak(0)
    with pytest.raises(ValueError, match="bad"):
        speak(1, ValueError("bad"))
    with pytest.raises(SystemExit):
        speak(1, KeyboardInterrupt())
    assert capsys.readouterr() == ("result of 0\n", "note of 0\n")


def test_one_process_makes_its_own_store():
    made = FrameStore(resize=8)
    assert store_of_first(World(), lambda: made) is made


def test_a_restart_of_a_finished_run_has_nothing_to_do(tmp_path):
    (tmp_path / "weights.safetensors").touch()
    assert finished_before(tmp_path, World(restarts=1))
    assert not finished_before(tmp_path, World())
    (tmp_path / "last.ckpt").touch()
    assert not finished_before(tmp_path, World(restarts=1))


@pytest.mark.slow
def test_devices_starts_the_processes_and_passes_their_code_on(tmp_path):
    from pseudo3d.data.rendered.motions import render_motions
    from pseudo3d.engine.training.record import check

    render_motions(tmp_path / "films", persons=3, clips_per_class=3, size=32)
    line = [sys.executable, "-c", "from pseudo3d.cli.main import main; main()", "train"]
    line += [str(tmp_path / "films"), "--out", str(tmp_path / "run"), "--model", "p3d_nano"]
    line += ["--devices", "2", "--frames", "4", "--size", "16", "--epochs", "1", "--no-report"]
    line += ["--cache", str(tmp_path / "cache")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*more):
        return subprocess.run([*line, *more], env=env, capture_output=True, text=True, check=False)

    wrong = run("--batch", "1")
    assert wrong.returncode == 1
    assert wrong.stderr.count("error: batch is 1, which 2 processes share") >= 1
    assert "Traceback" not in wrong.stderr
    done = run("--batch", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'run' / 'weights.safetensors'}\n"
    assert done.stderr.count("training p3d_nano on 12 videos") == 1
    assert check(tmp_path / "run").whole
