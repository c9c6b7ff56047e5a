"""Causal networks in every faster form, and started from others' weights."""

import pytest
import torch

from pseudo3d import create_model, optimize, save
from pseudo3d.bench.plainly import Plain
from pseudo3d.errors import WeightsError
from pseudo3d.models import list_models
from pseudo3d.models.profile import profile
from pseudo3d.recycle.factorize.activations import padding
from pseudo3d.runtime.flat import flatten, to_frames
from pseudo3d.runtime.fold import fold
from pseudo3d.weights import load, load_backbone
from runtime.causal_cases import ALL, CAUSAL, network
from runtime.conftest import shaken

SIZES = [(2, 3, 8, 32, 40), (1, 3, 5, 33, 29), (3, 3, 1, 17, 24)]


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("case", CAUSAL)
def test_features_of_a_causal_network_do_not_depend_on_later_frames(case):
    net, clip = network(case, True), torch.randn(1, 3, 32, 20, 24)
    with torch.inference_mode():
        whole, part = net.feature_map(clip), net.feature_map(clip[:, :, :16])
        torch.testing.assert_close(whole[:, :, : part.shape[2]], part)
        ahead = network(case)
        whole, part = ahead.feature_map(clip), ahead.feature_map(clip[:, :, :16])
        assert not torch.allclose(whole[:, :, : part.shape[2]], part)


@pytest.mark.parametrize("case", CAUSAL)
def test_the_faster_forms_of_a_causal_network_equal_it(case):
    net = network(case, True)
    fast, plain = optimize(net), Plain(net)
    for size in SIZES:
        clip = torch.randn(size)
        with torch.inference_mode():
            want = net(clip)
            assert relative(fold(net)(clip), want) < 5e-6
            assert relative(fast(clip), want) < 5e-6
            assert relative(flatten(net, size[2])(to_frames(clip)), want) < 5e-6
            assert relative(plain(clip) if size[2] > 1 else want, want) < 5e-6


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("case", ["replicate", "medical A", "bottleneck release"])
def test_an_exported_causal_network_equals_it(case, to, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    from pseudo3d.runtime.export import SUFFIX, export

    written = export(network(case, True), tmp_path / f"n{SUFFIX[to]}", to, frames=6, size=(24, 28))
    assert written.parity < 1e-5


@pytest.mark.parametrize("case", CAUSAL)
def test_looking_back_costs_what_looking_both_ways_does(case):
    assert profile(network(case, True), 16, 32) == profile(network(case), 16, 32)


def test_the_padding_that_factorizing_sees_is_that_of_the_convolution():
    conv = network("r3d", True).stages[1][0].first.conv
    assert padding(conv) == [(2, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize("case", ["modern", "r3d", "light", "c3d norm"])
def test_a_causal_network_starts_from_the_weights_of_one_that_looks_ahead(case, tmp_path):
    save(network(case), tmp_path / "w.safetensors")
    name, config = ALL[case]
    net = create_model(name, num_classes=5, **config, causal=True)
    load_backbone(net, tmp_path / "w.safetensors")
    want = network(case).state_dict()
    assert all(torch.equal(value, want[key]) for key, value in net.state_dict().items())
    assert net.cfg.causal
    save(net, tmp_path / "c.safetensors")
    assert load(tmp_path / "c.safetensors").cfg.causal


def test_other_differences_are_still_refused(tmp_path):
    save(shaken("p3d_nano"), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="mixes"):
        load_backbone(
            create_model("p3d_nano", mixes=("A",), causal=True), tmp_path / "w.safetensors"
        )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tsm18", "give shift='online'"),
        ("resnet18", "leave it out"),
        ("p3d_unet", "slices of a scan do not arrive one by one"),
    ],
)
def test_families_without_the_option_say_why(name, words):
    with pytest.raises(TypeError, match=f"{name} has no option 'causal': .*{words}"):
        create_model(name, causal=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("p3d_volume_slices", {}),
        ("mc3_18", {"forms": (("space",),) * 4, "stem_kernel": (1, 7, 7)}),
    ],
)
def test_the_option_is_refused_where_it_changes_nothing(name, options):
    with pytest.raises(ValueError, match="causal=True changes nothing"):
        create_model(name, causal=True, **options)


def test_every_video_family_with_temporal_kernels_is_streamed():
    """A new one must be entered into the cases."""
    tested = {type(network(case)).__name__ for case in ALL}
    known = {type(create_model(name, num_classes=2)).__name__ for name in list_models("*tiny")}
    assert known | {"Light"} <= tested
