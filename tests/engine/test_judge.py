"""Whatever runs a network gives the same probabilities, in few sizes of batches."""

import pytest
import torch
from torch import nn

from pseudo3d.engine.judge import judge, known
from pseudo3d.engine.predict import predict
from pseudo3d.errors import WeightsError
from pseudo3d.runtime.lower import Lowered, optimize
from pseudo3d.runtime.runner import open_runner
from pseudo3d.weights import load, save


@pytest.fixture(scope="module")
def weights(trained):
    return trained / "weights.safetensors"


@pytest.fixture
def clips():
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (11, 3, 4, 16, 16), generator=rng, dtype=torch.uint8)


class Recorder:
    """A runner that notes the sizes it is given."""

    name, precision = "recorder", "fp32"

    def __init__(self, net):
        self.card, self.net, self.sizes = net.card, net, []

    def __call__(self, clips):
        self.sizes.append(len(clips))
        return self.net(clips)


def test_a_path_a_network_and_a_runner_agree(weights, clips):
    net = load(weights)
    with torch.inference_mode():
        want = net(net.card.preprocessing.normalize(clips)).softmax(1)
    for model in (weights, str(weights), net, optimize(net), open_runner(weights), Recorder(net)):
        ready = judge(model, 4)
        assert ready.classes == net.card.classes
        assert torch.allclose(ready(clips), want, atol=1e-5)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [(11, 4, [4, 4, 1, 1, 1]), (8, 4, [4, 4]), (3, 4, [1, 1, 1]), (5, 1, [1] * 5)],
)
def test_batches_have_two_sizes_at_most(weights, clips, count, batch, sizes):
    run = Recorder(load(weights))
    assert judge(run, batch)(clips[:count]).shape == (count, 3)
    assert run.sizes == sizes


def test_a_network_with_another_head_runs_as_it_is(weights, clips):
    net, want = load(weights), judge(weights, 4)(clips)
    net.head = nn.Sequential(net.head)
    assert torch.allclose(judge(net, 4)(clips), want, atol=1e-5)


def test_our_networks_are_optimized_once_and_anew_when_they_change(weights, clips):
    net = load(weights)
    first, again = judge(net, 4), judge(net, 4)
    assert isinstance(first.run, Lowered)
    assert again.run is first.run
    with torch.no_grad():
        for p in (net.head.weight, net.head.bias):
            p.copy_(p[[1, 2, 0]])  # the sum stays
    turned = judge(net, 4)
    assert torch.allclose(turned(clips), first(clips)[:, [1, 2, 0]], atol=1e-5)
    net.head.bias.data += torch.tensor([1.0, 0.0, 0.0])  # not counted as a write
    assert (judge(net, 4)(clips)[:, 0] > turned(clips)[:, 0]).all()


def test_other_networks_run_as_they_are(meter, clips):
    net = meter({"a": 1.0, "b": 2.0})
    ready = judge(net, 4)
    assert ready.run is net
    ready(clips)
    assert net.batches == [4, 4, 3]
    assert not judge(net.train(), 4).run.training  # a copy
    assert net.training


def test_a_runner_without_classes_is_refused(fresh):
    run = optimize(fresh())
    with pytest.raises(WeightsError, match="classes"):
        judge(run, 1)
    with pytest.raises(WeightsError, match="classes"):
        known(run)


def test_an_exported_network_is_recognized_with(weights, films, tmp_path):
    pytest.importorskip("onnxruntime")
    export = pytest.importorskip("pseudo3d.runtime.export")
    path = tmp_path / "net.onnx"
    export.export(load(weights), path, to="onnx")
    ours, theirs = (predict(model, films.items[3].path) for model in (weights, path))
    assert theirs.probs == pytest.approx(ours.probs, abs=1e-4)


def test_weights_saved_without_classes_are_refused(fresh, tmp_path):
    save(fresh(), tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="classes"):
        judge(tmp_path / "bare.safetensors", 1)
