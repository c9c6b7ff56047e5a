"""Each script of benchmarks/ runs through in a tiny case and keeps nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
QUICK = "--threads 1 --rounds 3 --seconds 1 --limit-seconds 0.1 --dry"
CLIP = "--frames 4 --size 32"
GPU = f"--model p3d_nano {CLIP} --train-size 32 --width 8 --batch 1 --train-batch 2"


def run(script, options):
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(BENCHMARKS / script), *QUICK.split(), *options.split()]
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "variants"),
    [
        ("inference.py", f"--model p3d_nano {CLIP}", ("plain", "eager", "fp32", "bf16")),
        ("peers.py", f"{CLIP} --width 8", ("P3D-50, ours fp32", "R3D-18, plain bf16")),
        ("training.py", "--only p3d_tiny --batch 2 --size 32", ("plain fp32", "ours bf16")),
        ("shapes.py", "--models p3d_nano --frames 4 --sizes 32", ("p3d_nano port",)),
        ("startup.py", f"--model p3d_nano {CLIP} --rounds 1", ("eager", "optimized bf16")),
        ("gpu.py", f"--device cpu {GPU}", ("ours bf16", "R3D-18 tf32")),
    ],
)
def test_script_runs_through_and_keeps_nothing(script, options, variants):
    before = sorted(BENCHMARKS.rglob("*.csv")), [p.read_bytes() for p in BENCHMARKS.rglob("*.csv")]
    lines = run(script, options).splitlines()
    for variant in variants:
        assert any(line.startswith(variant) and "skipped" not in line for line in lines), variant
    after = sorted(BENCHMARKS.rglob("*.csv")), [p.read_bytes() for p in BENCHMARKS.rglob("*.csv")]
    assert after == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_script_says_so_and_ends_well():
    assert run("gpu.py", "").startswith("skipped: ")


@pytest.mark.gpu
def test_gpu_variants_run_and_compute_the_same():
    rows = run("gpu.py", GPU).splitlines()
    for way in ("plain fp32 ", "ours tf32", "ours bf16, channels_last_3d, graph"):
        assert any(row.startswith(way) and "skipped" not in row for row in rows), way
