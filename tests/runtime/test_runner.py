"""The one door to every runtime: what opens what, and what is said where it does not fit."""

import pytest
import torch

from pseudo3d import create_model, load, save
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.runtime import runner as module
from pseudo3d.runtime.export import export
from pseudo3d.runtime.openvino import check_precision, openvino_core
from pseudo3d.runtime.runner import open_runner

PRE = Preprocessing(frames=2, resize=16, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "weights.safetensors"
    torch.manual_seed(0)
    net = create_model("resnet_nano", widths=(4, 4, 4, 4), stem_width=4, num_classes=2)
    save(net, path, classes=("a", "b"), preprocessing=PRE)
    return path


@pytest.fixture(scope="module")
def model(weights):
    """The same as OpenVINO's two files."""
    pytest.importorskip("openvino")
    return export(weights, weights.with_name("net.xml")).path


def test_a_checkpoint_runs_in_torch_and_keeps_its_card(weights):
    runner = open_runner(weights)
    clip = torch.randn(2, 3, 2, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(runner(clip), load(weights)(clip), rtol=1e-4, atol=1e-5)
    assert (runner.name, runner.precision) == ("resnet_nano", "fp32")
    assert runner.card.classes == ("a", "b")
    assert open_runner(weights, precision="bf16").precision == "bf16"


def test_threads_reach_torch(weights):
    before = torch.get_num_threads()
    try:
        open_runner(weights, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_mismatch_names_the_way_out(weights, model):
    with pytest.raises(Pseudo3dError, match=r"p3d export WEIGHTS --to openvino"):
        open_runner(weights, runtime="openvino")
    with pytest.raises(Pseudo3dError, match=r"p3d export WEIGHTS --to onnx"):
        open_runner(model, runtime="onnxruntime")
    with pytest.raises(Pseudo3dError, match="give the checkpoint"):
        open_runner(model, runtime="torch")
    with pytest.raises(Pseudo3dError, match=r"unknown suffix '.tflite'.*\.onnx"):
        open_runner("net.tflite")


def test_an_unknown_runtime_is_told_the_nearest(weights, unchecked):
    with pytest.raises(TypeError, match="openvino"):
        open_runner(weights, runtime="openvno")


def test_onnx_goes_to_what_is_installed(monkeypatch, tmp_path):
    for have, want in (
        ({"onnxruntime", "openvino"}, "onnxruntime"),
        ({"openvino"}, "openvino"),
        (set(), "onnxruntime"),
    ):
        monkeypatch.setattr(module, "find_spec", lambda name, have=have: name in have or None)
        assert module._choose(tmp_path / "n.onnx", "auto") == want


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        open_runner(tmp_path / "no.onnx")
    for name in ("junk.onnx", "junk.xml"):
        (tmp_path / name).write_bytes(b"<net junk" * 20)
        (tmp_path / "junk.bin").write_bytes(b"")
        with pytest.raises(WeightsError, match=f"{name}: damaged or incomplete"):
            open_runner(tmp_path / name)


def test_the_two_files_of_openvino_belong_together(model, tmp_path):
    (tmp_path / "net.xml").write_bytes(model.read_bytes())
    with pytest.raises(WeightsError, match=r"net\.bin is not beside it"):
        open_runner(tmp_path / "net.xml")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_clip_with_a_hole_has_no_answer(weights, tmp_path, to):
    path = export(weights, tmp_path / {"onnx": "a.onnx", "openvino": "a.xml"}[to], to).path
    clip = torch.randn(2, 3, 2, 16, 16)
    runner = open_runner(path)
    want = runner(clip)
    clip[0, 1, 0, 3, 3] = torch.nan
    found = runner(clip)
    assert found[0].isnan().all()
    assert torch.allclose(found[1], want[1], atol=1e-5)


def test_an_fp32_file_can_run_in_bf16_where_the_processor_can(model, monkeypatch):
    clip = torch.randn(2, 3, 2, 16, 16)
    runner = open_runner(model)
    capable = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert runner.precision == "fp32"
    if capable:
        low = open_runner(model, precision="bf16")
        assert low.precision == "bf16"
        assert not torch.equal(low(clip), runner(clip))

    class Old:
        def get_property(self, device, name):
            return ["FP32", "INT8"]

    monkeypatch.setattr("pseudo3d.runtime.openvino._core", Old)
    check_precision("fp32")
    with pytest.raises(Pseudo3dError, match="no bf16"):
        check_precision("bf16")


def test_a_file_is_not_run_in_more_precision_than_it_holds(weights):
    path = export(weights, weights.with_name("low.xml"), "openvino", "bf16").path
    with pytest.raises(Pseudo3dError, match=r"exported in bf16, asked for fp32"):
        open_runner(path, precision="fp32")
