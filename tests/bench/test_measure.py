"""Rates and shares: the work over the time, the limit in the same rounds."""

import time

import pytest

from pseudo3d.bench.limits import Limit, measure_limit
from pseudo3d.bench.measure import Task, measure, measure_limits
from pseudo3d.bench.timing import Variant

SHAPE = (1, 16, 16, 6, 3)


def task(seconds, gflop=2.0, precision="fp32"):
    return Task(call=lambda: time.sleep(seconds), precision=precision, gflop=gflop)


def test_figures_follow_from_the_times():
    limits = {"fp32": Limit(precision="fp32", threads=1, product=400.0, convolution=None)}
    tasks = {"slow": task(0.04), "fast": task(0.01), "other": task(0.01, precision="int8")}
    found = measure(tasks, limits, rounds=3)
    assert found["slow"].speedup.median == 1
    assert found["fast"].speedup.median > 1
    for figures in found.values():
        assert figures.gflops == pytest.approx(2 / figures.timing.seconds.median)
    assert found["fast"].share == pytest.approx(found["fast"].gflops / 400)
    assert (found["other"].share, found["other"].limit) == (None, None)
    flat = found["fast"].to_dict()
    assert flat["rounds"] == 3
    assert flat["low_ms"] <= flat["median_ms"] <= flat["high_ms"]


def test_limits_are_measured_again_in_the_same_rounds():
    start = measure_limit("fp32", count=1, seconds=0, rounds=1, products=(), convolutions=(SHAPE,))
    assert start.shape == SHAPE
    limits = {"fp32": start}
    found = measure({"a": task(0.01)}, limits, count=1, rounds=3)["a"]
    assert limits["fp32"].convolution != start.convolution
    assert found.limit == limits["fp32"].convolution
    assert found.share > 0


def test_setup_is_run_and_each_precision_measured_once(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "pseudo3d.bench.measure.measure_limit", lambda p, **options: asked.append((p, options))
    )
    measure_limits(["fp32", "bf16", "fp32"], count=2, seconds=1)
    assert asked == [(p, {"count": 2, "seconds": 1}) for p in ("fp32", "bf16")]
    seen = []
    variant = Variant(call=lambda: seen.append("c"), setup=lambda: seen.append("s"))
    measure({"a": Task(call=variant, precision="fp32", gflop=1.0)}, {}, rounds=1)
    assert "".join(seen[:2]) == "sc"
