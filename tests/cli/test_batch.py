"""`p3d batch`: tables, summary, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli.batch import add_to
from pseudo3d.errors import Pseudo3dError

app = typer.Typer()
add_to(app)
ALONE = "import typer; from pseudo3d.cli.batch import add_to; a = typer.Typer(); add_to(a); a()"


def run(*words):
    done = CliRunner().invoke(app, ["batch", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_one_process_after_another_gives_one_table_each(weights, films, tmp_path):
    out = tmp_path / "out"
    home = sorted(films.parent.glob("waving/*.mp4"))[0].parent
    (tmp_path / "list.txt").write_text("\n".join([*map(str, home.glob("*.mp4")), "gone.mp4"]))
    words = (tmp_path / "list.txt", "--weights", weights, "--out", out, "--workers", 1)
    done = run("predict", *words, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["rows"], told["good"], told["bad"]) == (4, 3, 1)
    assert told["table"] == f"{out}/predictions"
    assert pq.read_table(told["table"]).num_rows == 3
    again = run("predict", *words, "--retry")
    assert "4, each has one row; 1 of them in quarantine" in again.stdout
    assert "for 1 videos" in again.stdout
    with pytest.raises(Pseudo3dError, match="holds a run with timeline False"):
        run("predict", *words, "--timeline")
    with pytest.raises(Pseudo3dError, match="holds a run with task 'predict'"):
        run("segments", *words, "--rule", "threshold=0.3")
    with pytest.raises(Pseudo3dError, match="rule for segments"):
        run("segments", *words, "--rule", "treshold=0.3")


def test_help_and_missing_options_are_told():
    assert "quarantine" in run("features", "--help").stdout
    assert run("predict", "x.mp4").exit_code == 2


@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_was(weights, films, tmp_path):
    words = ["features", films.parent, "--weights", weights, "--workers", "2", "--partition", "2"]
    line = [sys.executable, "-c", ALONE, "batch", *map(str, words), "--out"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "killed"
    process = subprocess.Popen([*line, str(out)], env=env)
    try:
        while len(list(out.glob("done/part-*.json"))) < 3 and process.poll() is None:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(out.glob("done/part-*.json"))) < 18
    for place in (out, tmp_path / "whole"):
        subprocess.run([*line, str(place)], env=env, check=True)
    tables = [
        {p.name: p.read_bytes() for p in sorted(place.glob("features/*"))}
        for place in (out, tmp_path / "whole")
    ]
    assert len(tables[0]) == 18
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_ray_gives_the_same_tables_and_opens_no_port_to_others(weights, films, tmp_path):
    words = [films.parent, "--weights", weights, "--workers", 2, "--partition", 6]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", ALONE, "batch", "predict", *map(str, words), "--json"]
    ray = [*line, "--out", str(tmp_path / "ray"), "--engine", "ray", "--address", "local"]
    process = subprocess.Popen(ray, env=env, stdout=subprocess.PIPE, start_new_session=True)
    try:
        while not list(tmp_path.glob("ray/done/part-*")) and process.poll() is None:
            time.sleep(0.1)
        heard = listening(process.pid)
        told = json.loads(process.communicate(timeout=300)[0])
    finally:
        process.kill()
        process.wait()
    assert (told["rows"], told["good"]) == (36, 36)
    assert heard
    assert all(address.endswith(("0100007F", "01000000")) for address in heard)  # 127.0.0.1, ::1
    assert run("predict", *words, "--out", tmp_path / "local").exit_code == 0
    for path in (tmp_path / "ray" / "predictions").iterdir():
        assert path.read_bytes() == (tmp_path / "local" / "predictions" / path.name).read_bytes()


def listening(leader):
    """Addresses at which a process and those it has started wait for connections."""
    parents, inodes = {}, set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    ours = {leader}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    for pid in ours:
        with suppress(OSError):
            inodes |= {str(fd.readlink())[8:-1] for fd in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes]
