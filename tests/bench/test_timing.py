"""Timing in turn: who runs when, what is counted, what the ratios are of."""

import pytest
import torch

from pseudo3d.bench import timing
from pseudo3d.bench.timing import Timing, Variant, race, speedup, spread, threads


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def perf_counter(self):
        return self.wall

    def process_time(self):
        return self.cpu

    def sleep(self, seconds):
        self.wall += seconds

    def work(self, seconds):
        self.wall += seconds
        self.cpu += 2 * seconds  # two threads


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_every_round_runs_every_variant_and_starts_with_another(clock):
    seen = []
    calls = {name: lambda name=name: (seen.append(name), clock.work(1)) for name in "abc"}
    found = race(calls, rounds=3)
    assert [found[name].wall for name in "abc"] == [pytest.approx((1, 1, 1))] * 3
    assert "".join(seen)[:6] == "aabbcc"  # warming up
    assert "".join(seen)[6:] == "aabbcc" + "bbccaa" + "ccaabb"  # every other one counts


def test_short_calls_are_timed_together(clock):
    seen = []
    found = race({"a": lambda: (seen.append("a"), clock.work(0.002))}, rounds=1, least=0.02)
    assert len(seen) == 2 + 1 + 10  # warming up, uncounted, timed
    assert found["a"].wall == pytest.approx((0.002,))


def test_rounds_end_with_the_time_but_not_before_three(clock):
    calls = {"a": lambda: clock.work(1)}
    assert len(race(calls, rounds=50, seconds=20, rest=0)["a"].wall) == 11  # at 2 s a round
    assert len(race(calls, rounds=50, seconds=0)["a"].wall) == 3
    assert len(race(calls, rounds=2, seconds=0)["a"].wall) == 2


def test_setup_comes_before_each_call_and_is_not_timed(clock):
    seen = []
    variant = Variant(
        call=lambda: (seen.append("c"), clock.work(0.001)),
        setup=lambda: (seen.append("s"), clock.work(5)),
    )
    found = race({"a": variant}, rounds=1)["a"]
    assert "".join(seen) == "sc" * 4
    assert found.wall == pytest.approx((0.001,))


def test_processor_time_counts_all_threads_and_not_the_rests(clock):
    found = race({"sleep": lambda: clock.sleep(1), "work": lambda: clock.work(1)}, rounds=3, rest=9)
    assert found["sleep"].cpu_seconds.median == 0
    assert found["work"].cpu_seconds.median == 2
    assert found["work"].seconds.median == 1


def test_the_real_clock_is_used():
    found = race({"a": lambda: sum(range(10_000))}, rounds=2, least=0.001)["a"]
    assert min(found.wall) > 0
    assert min(found.cpu) > 0


def test_speed_is_the_median_of_the_ratios_within_a_round():
    """The third round ran on a machine ten times slower: the ratio stays."""
    base = Timing(wall=(4.0, 4.0, 40.0), cpu=(1.0, 1.0, 1.0))
    other = Timing(wall=(2.0, 1.0, 20.0), cpu=(0.5, 0.1, 0.25))
    assert speedup(base, other).median == 2
    assert speedup(base, other).high == 3
    assert speedup(base, other, cpu=True).median == 4


def test_spread_is_median_and_quartiles():
    found = spread([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.low, found.median, found.high) == (2, 3, 4)
    assert spread([7.0]).low == spread([7.0]).high == 7


def test_threads_are_set_within_the_block_and_put_back():
    before = torch.get_num_threads()
    with threads(before + 1) as inside:
        assert inside == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    seen = []
    race({"a": lambda: seen.append(torch.get_num_threads())}, rounds=1, count=before + 1, least=0)
    assert set(seen) == {before + 1}
    with threads(None) as inside:
        assert inside == before


def test_progress_is_told_rounds():
    told = []
    race({"a": lambda: None}, rounds=2, progress=lambda *done: told.append(done), least=0)
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("calls", "rounds"), [({}, 3), ({"a": print}, 0)])
def test_nothing_to_time_is_refused(calls, rounds):
    with pytest.raises(ValueError, match="wanted at least 1 each"):
        race(calls, rounds=rounds)
