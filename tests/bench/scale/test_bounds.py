"""What machines allow at best: hand-made figures, and what must hold for any."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.bench.scale.bounds import bounds, exchange, nodes_for, saturation
from pseudo3d.bench.scale.costs import Cluster, Costs, Inference, Training, read_costs, with_facts
from pseudo3d.errors import Pseudo3dError

COSTS = Costs(network=0.2, decode=0.05, size=1e6)
IDEAL = Cluster(storage=1e15, requests=1e15, link=1e15, bus=1e15, latency=0.0, driver=0.0)


def test_cores_alone():
    found = bounds(Inference(videos=1e6, costs=COSTS), replace(IDEAL, nodes=2, cores=10))
    assert found.limit == "cores"
    assert found.rate == pytest.approx(20 / 0.25)
    assert found.seconds == pytest.approx(1e6 * 0.25 / 20)


@pytest.mark.parametrize(
    ("change", "limit", "rate"),
    [
        ({"storage": 1e7}, "storage", 10),
        ({"requests": 5}, "reads", 5),
        ({"link": 3e6}, "network of the nodes", 6),
        ({"driver": 64.0}, "driver", 4),
        ({"accelerators": 1}, "accelerators", 10),
        ({"accelerators": 8, "speed": 0.01}, "cores", 4),
    ],
)
def test_the_narrowest_resource_decides(change, limit, rate):
    cluster = replace(IDEAL, nodes=2, cores=10, **change)
    found = bounds(Inference(videos=1e6, costs=COSTS, block=256), cluster)
    assert (found.limit, found.rate) == (limit, pytest.approx(rate))


def test_a_block_is_not_divided():
    job = Inference(videos=1_000, costs=COSTS, block=500)
    found = bounds(job, replace(IDEAL, nodes=100))
    assert found.limit == "size of a block"
    assert found.seconds == pytest.approx(500 * 0.25)


def test_the_driver_looks_at_every_block_in_the_end():
    costs = replace(COSTS, check=0.5)
    few, many = (
        bounds(Inference(videos=1_000, costs=costs, block=block), IDEAL).seconds
        for block in (100, 1)
    )
    assert few == pytest.approx(100 * 0.25 + 10 * 0.5)
    assert many == pytest.approx(1_000 / 64 * 0.25 + 1_000 * 0.5)


def test_parts_of_a_step():
    costs = replace(COSTS, block=0.5, gradient=1e9, save=10.0)
    job = Training(clips=6_400, batch=64, costs=costs, save_every=100)
    found = bounds(job, replace(IDEAL, nodes=4, cores=4, link=1e9, bus=1e10, latency=0.01))
    assert found.step == pytest.approx(
        {
            "network": 4 * 0.2,
            "update": 0.5,
            "decode": 4 * 0.05,
            "exchange": 2 * 3 / 4 / 10 + 2 * 3 / 4 + 2 * 3 * 0.01,
            "save": 0.1,
        }
    )
    assert found.seconds == pytest.approx(100 * sum(found.step.values()) + 10)  # the last state


def test_loaders_decode_beside_the_steps():
    job = Training(clips=1e6, batch=64, costs=COSTS, loaders=3)
    alone = bounds(replace(job, loaders=0), replace(IDEAL, accelerators=2, cores=8))
    found = bounds(job, replace(IDEAL, accelerators=2, cores=8))
    assert found.rates["loaders"] == pytest.approx(6 / 0.05)
    assert "decode" in alone.step
    assert "decode" not in found.step


def test_one_process_exchanges_nothing():
    job = Training(clips=1e6, batch=64, costs=replace(COSTS, gradient=1e9))
    assert exchange(job, Cluster(nodes=1, cores=1)) == 0
    assert exchange(job, Cluster(nodes=2, cores=1)) > 0


def test_shared_batch_norm_sends_messages():
    job = Training(clips=1e6, batch=64, costs=replace(COSTS, messages=100))
    # two nodes of four: three levels up, three down, and the ring of the nodes
    assert exchange(job, replace(IDEAL, nodes=2, cores=4, latency=1e-3)) == pytest.approx(0.602)


def test_the_fewest_nodes_that_are_in_time():
    job = Inference(videos=1e6, costs=COSTS)
    found = nodes_for(job, IDEAL, hours=0.1)
    assert bounds(job, found).seconds <= 360
    assert bounds(job, replace(found, nodes=found.nodes - 1)).seconds > 360
    with pytest.raises(Pseudo3dError, match="storage"):
        nodes_for(job, replace(IDEAL, storage=1e8), hours=0.1)


def test_more_nodes_are_not_always_faster():
    job = Training(clips=1e5, batch=4_096, costs=replace(COSTS, gradient=1e8))
    with pytest.raises(Pseudo3dError, match="what limits them is exchange"):
        nodes_for(job, Cluster(cores=8, latency=1.0), hours=0.01)


@pytest.mark.parametrize(
    ("job", "change", "want"),
    [
        # 10 cores x 4 videos/s a node; storage gives 400
        (Inference(videos=1e9, costs=COSTS), {"storage": 4e8}, (8, "storage")),
        (Inference(videos=1e4, costs=COSTS, block=100), {}, (8, "size of a block")),
        (Training(clips=1e6, batch=64, costs=COSTS), {}, (4, "clips of a batch")),
        (
            Training(clips=1e6, batch=640, costs=replace(COSTS, block=4.0)),
            {},
            (4, "update"),
        ),
    ],
)
def test_saturation(job, change, want):
    assert saturation(job, replace(IDEAL, cores=10, **change)) == want


def test_nodes_that_die_cost_what_they_had_at_work():
    job = Inference(videos=1e6, costs=replace(COSTS, start=10.0), block=100)
    cluster = replace(IDEAL, cores=10, boot=100.0, lifetime=1.0)
    found, calm = bounds(job, cluster), bounds(job, replace(cluster, lifetime=math.inf))
    share = (110 + 100 * 0.25 / 2) / 3600
    assert found.seconds - 110 == pytest.approx((calm.seconds - 110) / (1 - share))
    with pytest.raises(Pseudo3dError, match="never end"):
        bounds(job, replace(cluster, lifetime=0.01))


def test_money_is_nodes_and_reads():
    cluster = replace(IDEAL, nodes=3, cores=10, price=2.0, read_price=0.5)
    found = bounds(Inference(videos=1e6, costs=COSTS), cluster)
    assert found.money == pytest.approx(3 * 2 * found.seconds / 3600 + 500)


@settings(max_examples=50, deadline=None)
@given(
    network=st.floats(1e-3, 10),
    decode=st.floats(0, 10),
    nodes=st.integers(1, 64),
    accelerators=st.integers(0, 8),
    batch=st.integers(4_096, 10_000),
)
def test_nothing_is_faster_than_its_parts(network, decode, nodes, accelerators, batch):
    """Twice the nodes are at most twice as fast, and a faster core never makes it slower."""
    costs = Costs(network=network, decode=decode, size=1e5, gradient=1e8)
    cluster = Cluster(nodes=nodes, cores=16, accelerators=accelerators)
    for job in (
        Inference(videos=1e6, costs=costs),
        Training(clips=1e6, batch=batch, costs=costs),
    ):
        now = bounds(job, cluster)
        assert bounds(job, replace(cluster, nodes=2 * nodes)).rate <= 2.01 * now.rate
        assert bounds(job, replace(cluster, speed=2.0)).rate >= now.rate * (1 - 1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Costs(network=-1.0), "network is -1.0; wanted 0 or more"),
        (lambda: Costs(network=0.0), "costs no time"),
        (lambda: Cluster(nodes=0), "nodes is 0; wanted a whole number"),
        (lambda: Cluster(cores=1.5), "cores is 1.5"),
        (lambda: Cluster(storage=0), "storage is 0; wanted more than 0"),
        (lambda: Inference(videos=0, costs=COSTS), "0 videos"),
        (lambda: Training(clips=10, batch=0, costs=COSTS), "batch 0"),
        (lambda: with_facts(COSTS, {"decode": "slow"}), "decode is 'slow'; wanted a number"),
        (lambda: with_facts(COSTS, {"decode": float("nan")}), "decode is nan"),
        (lambda: read_costs([1]), "wanted an object"),
        (lambda: read_costs({"network": True}), "network is True"),
        (
            lambda: bounds(Training(clips=10, batch=4, costs=COSTS), Cluster(cores=8)),
            "8 processes share a batch of 4 clips",
        ),
        (
            lambda: bounds(Training(clips=10, batch=4, costs=COSTS, loaders=8), Cluster(cores=8)),
            "1 processes with 8 loaders each do not fit on 8 cores",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_unknown_figures_name_the_nearest():
    with pytest.raises(TypeError, match="figure of cluster: 'price_'"):
        with_facts(Cluster(), {"price_": 1})
