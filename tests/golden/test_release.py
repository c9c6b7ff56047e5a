"""The network of the authors' release, against numbers of their Caffe files run in float64."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from pseudo3d.weights import load


@pytest.fixture(scope="module")
def golden(shared, tmp_path_factory):
    """The seeded checkpoint in the published layout, its clip, and what is expected of them."""
    script = shared / "golden" / "make_checkpoint.py"
    path = tmp_path_factory.mktemp("golden") / "f.pth"
    subprocess.run([sys.executable, script, path, "--seed", "0"], check=True)
    spec = importlib.util.spec_from_file_location("make_checkpoint", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with np.load(shared / "golden" / "release_seed0.npz") as stored:
        wanted = {key: torch.from_numpy(stored[key]) for key in ("features", "logits")}
    return path, module.clip(0), wanted


def error(got, wanted):
    """Relative L2 distance."""
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


def test_published_checkpoint_gives_the_authors_numbers(golden):
    path, clip, wanted = golden
    net = load(path)
    assert (net.name, net.cfg.semantics, net.training) == ("p3d152", "release", False)
    with torch.inference_mode():
        features = net.features(clip)
        logits = net.head(features)
    assert error(features, wanted["features"]) < 1e-5
    assert error(logits, wanted["logits"]) < 1e-5


def test_the_ports_semantics_gives_other_numbers(golden):
    """The golden test can fail: the same weights, read as the port reads them, are far away."""
    path, clip, wanted = golden
    net = load(path, semantics="port")
    with torch.inference_mode():
        assert error(net(clip[:1]), wanted["logits"][:1]) > 0.1
