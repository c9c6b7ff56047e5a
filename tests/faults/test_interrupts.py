"""Ctrl-C, once and twice, on real processes: exit code 130, a sentence, and the work goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pseudo3d.data.manifest import read_manifest

P3D = Path(sys.executable).with_name("p3d")
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


@pytest.fixture
def long_films(films, tmp_path):
    """The six videos, twenty times: work for many seconds."""
    rows = ["path,label,split,start,end"]
    for i in range(120):
        item = read_manifest(films).items[i % 6]
        rows.append(f"{item.path},{item.label},{item.split},{i / 1000:.3f},1.9")
    (tmp_path / "long.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "long.csv"


def interrupt(words, begun, presses):
    """Press Ctrl-C once `begun()` is true; gives exit code, output, and seconds from then on."""
    line = [str(P3D), *map(str, words)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=ENV) as process:
        try:
            limit = time.monotonic() + 120
            while not begun():
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < limit
                time.sleep(0.02)
            for _ in range(presses):
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)
            told = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    return process.returncode, told


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 3])
@pytest.mark.parametrize("what", ["pack", "shards", "features", "train"])
def test_ctrl_c_ends_a_command_and_leaves_nothing_half(
    what, presses, long_films, weights, tmp_path
):
    out = tmp_path / "out"
    table = tmp_path / "out.npz"
    words, seen = {
        "pack": (["pack", long_films, out, "--size", 40, "--transcode"], "out/*/*.mp4"),
        "shards": (
            ["pack", long_films, out, "--size", 40, "--shard-size", "30K", "--workers", 1],
            "out/*.tar",
        ),
        "features": (["features", weights, long_films, "--out", table], ".out.npz.parts/*.npz"),
        "train": (
            ["train", long_films, "--out", out, "--model", "p3d_nano", "--epochs", 50, "--frames",
             4, "--size", 16, "--cache", "none", "--workers", 1],
            "out/metrics.csv",
        ),
    }[what]  # fmt: skip
    code, told = interrupt(words, lambda: any(tmp_path.glob(seen)), presses)
    assert code == 130, told
    assert "Traceback" not in told
    assert "interrupted; what was finished is kept" in told
    assert [p for p in tmp_path.rglob(".*") if p.name != ".out.npz.parts"] == []
