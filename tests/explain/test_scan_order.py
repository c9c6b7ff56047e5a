"""Does a network for scans use the order of slices? Networks that are known to, or not to."""

import numpy as np
import pytest
import torch

from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.evaluate import Protocol
from pseudo3d.engine.volumes.module import Goal
from pseudo3d.engine.volumes.ready import Ready
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.explain.timecheck import section, timecheck_scans
from pseudo3d.models.network import Network


class Judged(Network):
    """Answers by a function of the scan."""

    def __init__(self, upward):
        super().__init__()
        self.upward, self.scale = upward, torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, x):
        up = self.upward(x) * self.scale
        return torch.stack([-up, up], dim=1)


def run(upward, size=(6, 4, 4), task="classify"):
    goal = Goal(task=task, classes=("0", "1"))
    return Ready(net=Judged(upward).eval(), pre=ScanPreprocessing(size=size), goal=goal)


def rising(x):
    return x[:, 0, 3:].mean((1, 2, 3)) - x[:, 0, :3].mean((1, 2, 3))


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Scans that get brighter (1) or darker (0) from slice to slice."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 80, 6)[:, None, None] + np.zeros((6, 4, 4))
    volumes = np.stack([ramp if i % 2 else ramp[::-1] for i in range(24)])
    volumes = (volumes + rng.normal(0, 3, volumes.shape) + 10).astype(np.float32)
    labels = np.arange(24) % 2
    path = tmp_path_factory.mktemp("ramps") / "ramps.npz"
    np.savez(path, test_images=volumes, test_labels=labels)
    return read_scans(path)


def test_who_goes_by_the_order_of_slices_is_found_out(ramps, tmp_path):
    steps = []
    found = timecheck_scans(
        run(rising),
        ramps,
        None,
        Protocol(batch=5, split="test"),
        shuffles=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert found.conditions == ("in order", "shuffled", "reversed", "frozen")
    assert found.accuracy("in order").value == 1
    assert found.accuracy("reversed").value == 0
    assert 0 < found.accuracy("shuffled").value < 1
    assert found.verdict == "uses order"
    assert found.sentence.startswith("uses order of slices: 100 % in order")
    told = found.to_dict()
    assert told["scans"] == 24
    assert told["conditions"]["frozen"]["scan_hit@1"]["value"] == 0.5
    assert "split test, 24 scans, slices across the depth axis, 2 shuffles" in told["protocol"]
    assert steps == [(i, 25) for i in range(1, 26)]  # five batches, five ways
    page = section(found, tmp_path / "order.png")
    assert page.title == "Does it use the order of slices?"
    assert (tmp_path / "order.png").exists()


def test_who_goes_by_the_mean_slice_does_not(ramps):
    found = timecheck_scans(run(lambda x: x.mean((1, 2, 3, 4)) - 60), ramps)
    assert found.verdict == "does not use order"
    assert found.sentence.startswith("does not use order of slices: ")


def test_what_has_no_order_or_no_classes_is_refused(ramps):
    with pytest.raises(Pseudo3dError, match="takes 1 frame"):
        timecheck_scans(run(rising, size=(1, 4, 4)), ramps)
    with pytest.raises(Pseudo3dError, match="trained to regress"):
        timecheck_scans(run(rising, task="regress"), ramps)
    other = run(rising)
    other = Ready(net=other.net, pre=other.pre, goal=Goal(classes=("well", "ill")))
    with pytest.raises(ManifestError, match="class of this network"):
        timecheck_scans(other, ramps)
