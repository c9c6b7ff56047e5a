"""The script that kills and turns bits, in a small form; its long form fills benchmarks/results."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "faults.py"


def run(tmp_path, *words):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(SCRIPT), "--results", str(tmp_path), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=1200)
    assert done.returncode == 0, done.stderr
    tables = {p.stem: p.read_text().splitlines() for p in tmp_path.glob("*.csv")}
    return {name: list(csv.DictReader(lines)) for name, lines in tables.items()}


@pytest.mark.slow
def test_killed_commands_come_to_the_same_results(tmp_path):
    rows = run(
        tmp_path, "--kills", 8, "--flips", 0, "--only", "train", "pack", "shards", "features"
    )
    assert [(r["kills"], r["recovered"]) for r in rows["faults"]] == [("2", "2")] * 4


@pytest.mark.slow
def test_turned_bits_are_caught_or_harmless(tmp_path):
    rows = run(tmp_path, "--kills", 0, "--flips", 250)
    assert len(rows["bitflips"]) == 5
    assert {r["missed"] for r in rows["bitflips"]} == {"0"}
