"""A small data set and a network trained on it, made once through the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.rendered.motions import render_motions
from pseudo3d.models import create_model
from pseudo3d.weights import save

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny network with two classes, untrained."""
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2)
    pre = Preprocessing(frames=3, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save(net, path, classes=("a", "b"), preprocessing=pre)
    return path


@pytest.fixture(scope="session")
def p3d(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the command as a user does, with a cache of its own."""
    cache = tmp_path_factory.mktemp("cache")
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    command = Path(sys.executable).with_name("p3d")

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        line = [str(command), *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, env=env, timeout=300)

    return run


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve classes, three videos each, of three people: a manifest with splits."""
    folder = tmp_path_factory.mktemp("films")
    return render_motions(folder, persons=3, clips_per_class=3, size=32)


@pytest.fixture(scope="session")
def trained(p3d: Run, films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that has seen the films for a moment."""
    out = tmp_path_factory.mktemp("run") / "run"
    done = p3d(
        "train", films, "--model", "p3d_nano", "--frames", 4, "--size", 16, "--epochs", 1,
        "--out", out, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "weights.safetensors")
    return out / "weights.safetensors"
