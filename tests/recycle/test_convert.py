"""A converted network is an ordinary module; what is asked for is done, or refused and why."""

import copy
import io
import json
import pickle
import threading
import types

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from pseudo3d.errors import Pseudo3dError
from pseudo3d.recycle.convert import Converted, convert, frames
from recycle.nets2d import (
    BasicBlock,
    UNet,
    draw,
    mobilenet_v2,
    resnet_basic,
    resnet_bottleneck,
    resnext,
)


def clip(frames=4, n=2, channels=3, size=32):
    torch.manual_seed(7)
    return torch.randn(n, channels, frames, size, size)


def images():
    return clip(2, 1)[0].transpose(0, 1)


@pytest.fixture
def net2d():
    return draw(resnet_basic)


@pytest.fixture
def net(net2d):
    """Converted, with partners that do something."""
    net = convert(net2d, example=images())
    torch.manual_seed(8)
    for part in net.partners().values():
        part.conv.weight.data += 0.2 * torch.randn_like(part.conv.weight)
    return net


def test_the_callers_network_and_random_numbers_are_left_alone(net2d):
    net2d.train()
    net2d.bn1.eval()
    before = copy.deepcopy(net2d.state_dict())
    drawn = torch.random.get_rng_state()
    net = convert(net2d)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    after = net2d.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), after.values(), strict=True))
    assert not any(m._forward_hooks for m in net2d.modules())
    modes = {f"net.{n}" if n else "net": m.training for n, m in net2d.named_modules()}
    assert modes == {n: m.training for n, m in net.named_modules() if n in modes}
    assert net.training


def test_the_2d_weights_keep_their_names(net2d, net):
    theirs = net2d.state_dict()
    ours = net.net.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert all(".time.conv.weight" in key for key in ours.keys() - theirs.keys())


@torch.no_grad()
def test_copies_and_pickles_compute_the_same_on_their_own(net):
    wanted = net(clip())
    again = copy.deepcopy(net)
    assert {id(p.clock) for p in again.partners().values()} == {id(again.clock)}
    assert again.clock is not net.clock
    net(clip(3, 1))  # another length in the first one is nothing to the copy
    assert_close(again(clip()), wanted)
    assert_close(pickle.loads(pickle.dumps(net))(clip()), wanted)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    again.net.layers[0].conv1.weight.data.zero_()
    again.load_state_dict(torch.load(file, weights_only=True))
    assert_close(again(clip()), wanted)


@torch.no_grad()
def test_threads_do_not_take_each_others_clips_apart(net):
    batches = [clip(2, 6), clip(6, 2), clip(4, 3), clip(3, 4)]  # all of twelve frames
    wanted = [net(batch) for batch in batches]
    wrong = []

    def work(batch, want):
        with torch.no_grad():
            wrong.extend(1 for _ in range(15) if not torch.allclose(net(batch), want, 1e-3, 1e-4))

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(batches, wanted, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@torch.no_grad()
def test_the_memory_layout_follows_the_clip_and_changes_nothing(net):
    x = clip(n=1)  # frames of one clip need not be copied, and must be where forward takes a view
    wanted = net(x)
    last = x.contiguous(memory_format=torch.channels_last_3d)
    seen = []
    for part in net.partners().values():
        part.register_forward_hook(
            lambda _, args, y: seen.append((args[1].is_contiguous(), y.is_contiguous()))
        )
    assert_close(net(last), wanted)
    assert set(seen) == {(False, False)}
    seen.clear()
    assert_close(net(x), wanted)
    assert set(seen) == {(True, True)}


def test_training_equals_training_of_the_2d_network_on_the_same_frames(net2d):
    """Batch statistics too: nothing normalizes that did not before."""
    net = convert(net2d, example=images()).train()
    net2d.train()
    x = clip()
    frames = net2d(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 4)).mean(1)
    assert_close(net(x), frames)
    ours = net.net.state_dict()
    for key, value in net2d.state_dict().items():
        assert_close(ours[key], value, rtol=1e-4, atol=1e-5)


def test_it_learns_what_only_the_order_of_frames_tells():
    torch.manual_seed(0)
    net = convert(resnet_basic().eval(), example=images())  # batch norms at rest
    brighter = torch.linspace(-1, 1, 5)[:, None, None] + 0.2 * clip(5, 4, size=16)
    x = torch.cat([brighter, brighter.flip(2)])
    label = torch.tensor([0] * 4 + [1] * 4)
    assert_close(net(x)[:4], net(x)[4:], rtol=1e-4, atol=1e-5)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), label).backward()
        optimizer.step()
    assert (net(x).argmax(1) == label).all()


def test_gradient_checkpointing_inside_gives_the_same_gradients(net):
    net(clip()).square().sum().backward()
    wanted = {n: p.grad.clone() for n, p in net.named_parameters()}
    net.zero_grad()
    body = net.net.layers.forward
    net.net.layers.forward = lambda x: checkpoint(body, x, use_reentrant=False)
    loss = net(clip()).square().sum()
    backward = threading.Thread(target=loss.backward)  # as the threads of a CUDA device
    backward.start()
    backward.join()
    for name, p in net.named_parameters():
        assert_close(p.grad, wanted[name])


def gradients(net, loss, **how):
    """What a loss gives, with the layers after the stem in checkpoints if `how` is told."""
    net = copy.deepcopy(net)
    layers, body = net.net.layers, net.net.layers.forward
    if how:
        layers.forward = lambda x: (
            checkpoint(body, x, **how) if torch.is_grad_enabled() else body(x)
        )
    loss(net).backward()
    return {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


def in_turn(net):
    return net(clip(8, 1)).square().sum() + net(clip(4, 2)).square().sum()


def crossed(net):
    first, second = net(clip(8, 1)), net(clip(4, 2))
    return second.square().sum() * first.sum() + first.square().sum()


def one_on_the_other(net):
    first = net(clip(8, 1)).sum()
    return net(clip(4, 2) + first).square().sum() + net(clip(2, 4)).sum()


def with_a_look_between(net):
    loss = net(clip(8, 1)).square().sum()
    with torch.no_grad():
        net(clip(5, 1))
    return loss


def inside(net):
    """Of what a layer says, and of an answer."""
    kept = []
    hook = net.net.layers.register_forward_hook(lambda _, __, y: kept.append(y))
    net(clip(8, 1))
    hook.remove()
    return kept[0].square().sum() + net(clip(4, 2)).square().sum()


LOSSES = [in_turn, crossed, one_on_the_other, with_a_look_between, inside]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_checkpointing_gives_each_forward_its_own_clips(net, loss, reentrant):
    """All of eight frames, which other numbers of clips would take apart elsewhere."""
    wanted = gradients(net, loss)
    found = gradients(net, loss, use_reentrant=reentrant)
    for name, grad in wanted.items():
        assert_close(found[name], grad, rtol=1e-3, atol=1e-4)


def in_threads(*clips):
    """A loss of forwards each in a thread of its own, where autograd numbers from the beginning."""

    def loss(net):
        answers = []
        for x in clips:
            thread = threading.Thread(target=lambda x=x: answers.append(net(x)))
            thread.start()
            thread.join()
        return sum(y.square().sum() for y in answers)

    return loss


def test_checkpointing_says_so_where_the_forward_cannot_be_told(net):
    alike = in_threads(clip(8, 1), 2 * clip(8, 1))
    assert_close(gradients(net, alike, use_reentrant=False), gradients(net, alike))
    other = in_threads(clip(8, 1), clip(4, 2))
    with pytest.raises(Pseudo3dError, match=r"\(clips x frames: 1 x 8, 2 x 4\); call backward"):
        gradients(net, other, use_reentrant=False)


def test_without_what_is_private_to_torch_all_but_checkpointing_works(net, monkeypatch):
    wanted = gradients(net, in_turn)
    monkeypatch.setattr(frames, "_AT", None)
    monkeypatch.setattr(frames, "_NEXT", None)
    for name, grad in gradients(net, in_turn).items():
        assert_close(grad, wanted[name])
    with pytest.raises(Pseudo3dError, match="outside of it"):
        gradients(net, in_turn, use_reentrant=False)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_torch_compiles_it_without_a_break():
    net = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), "A")
    ready = torch.compile(net, fullgraph=True, backend="eager")  # that of the forward is enough
    x = clip().requires_grad_()
    assert_close(ready(x), net(x))
    (found,) = torch.autograd.grad(ready(x).square().sum(), x)
    assert_close(found, torch.autograd.grad(net(x).square().sum(), x)[0])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(0, 3, 4, 32, 32), (2, 3, 0, 32, 32)])
def test_no_clips_are_refused(net, shape):
    with pytest.raises(Pseudo3dError, match="wanted a clip at least, and a frame"):
        net(torch.zeros(shape))


def test_autocast_trains_short_clips_too(net):
    net.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(clip(2)).square().sum()
    loss.backward()
    low = {n: p.grad.clone() for n, p in net.named_parameters() if ".time." in n}
    net.zero_grad()
    net(clip(2)).square().sum().backward()
    for name, grad in low.items():
        wanted = net.get_parameter(name).grad
        assert torch.cosine_similarity(grad.flatten(), wanted.flatten(), 0) > 0.8, name


@pytest.mark.usefixtures("unchecked")
@torch.no_grad()
def test_torch_exports_it_for_any_number_and_length_of_clips(net):
    n, t = torch.export.Dim("n", min=1, max=64), torch.export.Dim("t", min=2, max=64)
    program = torch.export.export(net, (clip(),), dynamic_shapes={"x": {0: n, 2: t}})
    for x in (clip(), clip(9, 3)):
        assert_close(program.module()(x), net(x))


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")  # of the exporters, about themselves
@torch.no_grad()
def test_onnx_runtime_and_openvino_run_it_for_any_number_and_length_of_clips(net, tmp_path):
    onnxruntime, openvino = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    n, t = torch.export.Dim("n", min=1, max=64), torch.export.Dim("t", min=2, max=64)
    shapes = {"x": {0: n, 2: t}}
    path, other = str(tmp_path / "net.onnx"), clip(7, 3)
    torch.onnx.export(net, (clip(),), dynamo=True, dynamic_shapes=shapes, verbose=False).save(path)
    session = onnxruntime.InferenceSession(path)
    (got,) = session.run(None, {session.get_inputs()[0].name: other.numpy()})
    assert_close(torch.from_numpy(got), net(other), rtol=1e-4, atol=1e-5)
    model = openvino.convert_model(torch.export.export(net, (clip(),), dynamic_shapes=shapes))
    ready = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert_close(torch.from_numpy(ready([other.numpy()])[0]), net(other), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_head_frames_keeps_what_is_said_of_each_frame(net2d):
    net = convert(net2d, head="frames", example=images())
    assert_close(net(clip()), torch.stack([net2d(f) for f in clip().unbind(2)], 1))


@torch.no_grad()
def test_gray_clips_go_through_a_network_of_colors(net2d):
    for channels in (1, 2, 5):
        net = convert(net2d, channels=channels, example=images())
        assert net.report.exact
        assert net.report.channels == f"conv1: 3 channels summed and shared out over {channels}"
        gray = clip(1, channels=1)
        same = net2d(gray[:, :, 0].expand(-1, 3, -1, -1))
        assert_close(net(gray.expand(-1, channels, -1, -1, -1)), same, rtol=1e-4, atol=1e-5)


def test_letters_follow_each_other_over_the_layers_in_order_of_execution(net2d):
    layers = convert(net2d, "AC", example=images()).report.layers
    assert [what[0] for what in layers.values()] == list("ACACAC")
    assert list(layers)[:3] == ["layers.0.conv1", "layers.0.conv2", "layers.1.conv1"]
    assert layers["layers.0.conv2"] == "C: 3x1x1, 8 to 8, after layers.0.bn2"


def test_where_takes_patterns_or_a_function(net2d):
    one = convert(net2d, where="layers.2.*", example=images())
    assert list(one.report.layers) == ["layers.2.conv1", "layers.2.conv2"]
    two = convert(net2d, where=["conv1", "*downsample.0"], example=images())
    assert list(two.report.layers) == ["conv1", "layers.1.downsample.0"]
    big = convert(net2d, where=lambda _, m: m.out_channels == 16, example=images())
    assert all(net2d.get_submodule(name).out_channels == 16 for name in big.report.layers)
    with pytest.raises(Pseudo3dError, match=r"unknown layer in where: .*Did you mean layers\.1"):
        convert(net2d, where="layer.1.conv1", example=images())


def test_layers_that_stay_are_named_with_the_reason(net2d):
    kept = convert(net2d, example=images()).report.plan.kept
    assert kept == {
        "conv1": "stem: it reads the frames themselves",
        "layers.1.downsample.0": "1x1: looks at no neighbors",
    }


def test_partners_have_the_groups_of_their_layer():
    net = convert(draw(resnext), "A", example=images())
    assert [p.conv.groups for p in net.partners().values()] == [4, 4]
    depthwise = convert(draw(mobilenet_v2), "A", example=images())
    assert all(p.conv.groups == p.conv.in_channels for p in depthwise.partners().values())


@torch.no_grad()
def test_a_shared_layer_is_converted_once_wherever_it_stands():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.a = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
            self.also = self.a

        def forward(self, x):
            return self.also(self.a(self.stem(x)).relu()).mean((2, 3))

    for method in ("p3d", "center", "i3d"):
        net = convert(Twice(), method=method)
        assert net.net.a is net.net.also
        assert len(net.report.layers) == 1
        assert net.report.exact == (method != "i3d")


@torch.no_grad()
def test_time_strides_shorten_clips_at_the_halvings_of_space(net2d):
    every = {(1,): 16, (2,): 2, (1, 1, 2): 8, (1, 2, 1): 8, (2, 1): 8}
    for strides, left in every.items():
        net = convert(net2d, depth_stride=strides, head="frames", example=images())
        assert net(clip(16, 1)).shape == (1, left, 5), strides
    with pytest.raises(Pseudo3dError, match="names 4 strides; the network makes images smaller 3"):
        convert(net2d, depth_stride=(1, 1, 1, 2), example=images())


@torch.no_grad()
def test_no_exact_start_is_claimed_where_frames_are_left_out_or_mixed(net2d):
    for options, cause in (
        ({"depth_stride": 2}, "time strides leave frames out"),
        ({"method": "i3d", "padding": "replicate"}, "i3d mix neighboring frames"),
    ):
        report = convert(net2d, example=images(), **options).report
        assert not report.exact
        assert report.proof.still <= report.proof.limit  # a still clip is a picture
        assert cause in str(report)
    for method in ("center", "2.5d"):
        assert convert(net2d, method=method, example=images()).report.exact
    assert not convert(net2d, method="acs", example=images()).report.exact


def test_a_time_stride_that_skips_do_not_survive_is_refused():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)
            self.b = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            a = self.a(x)
            return a + nn.functional.interpolate(self.b(self.pool(a)), scale_factor=2.0)

    assert convert(Skip(), example=images()).report.exact
    with pytest.raises(Pseudo3dError, match=r"does not run: .*depth_stride=\(2,\) does not suit"):
        convert(Skip(), depth_stride=2, example=images())
    with pytest.raises(Pseudo3dError, match="no layer called as a module makes images smaller"):
        convert(draw(UNet), depth_stride=2, example=images())


def test_other_types_and_layers_keep_theirs(net2d):
    net = convert(net2d.to(torch.bfloat16), example=images())
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    double = convert(draw(resnet_basic).double(), example=images())
    assert double.report.exact
    assert double.report.proof.error < 1e-12


def test_the_report_counts_and_is_json(net2d):
    report = convert(net2d, example=images()).report
    assert report.parameters_2d == sum(p.numel() for p in net2d.parameters())
    assert report.parameters > report.parameters_2d
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["proof"]["exact"] is True
    assert plain["plan"]["steps"][0]["becomes"] == "A"
    text = str(report)
    assert "converted: 6 layers (A 2, B 2, C 2)" in text
    assert "equals the 2-D network on clips of 1, 2, 5, 16 frames" in text


class Flaky(nn.Module):
    """Drops out in eval mode too: F.dropout without training=."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), BasicBlock(4, 4)

    def forward(self, x):
        return nn.functional.dropout(self.b(self.a(x))).mean((2, 3))


def test_a_network_that_answers_at_random_is_no_ground_for_a_claim():
    report = convert(Flaky()).report
    assert "gives another answer each time, in eval mode too" in str(report)


class Boxed(nn.Conv2d):
    """Answers with an object of its own."""

    def forward(self, x):
        return types.SimpleNamespace(logits=super().forward(x))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (resnet_basic, {"mix": "ABD"}, "mix is 'ABD'; wanted letters A, B, C"),
        (resnet_basic, {"method": "p4d"}, "unknown method: 'p4d'. Did you mean p3d"),
        (resnet_basic, {"method": "acs", "mix": "A"}, "mix='A' changes nothing for method='acs'"),
        (resnet_basic, {"method": "2.5d", "padding": "replicate"}, "changes nothing for"),
        (resnet_basic, {"kernel": 4}, "kernel is 4; wanted an odd number"),
        (resnet_basic, {"padding": "same"}, "padding is 'same'; wanted 'zeros' or 'replicate'"),
        (resnet_basic, {"head": "max"}, "head is 'max'; wanted 'mean' or 'frames'"),
        (resnet_basic, {"depth_stride": 0}, r"depth_stride is \(0,\); wanted 1 or more"),
        (resnet_basic, {"channels": 0}, "channels is 0; wanted 1 or more"),
        (lambda: nn.Conv3d(3, 3, 3), {}, "has 3-D convolutions and takes clips already"),
        (lambda: nn.LazyConv2d(3, 3), {}, "has lazy parameters; run it once"),
        (lambda: Boxed(3, 4, 3), {}, "answers with a SimpleNamespace, in which no tensor"),
        (lambda: 3, {}, "got a int; wanted a 2-D network"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 5)),
            {},
            "takes no batch of images",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(make, options, message):
    with pytest.raises(Pseudo3dError, match=message):
        convert(make(), **options)


@pytest.mark.usefixtures("unchecked")
def test_images_instead_of_clips_are_refused_with_the_way_to_pass_them(net):
    assert isinstance(net, Converted)
    with pytest.raises(Pseudo3dError, match=r"images\[:, :, None\]"):
        net(clip()[:, :, 0])


def test_a_bottleneck_gets_its_partner_at_the_spatial_kernel():
    layers = convert(draw(resnet_bottleneck), example=images()).report.layers
    assert list(layers) == ["layers.0.body.1.0", "layers.1.body.1.0", "layers.2.body.1.0"]
