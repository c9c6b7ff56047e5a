"""Weights are told from others, in whatever form they run."""

import pytest
import torch
from torch import nn

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.features.sources import open_extractor
from pseudo3d.models import create_model
from pseudo3d.runtime.export import export
from pseudo3d.runtime.identity import file_digest, weights_digest
from pseudo3d.runtime.lower import optimize
from pseudo3d.runtime.runner import open_runner
from pseudo3d.weights import save

PRE = Preprocessing(frames=4, resize=16, size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


def net(seed, **options):
    torch.manual_seed(seed)
    return create_model("p3d_nano", num_classes=2, **options)


def test_a_digest_sees_every_change_and_nothing_else():
    first = net(0)
    before = weights_digest(first)
    assert weights_digest(net(0)) == before
    assert weights_digest(first.to(memory_format=torch.channels_last_3d)) == before
    first.head.weight.data = first.head.weight.data.flip(0)
    assert weights_digest(first) != before


def test_names_count():
    """Two layers of one shape that change places are another network."""
    layer = nn.Linear(2, 2)
    one, two = (nn.ModuleDict({name: layer}) for name in "ab")
    assert weights_digest(one) != weights_digest(two)


def test_the_weights_beside_a_graph_belong_to_it(tmp_path):
    graph, weights = tmp_path / "a.xml", tmp_path / "a.bin"
    graph.write_text("<net/>")
    found = []
    for value in (b"1", b"2"):
        weights.write_bytes(value)
        found.append(file_digest(graph))
    assert found[0] != found[1]


def test_optimized_networks_without_a_card_are_told_apart():
    """Features of one were given as those of the other."""
    one, two = (open_extractor(optimize(net(seed)), preprocessing=PRE) for seed in (1, 2))
    again = open_extractor(optimize(net(1)), preprocessing=PRE)
    assert one.identity == again.identity != two.identity


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_exported_files_are_told_apart(tmp_path, to):
    pytest.importorskip({"onnx": "onnxruntime"}.get(to, to), reason=f"needs the extra for {to}")
    ends, found = {"onnx": ".onnx", "openvino": ".xml"}, []
    for seed in (1, 2):
        model = net(seed)
        save(model, tmp_path / f"{seed}.safetensors", classes=("a", "b"), preprocessing=PRE)
        path = tmp_path / f"{seed}{ends[to]}"
        export(tmp_path / f"{seed}.safetensors", path, to)
        assert open_runner(path).identity == file_digest(path)[:16]
        found.append(file_digest(path))
    assert found[0] != found[1]
