"""A folded network computes what the network does, with nothing left to fold."""

import operator
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from torch import nn

from pseudo3d.runtime.fold import fold
from pseudo3d.runtime.lower import optimize
from runtime.cases import CASES, ODD, Odd


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("case", CASES)
def test_folded_network_equals_the_network(trained, case):
    net = trained(CASES[case][0], **CASES[case][1])
    clip = torch.randn(2, 3, 7, 33, 40)
    with torch.inference_mode():
        assert relative(fold(net)(clip), net(clip)) < 3e-6
        assert relative(fold(net, "features")(clip), net.features(clip)) < 3e-6


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_left_to_fold(trained, case):
    graph = fold(trained(CASES[case][0], **CASES[case][1]))
    left = [m for m in graph.modules() if isinstance(m, nn.BatchNorm3d | nn.Dropout | nn.ReLU)]
    assert left == []
    assert not any(node.target in (operator.mul, "contiguous") for node in graph.graph.nodes)


@pytest.mark.parametrize("semantics", ["release", "modern"])
def test_the_sum_of_block_c_goes_into_its_temporal_kernel(trained, semantics):
    config = {"depths": (1, 1, 1, 1), "time_stages": (True,) * 4, "semantics": semantics}
    sums = {
        mix: sum(
            node.target is operator.add
            for node in fold(trained("p3d_nano", mixes=(mix,), **config)).graph.nodes
        )
        for mix in "ABC"
    }
    assert sums == {"A": 4, "B": 8, "C": 4}  # four shortcuts; B adds its two branches


def test_folding_leaves_the_network_alone(trained):
    net = trained("p3d_nano").train()
    net.checkpointing = True
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fold(net)
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("kind", ODD)
def test_what_another_part_looks_at_is_not_folded(kind):
    net = Odd(kind).eval()
    clip = torch.randn(1, 3, 4, 6, 6)
    with torch.inference_mode():
        assert relative(fold(net)(clip), net(clip)) < 1e-6


@pytest.fixture
def _restless():
    """Threads take turns a hundred times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_restless")
@pytest.mark.parametrize("same", [False, True])
def test_other_threads_run_networks_while_one_is_folded(trained, same):
    """Tracing changes the call of every module, and what the traced one gives, for all threads."""
    net, other = (trained("p3d_nano", widths=(4,) * 4, stem_width=4) for _ in range(2))
    other = net if same else other
    clip, begun, folded = torch.zeros(1, 3, 4, 24, 24), Event(), Event()
    want = other(clip)

    def run():
        while not folded.is_set():
            assert torch.equal(other(clip), want)
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            assert begun.wait(60)
            for _ in range(10):
                fold(net)
        finally:
            folded.set()
        running.result()


@pytest.mark.usefixtures("_restless")
def test_threads_optimize_one_network_at_once(trained):
    """Each folds it, and runs it to compare while another one traces."""
    net, clip = trained("p3d_nano", widths=(4,) * 4, stem_width=4), torch.zeros(1, 3, 4, 24, 24)
    with ThreadPoolExecutor(3) as pool:
        ready = list(pool.map(optimize, [net] * 6))
    with torch.inference_mode():
        assert all(relative(fast(clip), net(clip)) < 1e-6 for fast in ready)
