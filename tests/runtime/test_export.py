"""What an exported file computes, what it says about itself, and what is refused."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from pseudo3d import create_model, load, save
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.runtime import export as module
from pseudo3d.runtime.artifact import METADATA_KEY, Spec
from pseudo3d.runtime.export import export
from pseudo3d.runtime.graphs import most_axes
from pseudo3d.runtime.runner import open_runner

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

PRE = Preprocessing(frames=6, resize=18, size=(16, 18), mean=(0.5,) * 3, std=(0.25,) * 3)
CLASSES = ("wave <left>", 'say "ö"', "sit & stand")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a tiny network with every mix, dropout, and batch norm that does something."""
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 6, 8, 8), stem_width=4, num_classes=3)
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm3d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias)
    path = tmp_path_factory.mktemp("net") / "weights.safetensors"
    save(net, path, classes=CLASSES, preprocessing=PRE)
    return path


@pytest.fixture(scope="module")
def files(weights):
    """One export of each kind."""
    home = weights.parent
    return {
        "onnx": export(weights, home / "net.onnx", "onnx"),
        "openvino": export(weights, home / "net.xml", "openvino"),
        "bf16": export(weights, home / "net-bf16.xml", "openvino", "bf16"),
    }


def clips(n, seed=3, shape=(3, 6, 16, 18)):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [("onnx", "onnxruntime"), ("onnx", "openvino"), ("openvino", "openvino")],
)
@pytest.mark.parametrize("n", [1, 5])
def test_an_artifact_computes_what_the_network_computes(weights, files, kind, runtime, n):
    runner = open_runner(files[kind].path, runtime=runtime, threads=1)
    with torch.inference_mode():
        want = load(weights)(clips(n))
    assert_close(runner(clips(n)), want, rtol=1e-5, atol=1e-5)
    assert files[kind].parity < 1e-5


def test_bf16_is_near_and_half_as_large(weights, files):
    runner = open_runner(files["bf16"].path)
    with torch.inference_mode():
        want = load(weights)(clips(4))
    difference = float((runner(clips(4)) - want).norm() / want.norm())
    assert 1e-5 < difference < 2e-2
    assert runner.precision == "bf16"
    halves = [files[kind].path.with_suffix(".bin").stat().st_size for kind in ("bf16", "openvino")]
    assert halves[0] < 0.6 * halves[1]


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_the_card_travels_in_the_file(weights, files, kind, tmp_path):
    runner = open_runner(files[kind].path)
    assert runner.card == load(weights).card
    assert runner.card.classes == CLASSES
    assert runner.card.preprocessing == PRE
    assert runner.name == "p3d_nano"


def test_no_tensor_of_the_onnx_graph_has_more_than_four_axes(files):
    model = onnx.load(files["onnx"].path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    axes = {v.name: len(v.type.tensor_type.shape.dim) for v in inferred.value_info}
    made = {name for node in inferred.node for name in node.output}
    assert made <= {*axes, *(v.name for v in inferred.output)}, "a tensor without known shape"
    assert max(axes.values()) == 4
    assert max(len(t.dims) for t in inferred.initializer) == 4
    assert most_axes(model) == files["onnx"].axes == 4
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "6 * clips"


def test_a_fifth_axis_is_seen():
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 2, 3, 4, 5]) for name in "xz"]
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    assert most_axes(helper.make_model(graph)) == 5


def test_a_network_without_card_takes_the_clip_it_is_told(tmp_path):
    net = create_model(
        "p3d50", semantics="port", depths=(1, 1, 1, 1), widths=(4, 4, 8, 8), stem_width=4,
        num_classes=2, padding_mode="replicate",
    )  # fmt: skip
    found = export(net, tmp_path / "net.onnx", "onnx", frames=9, size=(32, 40))
    assert found.axes == 4
    assert found.spec.clip == (3, 9, 32, 40)
    assert found.spec.card.classes is None
    export(net, tmp_path / "net.xml", "openvino", frames=8, size=(32, 40))  # every kind of pooling


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_frames_as_read_are_refused(files, kind):
    with pytest.raises(Pseudo3dError, match="clip of uint8; wanted float"):
        open_runner(files[kind].path)(clips(1).to(torch.uint8))


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_clip_of_another_size_is_told_which_one_fits(files, kind):
    runner = open_runner(files[kind].path)
    with pytest.raises(Pseudo3dError, match=r"6 frames of 16 x 18 pixels.*--frames 8 --size 16 18"):
        runner(clips(1, shape=(3, 8, 16, 18)))
    with pytest.raises(Pseudo3dError, match="2 channels where the network takes 3"):
        runner(clips(1, shape=(2, 6, 16, 18)))


def test_failing_parity_raises_and_leaves_nothing(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(module.LIMITS, "fp32", -1.0)
    with pytest.raises(Pseudo3dError, match="computes something else"):
        export(weights, tmp_path / "new" / "bad.xml", "openvino")
    assert list(tmp_path.rglob("*.*")) == []


def test_the_folder_of_a_killed_run_is_no_obstacle(tmp_path):
    left = tmp_path / f".net.onnx.{os.getpid()}.part"  # that run had the same number
    left.mkdir()
    (left / "half.bin").write_bytes(b"half")
    with module.draft(tmp_path / "net.onnx") as path:
        path.write_bytes(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_an_old_file_survives_a_failed_export(weights, tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"old")
    monkeypatch.setitem(module.LIMITS, "fp32", -1.0)
    with pytest.raises(Pseudo3dError):
        export(weights, tmp_path / "net.onnx", "onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"old"


def test_what_does_not_go_together_is_refused_before_work(weights, tmp_path):
    def wrong(message, name, *choice, error=Pseudo3dError, **more):
        with pytest.raises(error, match=message):
            export(weights, tmp_path / name, *choice, **more)

    wrong("ends with .xml", "n.onnx", "openvino")
    wrong("unknown export target: 'tflite'", "n.tflite", "tflite", error=TypeError)
    wrong("unknown precision: 'fp8'", "n.onnx", "onnx", "fp8", error=TypeError)
    wrong("--to openvino --precision bf16", "n.onnx", "onnx", "bf16")
    wrong("give --data", "n.xml", "openvino", "int8")
    wrong("are for int8", "n.xml", "openvino", "fp32", calibration=[clips(1)])
    net = create_model("resnet_nano", num_classes=2)
    with pytest.raises(Pseudo3dError, match="give frames and size"):
        export(net, tmp_path / "n.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_the_extra(weights, tmp_path, monkeypatch):
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ImportError, match=r"pseudo3d\[export\]"):
        export(weights, tmp_path / "n.onnx", "onnx")
    with pytest.raises(ImportError, match=r"pseudo3d\[export\]"):
        export(weights, tmp_path / "n.xml", "openvino")


def test_the_network_stays_as_it_was(tmp_path):
    net = create_model("resnet_nano", num_classes=2).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    export(net, tmp_path / "n.xml", frames=2, size=(16, 16))
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_metadata_that_cannot_be_used_is_said(files, tmp_path):
    model = onnx.load(files["onnx"].path)
    path = tmp_path / "odd.onnx"

    def opening(text):
        del model.metadata_props[:]
        if text is not None:
            onnx.helper.set_model_props(model, {METADATA_KEY: text})
        onnx.save(model, path)
        return open_runner(path)

    good = files["onnx"].spec.to_json()
    assert Spec.from_json(good) == files["onnx"].spec
    assert opening(good).name == "p3d_nano"
    for text, message in (
        (None, "no metadata of pseudo3d.*p3d export"),
        ("{", "metadata cannot be used"),
        (json.dumps({"artifact": 9}), "newer pseudo3d"),
        (json.dumps({"artifact": 1}), "metadata cannot be used"),
    ):
        with pytest.raises(WeightsError, match=message):
            opening(text)


def test_reports_hold_plain_values(files):
    plain = json.loads(json.dumps(files["onnx"].to_dict()))
    assert plain["clip"] == [3, 6, 16, 18]
    assert plain["bytes"] == Path(plain["path"]).stat().st_size
    assert plain["limit"] == 1e-5


def test_a_network_for_masks_is_refused_in_words(tmp_path):
    unet = create_model("p3d_unet", widths=(4, 8), depths=(1, 1), strides=((1, 2, 2),))
    with pytest.raises(Pseudo3dError, match="answers for every voxel"):
        export(unet, tmp_path / "unet.onnx", "onnx", frames=8, size=(16, 16))
    assert list(tmp_path.iterdir()) == []
