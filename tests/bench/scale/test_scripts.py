"""The scripts behind docs/scale.md: tables of the latest rows, stages in a small case."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pseudo3d.models import list_models

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def benchmarks(tmp_path):
    """Copies of the scripts, with results of their own."""
    home = tmp_path / "benchmarks"
    shutil.copytree(ROOT / "benchmarks", home, ignore=shutil.ignore_patterns("results", "__py*"))
    (home / "results").mkdir()
    return home


def run(script, *words):
    line = [sys.executable, str(script), *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(path, **columns):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def test_the_page_takes_the_latest_row_of_each_kind(benchmarks, tmp_path):
    results = benchmarks / "results"
    write(results / "scale.csv", variant=["batch"], model=["p3d50"], precision=["bf16"],
          size=[160], what=["80 videos"], measured_s=[10], predicted_s=[11], error=[0.1],
          measured_cpu_s=[20], predicted_cpu_s=[19], error_cpu=[-0.05])  # fmt: skip
    kinds = ["64 pixels", "64 pixels", "96 pixels", "p3d50, 16 x 96 x 96", "written"]
    write(results / "scale_stages.csv", stage=["index", "index", "index", "network", "partition"],
          what=kinds, value=[1.5, 2.5, 3.5, 4.5, 5500], unit=["ms"] * 5,
          processes=[1] * 5)  # fmt: skip
    write(results / "scale_plans.csv", variant=["predict"], model=["p3d50"],
          machine_kind=["cores"], nodes=[3], hours=[1.5], hours_at_best=[1.4], node_hours=[4.5],
          money=[1234], limit=["cores"], saturates_at=[16], saturates_by=["storage"])  # fmt: skip
    page = tmp_path / "scale.md"
    shutil.copy(ROOT / "docs" / "scale.md", page)
    for _ in range(2):  # the second time in place of the first
        run(benchmarks / "scale_doc.py", "--doc", page)
        text = page.read_text()
        row = "| batch: p3d50, bf16, 160 pixels; 80 videos | 10 | 11 | +10.0% | 20 | 19 | -5.0% |"
        assert text.count(row) == 1
        assert text.count("| decoding | 64 pixels | 96 pixels |") == 1
        assert text.count("| index | 2.5 ms | 3.5 ms |") == 1
        assert text.count("| network | 4.5 ms |") == 1
        assert text.count("| partition | written | 5,500 ms |") == 1
        assert "1.5 ms" not in text
        assert text.count("| 1,234 | cores | 16 nodes: storage |") == 1


@pytest.mark.parametrize("script", ["scale_stages", "scale_plans"])
def test_scripts_name_networks_that_exist(script):
    text = (ROOT / "benchmarks" / f"{script}.py").read_text()
    named = set(re.findall(r'"(p3d\w*)"', text))
    assert named
    assert named <= set(list_models())


@pytest.mark.slow
def test_stages_are_measured_and_kept(benchmarks):
    shown = run(benchmarks / "scale_stages.py", "--seconds", 0, "--videos", 2, "--models",
                "p3d_tiny", "--precisions", "bf16")  # fmt: skip
    assert "train: network: p3d_tiny, bf16, 16 x 64 x 64" in shown
    with (benchmarks / "results" / "scale_stages.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 + 2 + 5 + 2 + 3 + 3 + 6
    assert all(float(row["value"]) > 0 for row in rows)
