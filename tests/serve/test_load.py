"""The script that puts a service under load, in a tiny case."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("serve.serving", reason="the libraries of the service are absent")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_under_load_every_answer_is_right_and_none_is_lost():
    before = {path: path.read_bytes() for path in BENCHMARKS.rglob("*.csv")}
    line = ["--clients", "4", "--seconds", "8", "--videos", "8", "--kill", "6", "--dry"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "load.py"), *line],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr  # 1 when an answer is wrong or lost
    head, row = [text for text in done.stdout.splitlines() if text.strip()][-2:]
    assert head.split()[:2] == ["variant", "clients"]
    assert row.startswith("p3d_tiny")
    assert {path: path.read_bytes() for path in BENCHMARKS.rglob("*.csv")} == before
