"""The simulated queues against what queueing theory knows, and against the bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.bench.scale import simulate as module
from pseudo3d.bench.scale.bounds import bounds
from pseudo3d.bench.scale.costs import Cluster, Costs, Inference, Training
from pseudo3d.bench.scale.simulate import simulate

IDEAL = Cluster(storage=1e15, requests=1e15, link=1e15, bus=1e15, latency=0.0, driver=0.0)


def throughput(customers, first, servers, second):
    """Items/s of a closed network of exponential servers, several and one (Gordon, Newell 1967)."""

    def total(count):
        terms, term = [1.0], 1.0
        for k in range(1, count + 1):
            term *= first / min(k, servers)
            terms.append(term)
        return sum(term * second ** (count - k) for k, term in enumerate(terms))

    return total(customers - 1) / total(customers)


def test_even_items_on_equal_cores_are_arithmetic():
    job = Inference(videos=1_000, costs=Costs(network=0.2, decode=0.05, start=3.0), block=100)
    found = simulate(job, replace(IDEAL, nodes=1, cores=4))
    assert found.seconds == pytest.approx(3 + 3 * 100 * 0.25)  # 10 blocks on 4 processes
    assert found.busy["cores"] == pytest.approx(10 / 12)


@pytest.mark.parametrize("cores", [1, 5, 30])
def test_queues_at_cores_and_accelerator_are_those_of_theory(cores):
    """Twice as many processes as cores, in the ideal case of exponential times."""
    costs = Costs(network=1.0, decode=5.0, decode_spread=1.0, network_spread=1.0)
    job = Inference(videos=10_000, costs=costs, block=1)
    found = simulate(job, replace(IDEAL, cores=cores, accelerators=1))
    assert found.rate == pytest.approx(throughput(2 * cores, 5.0, cores, 1.0), rel=0.04)


def test_waiting_for_the_slowest_is_that_of_theory():
    """The mean of the largest of R exponential times is the harmonic number of R."""
    costs = Costs(network=1.0, network_spread=1.0)
    job = Training(clips=16 * 400, batch=16, costs=costs)
    found = simulate(job, replace(IDEAL, cores=16))
    harmonic = sum(1 / k for k in range(1, 17))
    assert found.seconds / 400 == pytest.approx(harmonic, rel=0.05)


def test_loaders_overlap_with_steps():
    """Two loaders of 3 s bring a clip each 1.5 s; steps of 1 s wait for them, steps of 2 do not."""
    for network, step in ((1.0, 1.5), (2.0, 2.0)):
        job = Training(clips=1_000, batch=1, costs=Costs(network=network, decode=3.0), loaders=2)
        found = simulate(job, replace(IDEAL, cores=3))
        assert 1 / found.rate == pytest.approx(step, rel=0.02)


def test_loaders_are_two_batches_ahead_and_no_more():
    """During a pause of 100 s one loader of 2 s makes two batches; the other eight are awaited."""
    costs = Costs(network=1.0, decode=2.0, save=100.0)
    job = Training(clips=400, batch=1, costs=costs, loaders=1, save_every=10)
    found = simulate(job, replace(IDEAL, cores=2))
    assert 10 / found.rate == pytest.approx(100 + 2 + 8 * 2, abs=1.01)


def test_states_are_written_in_a_long_run_too():
    costs = Costs(network=1.0, save=500.0)
    job = Training(clips=100_000, batch=1, costs=costs, save_every=1_000)
    one = replace(IDEAL, cores=1)
    assert simulate(job, one).seconds == pytest.approx(bounds(job, one).seconds)


def test_uneven_items_are_even_by_the_thousand():
    costs = Costs(network=1.0, network_spread=1.0)
    job = Inference(videos=10_000, costs=costs, block=10_000)
    assert simulate(job, replace(IDEAL, cores=1)).seconds == pytest.approx(10_000, rel=0.05)


def test_storage_serves_processes_one_after_another():
    costs = Costs(network=0.001, size=1e6)
    for job in (
        Inference(videos=1_000, costs=costs, block=10),
        Training(clips=1_000, batch=10, costs=costs),
        Training(clips=1_000, batch=10, costs=costs, loaders=4),
    ):
        found = simulate(job, replace(IDEAL, cores=10, storage=1e7))
        assert found.seconds == pytest.approx(100, rel=0.02)
        assert found.busy["storage"] > 0.95


def test_a_long_job_goes_on_at_its_rate(monkeypatch):
    costs = Costs(network=1.0, decode=0.2, decode_spread=0.5, start=5.0)
    jobs = (
        Inference(videos=20_000, costs=costs, block=4),
        Training(clips=40_000, batch=40, costs=costs),
    )
    whole = [simulate(job, replace(IDEAL, cores=8)) for job in jobs]
    monkeypatch.setattr(module, "BLOCKS", 300)
    monkeypatch.setattr(module, "STEPS", 100)
    for job, run in zip(jobs, whole, strict=True):
        assert simulate(job, replace(IDEAL, cores=8)).seconds == pytest.approx(
            run.seconds, rel=0.02
        )


@settings(max_examples=20, deadline=None)
@given(
    network=st.floats(0.01, 1),
    decode=st.floats(0, 1),
    spread=st.floats(0, 1),
    cores=st.integers(1, 6),
    accelerators=st.integers(0, 2),
    loaders=st.integers(0, 3),
)
def test_no_queue_beats_the_bound(network, decode, spread, cores, accelerators, loaders):
    costs = Costs(network=network, decode=decode, size=1e5, gradient=1e7, network_spread=spread)
    cluster = Cluster(nodes=2, cores=cores + 6, accelerators=accelerators)
    even = np.sqrt(100)  # a mean of so many draws strays no more than this, seldom
    for job in (
        Inference(videos=600, costs=costs, block=5),
        Training(clips=3_000, batch=30, costs=costs, loaders=loaders),
    ):
        least = bounds(job, cluster).seconds
        assert simulate(job, cluster).seconds >= least * (1 - 4 * spread / even - 1e-9)


def test_the_seed_decides():
    job = Inference(videos=1_000, costs=Costs(network=1.0, network_spread=0.5), block=7)
    first, again, other = (simulate(job, Cluster(), seed).seconds for seed in (0, 0, 1))
    assert first == again != other
