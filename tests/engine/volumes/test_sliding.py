"""The sliding window: every voxel seen, the same answer as at once, memory as stated."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.sliding import (
    Sliding,
    memory_needed,
    slabs,
    slide,
    starts,
    window_weight,
)
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model

SIZES = st.tuples(*[st.integers(1, 11)] * 3)


class Pointwise(nn.Module):
    """Says of each voxel what depends on it alone, so windows cannot matter."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return torch.cat([x, self.scale * x], 1)


def pre(*size):
    return ScanPreprocessing(size=size, view="patch")


@settings(max_examples=40, deadline=None)
@given(size=SIZES, window=SIZES, overlap=st.sampled_from([0.0, 0.25, 0.5, 0.8]))
def test_windows_leave_no_trace_of_themselves(size, window, overlap):
    x = torch.randn(1, *size)
    found = slide(Pointwise(), x, pre(*window), Sliding(overlap=overlap))
    torch.testing.assert_close(found, torch.cat([x, 2 * x]), rtol=1e-4, atol=1e-4)


@given(have=st.integers(1, 60), window=st.integers(1, 30), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_and_stay_inside(have, window, overlap):
    found = starts(have, window, overlap)
    seen = {i for s in found for i in range(s, s + window)}
    assert set(range(have)) <= seen
    assert found == sorted(set(found))
    assert have <= window or max(found) + window == have


def test_the_middle_of_a_window_counts_most():
    weight = window_weight((5, 7, 9))
    assert weight.argmax() == weight.numel() // 2
    assert 0 < weight.min() < 0.01
    assert window_weight((5, 7, 9), gaussian=False).unique().tolist() == [1.0]


def test_slices_come_in_order_each_once():
    found = list(slabs(Pointwise(), torch.randn(1, 17, 6, 6), pre(5, 6, 6)))
    places = [s.start + i for s in found for i in range(s.logits.shape[1])]
    assert places == list(range(17))


def test_sums_do_not_grow_with_the_depth_of_a_scan():
    net = create_model("p3d_unet", widths=(4, 8), depths=(1, 1), strides=((2, 2, 2),))
    short, long = (memory_needed(net, pre(8, 16, 16), (d, 64, 64), 1) for d in (8, 4000))
    assert short == long


def test_too_little_memory_says_how_much_is_needed():
    net = create_model("p3d_unet", widths=(4, 8), depths=(1, 1), strides=((2, 2, 2),)).eval()
    x = torch.randn(1, 12, 16, 16)
    with pytest.raises(Pseudo3dError, match=r"needs \d+ MiB .* 0 are allowed"):
        slide(net, x, pre(8, 16, 16), Sliding(memory=1000))
    enough = memory_needed(net, pre(8, 16, 16), (12, 16, 16), 1)
    one = slide(net, x, pre(8, 16, 16), Sliding(memory=enough))
    many = slide(net, x, pre(8, 16, 16), Sliding(memory=8 * enough))
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)


def test_progress_counts_windows():
    seen = []
    slide(Pointwise(), torch.randn(1, 9, 4, 4), pre(4, 4, 4), progress=lambda *x: seen.append(x))
    assert seen == [(i, 4) for i in range(1, 5)]


@pytest.mark.parametrize("wrong", [{"overlap": 1.0}, {"overlap": -0.1}, {"memory": 0}])
def test_impossible_windows_are_refused(wrong):
    with pytest.raises(Pseudo3dError, match="wanted"):
        Sliding(**wrong)
