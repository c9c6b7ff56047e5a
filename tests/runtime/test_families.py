"""Every family in every faster form: folded, optimized, flat, exported, in bfloat16."""

import pytest
import torch
from torch import nn

from pseudo3d import optimize
from pseudo3d.models import list_models
from pseudo3d.runtime.flat import flatten, to_frames
from pseudo3d.runtime.fold import fold
from runtime.conftest import shaken
from runtime.test_flat import MostAxes

MEDICAL = {
    "depths": (1, 1, 1, 1),
    "widths": (4, 8, 8, 16),
    "stem_width": 4,
    "stem_kernel": (7, 7, 7),
    "stem_stride": (2, 2, 2),
    "stem_pool": "pad3d",
    "strides": (1, 2, 1, 1),
    "time_strides": (1, 2, 1, 1),
    "dilations": (1, 1, 2, 4),
    "shortcut": "A",
}
THIN = {"depths": (1, 1, 1, 1), "widths": (4, 8, 8, 8), "stem_width": 4}
CASES = {
    "r3d": ("r3d18", THIN),
    "r3d bottleneck": ("r3d50", THIN),
    "mc3": ("mc3_18", THIN),
    "r2plus1d": ("r2plus1d18", THIN),
    "own middle": ("r2plus1d34", THIN),
    "i3d": ("i3d50", {**THIN, "depths": (1, 2, 1, 2)}),
    "medical A": ("r3d18", MEDICAL),
    "medical B": ("r3d50", {**MEDICAL, "shortcut": "B", "shortcut_bias": True}),
    "ranks": ("r3d18", {**THIN, "ranks": (("stages.1.0.first.conv", "space", 6),)}),
    "c3d": ("c3d", {"widths": (4, 6, 8, 8, 8), "fc": (12, 10)}),
    "c3d norm": ("c3d", {"widths": (4, 6, 8, 8, 8), "fc": (12, 10), "norm": True}),
    "tsn": ("tsn18", THIN),
    "tsm": ("tsm18", {**THIN, "widths": (8, 8, 16, 16), "stem_width": 8}),
    "tsm bottleneck": ("tsm50", {**THIN, "part": 3}),
    "tsm online": ("tsm18", {**THIN, "part": 3, "shift": "online"}),
    "light": ("p3d_light_s", {"widths": (8, 8, 16)}),
}
SIZES = [(2, 3, 8, 32, 40), (1, 3, 5, 33, 29), (3, 3, 1, 17, 24)]
every_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def nets():
    return {case: shaken(name, **config) for case, (name, config) in CASES.items()}


def relative(a, b):
    return float((a - b).norm() / b.norm())


@every_case
def test_a_folded_network_equals_the_network_and_has_nothing_left_to_fold(nets, case):
    net, clip = nets[case], torch.randn(2, 3, 7, 33, 40)
    graph = fold(net)
    with torch.inference_mode():
        assert relative(graph(clip), net(clip)) < 3e-6
    left = [m for m in graph.modules() if isinstance(m, nn.BatchNorm3d | nn.Dropout | nn.ReLU)]
    assert left == []


@every_case
@pytest.mark.parametrize("size", SIZES)
def test_an_optimized_network_equals_the_network(nets, case, size):
    net, clip = nets[case], torch.randn(size)
    fast = optimize(net)
    with torch.inference_mode():
        assert relative(fast(clip), net(clip)) < 5e-6
        assert relative(fast.features(clip), net.features(clip)) < 5e-6


@every_case
def test_bfloat16_differs_by_rounding_only(nets, case):
    net, clip = nets[case], torch.randn(2, 3, 8, 48, 48)
    fast = optimize(net, clip, precision="bf16")
    with torch.inference_mode():
        assert relative(fast(clip), net(clip)) < 3e-2


@every_case
@pytest.mark.parametrize("size", SIZES)
def test_the_flat_form_equals_the_network_with_four_axes_at_most(nets, case, size):
    net, clip = nets[case], torch.randn(size)
    frames, flat = to_frames(clip), flatten(net, size[2])
    with torch.inference_mode(), MostAxes() as most:
        logits = flat(frames)
    with torch.inference_mode():
        assert relative(logits, net(clip)) < 3e-6
    assert most.axes == 4


OWN = ("medical A", "c3d", "tsm")  # between them, every operator that P3D has not
REST = [pytest.param(case, marks=pytest.mark.slow) for case in CASES if case not in OWN]


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("case", [*OWN, *REST])
def test_an_exported_network_equals_the_network(nets, case, to, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    from pseudo3d.runtime.export import SUFFIX, export

    written = export(nets[case], tmp_path / f"net{SUFFIX[to]}", to, frames=6, size=(24, 28))
    assert written.parity < 1e-5
    assert written.axes in (None, 4)


def test_no_family_is_forgotten():
    """A new one must be entered above; P3D and its twin have files of their own."""

    def family(name):
        return name.rstrip("0123456789").split("_")[0]

    tested = {family(name) for name, _ in CASES.values()}
    videos = {"r3d", "mc3", "r2plus1d", "i3d", "c3d", "tsn", "tsm"}
    assert videos <= {family(name) for name in list_models()}
    assert videos <= tested
    assert list_models("p3d_light*")[0] in {name for name, _ in CASES.values()}
