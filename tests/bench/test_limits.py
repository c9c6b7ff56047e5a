"""The machine's limits: every kernel computes what it claims, and the best one counts."""

import pytest
import torch

from pseudo3d.bench import limits
from pseudo3d.bench.limits import Limit, measure_limit

SMALL = {"products": (32,), "convolutions": ((1, 32, 16, 8, 3), (1, 32, 16, 8, 1))}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_both_peaks_are_positive_rates(precision):
    found = measure_limit(precision, count=1, seconds=0.1, rounds=1, **SMALL)
    assert (found.precision, found.threads) == (precision, 1)
    assert found.product is None or found.product > 0
    if precision != "int8":  # needs operators that not every processor has
        assert found.convolution > 0
        assert found.shape in SMALL["convolutions"]
        call, flop = limits.best_convolution(found)
        assert call().shape == (1, 16, 8, 8)
        assert flop == 2 * 64 * 32 * 16 * found.shape[-1] ** 2


def test_work_is_counted_as_two_per_multiply_add():
    with torch.inference_mode():
        assert limits._product("fp32", 32)[1] == 2 * 32**3
        assert limits._convolution("fp32", 2, 4, 8, 6, 3)[1] == 2 * 2 * 6 * 6 * 4 * 8 * 9


def test_what_cannot_run_is_no_limit():
    def missing():
        raise RuntimeError("no such operator")

    assert limits._kernels({"a": missing, "b": lambda: (missing, 1.0)}) == {}


def test_share_is_of_the_convolution_peak_else_of_the_products():
    limit = Limit(precision="fp32", threads=1, product=50.0, convolution=100.0)
    assert limit.share(20.0, 0.4) == 0.5
    assert Limit(precision="fp32", threads=1, product=50.0, convolution=None).share(20, 0.8) == 0.5
    none = Limit(precision="int8", threads=1, product=None, convolution=None)
    assert none.share(20, 1) is None
