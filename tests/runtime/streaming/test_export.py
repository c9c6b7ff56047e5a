"""An exported stream computes what the network does, step by step, and says what it is."""

import numpy as np
import pytest
import torch

from pseudo3d import create_model, save
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.stream import Stream
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.runtime.agree import difference
from pseudo3d.runtime.runner import open_runner
from pseudo3d.runtime.streaming import export as module
from pseudo3d.runtime.streaming.export import export_stream
from pseudo3d.runtime.streaming.exported import ExportedStream
from pseudo3d.runtime.streaming.graph import StreamGraph
from pseudo3d.runtime.streaming.program import Program
from runtime.causal_cases import CAUSAL, network

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
PRE = Preprocessing(frames=8, resize=24, size=(20, 24), mean=(0.5,) * 3, std=(0.25,) * 3)
BARE = ("tsm online", "tsn")


def clip_of(t, h=20, w=24):
    return torch.randn(1, 3, t, h, w, generator=torch.Generator().manual_seed(t))


def of(case):
    return network(case, case in CAUSAL)


@pytest.mark.parametrize("case", [*CAUSAL, *BARE])
def test_the_graph_with_a_state_is_the_network_after_every_chunk(case):
    net = of(case)
    period = Program(net, torch.float32).period
    for chunk, recent in ((period, None), (2 * period, None), (period, 2)):
        graph, clip = StreamGraph(net, recent), clip_of(3 * chunk)
        state = graph.start(torch.zeros(chunk, 3, 20, 24))
        shapes = [t.shape for t in state]
        for end in range(chunk, 3 * chunk + 1, chunk):
            seen = clip[:, :, :end]
            with torch.inference_mode():
                frames = seen[0, :, -chunk:].transpose(0, 1)
                logits, *state = graph(frames, *state)
                features = net.feature_map(seen).mean((3, 4))
                want = net.head(features[:, :, -(recent or 0) :].mean(2))
            torch.testing.assert_close(logits, want, atol=2e-6, rtol=1e-5)
            assert [t.shape for t in state] == shapes


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "weights.safetensors"
    save(network("release", True), path, classes=tuple("abcde"), preprocessing=PRE)
    return path


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("to", "name"), [("onnx", "s.onnx"), ("openvino", "s.xml")])
def test_an_exported_stream_equals_the_network_and_disturbs_no_other(weights, to, name, tmp_path):
    written = export_stream(weights, tmp_path / name, to, frames=4)
    assert written.parity < 1e-5
    assert written.axes == (4 if to == "onnx" else None)
    assert written.to_dict()["chunk"] == [4, 3, 20, 24]
    stream = ExportedStream(tmp_path / name, threads=1)
    assert (stream.name, stream.period) == ("p3d_nano", 2)
    assert stream.card.classes == tuple("abcde")
    clips, states = [clip_of(8), clip_of(12)], [stream.start(), stream.start()]
    for start in (0, 4, 8):
        for i, clip in enumerate(clips):
            if start < clip.shape[2]:
                before = [array.copy() for array in states[i]]
                logits, after = stream.step(clip[:, :, start : start + 4], states[i])
                assert all(map(np.array_equal, before, states[i])), "a state is never changed"
                states[i] = after
                seen = clip[:, :, : start + 4]
                assert difference(network("release", True), seen, logits) < 1e-5
    with pytest.raises(Pseudo3dError, match="frames of uint8; wanted float"):
        stream.step(torch.zeros(1, 3, 4, 20, 24, dtype=torch.uint8), stream.start())


KINDS = [("replicate", "onnx"), ("medical A", "openvino"), ("tsm online", "openvino")]
KINDS += [("replicate", "openvino"), ("medical A", "onnx"), ("tsm online", "onnx")]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "to"), KINDS)
def test_every_kind_of_state_passes_the_exporters(case, to, tmp_path):
    out = tmp_path / ("s.onnx" if to == "onnx" else "s.xml")
    assert export_stream(of(case), out, to, size=(20, 24)).parity < 1e-5


def test_memory_of_an_exported_stream_is_that_of_a_stream(tmp_path):
    net, clip = network("release", True), clip_of(12)
    export_stream(net, tmp_path / "s.onnx", "onnx", frames=2, size=(20, 24), memory=5)
    exported, stream = ExportedStream(tmp_path / "s.onnx", threads=1), Stream(net, memory=5)
    state, ours = exported.start(), stream.start()
    for start in range(0, 12, 2):
        logits, state = exported.step(clip[:, :, start : start + 2], state)
        want, ours = stream.step(clip[:, :, start : start + 2], ours)
        torch.testing.assert_close(logits, want, atol=2e-6, rtol=1e-5)


def test_bfloat16_differs_by_rounding_only(weights, tmp_path):
    from openvino import Core

    if "BF16" not in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16 arithmetic")
    small = export_stream(weights, tmp_path / "s.xml", "openvino", "bf16")
    assert 0 < small.parity < 1e-2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 3}, "wanted a multiple, such as 4"),
        ({"frames": 0}, "wanted a multiple"),
        ({"precision": "int8"}, "a stream in int8"),
        ({"precision": "bf16", "to": "onnx"}, "ONNX in bf16"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_exported_is_refused(weights, tmp_path, options, words):
    to = options.get("to", "openvino")
    out = tmp_path / ("s.onnx" if to == "onnx" else "s.xml")
    with pytest.raises(Pseudo3dError, match=words):
        export_stream(weights, out, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_looks_ahead_is_refused(tmp_path):
    with pytest.raises(Pseudo3dError, match=r"looks 5 frames ahead.*--net causal=true"):
        export_stream(network("release"), tmp_path / "s.xml", size=(20, 24))
    with pytest.raises(Pseudo3dError, match="give --size"):
        export_stream(network("release", True), tmp_path / "s.xml")
    with pytest.raises(Pseudo3dError, match="labels every voxel"):
        export_stream(create_model("p3d_unet"), tmp_path / "s.xml", size=(20, 24))


def test_a_stream_that_computes_something_else_is_not_written(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "difference", lambda *args: 1.0)
    with pytest.raises(Pseudo3dError, match="computes something else"):
        export_stream(weights, tmp_path / "s.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_kinds_are_told_apart(weights, tmp_path):
    export_stream(weights, tmp_path / "s.onnx", "onnx")
    with pytest.raises(WeightsError, match="made with --stream"):
        open_runner(tmp_path / "s.onnx")
    with pytest.raises(WeightsError, match="does not exist"):
        ExportedStream(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="damaged"):
        ExportedStream(tmp_path / "bad.onnx")
    stream = ExportedStream(tmp_path / "s.onnx")
    with pytest.raises(Pseudo3dError, match="2 frames at a time"):
        stream.step(clip_of(3), stream.start())
