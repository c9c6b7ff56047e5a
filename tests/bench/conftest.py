"""Limits that take no time."""

import pytest

from pseudo3d.bench import measure


@pytest.fixture
def small_limits(monkeypatch):
    """Measure the machine by two tiny kernels."""
    short = {"rounds": 1, "products": (16,), "convolutions": ((1, 16, 16, 6, 3),)}
    whole = measure.measure_limit
    monkeypatch.setattr(measure, "measure_limit", lambda p, **o: whole(p, **{**o, **short}))
