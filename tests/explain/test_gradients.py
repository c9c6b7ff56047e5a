"""The gradient methods are captum's, finer where a layer has several moments, and add up."""

import pytest
import torch

from explain.known_nets import MOMENT, Spotter, bright
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.asking import Question, ask
from pseudo3d.explain.gradients import gradcam, integrated
from pseudo3d.explain.places import find_layer
from pseudo3d.models import create_model
from pseudo3d.recycle.convert import convert

LayerGradCam = pytest.importorskip(
    "captum.attr", reason="gradients need the extra `explain`"
).LayerGradCam


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return create_model("p3d_tiny", num_classes=3, in_channels=1).eval()


def test_before_the_average_it_is_grad_cam_itself(tiny):
    clip = torch.randn(1, 16, 32, 32)
    question = ask(tiny, clip, 1)
    found = gradcam(question, clip, "res5")
    cam = LayerGradCam(question.score, tiny.stages[-1]).attribute(clip[None])
    t, h, w = cam.shape[2:]
    assert found.places == (t, h, w)
    layer = find_layer(tiny, clip, "res5")
    theirs = layer.spread(cam[0, 0].detach(), (16, 32, 32))
    assert torch.allclose(found.values, theirs, atol=1e-5)
    assert found.values.abs().max() > 1e-3


def test_where_frames_matter_differently_grad_cam_gives_all_the_same_and_ours_does_not():
    net, clip = Spotter().eval(), bright()
    question = ask(net, clip, "seen")
    flat = LayerGradCam(question.score, net.look).attribute(clip[None])[0, 0]
    assert torch.allclose(flat, flat[:1].expand_as(flat))
    ours = gradcam(question, clip).values
    assert ours.sum((1, 2)).nonzero().flatten().tolist() == [MOMENT]


def test_what_integrated_hands_out_adds_up_to_the_score(tiny):
    clip = torch.randn(1, 8, 32, 32)
    question, empty = ask(tiny, clip, 0), torch.zeros(1, 8, 32, 32)
    found = integrated(question, clip, empty, steps=8)
    whole = question.scores([clip, empty])
    assert found.completeness == pytest.approx(
        abs(float(found.values.double().sum()) - float(whole[0] - whole[1]))
        / abs(float(whole[0] - whole[1])),
        abs=1e-3,
    )
    assert found.completeness < 0.02


def test_steps_are_added_until_it_adds_up_and_what_is_missing_is_told():
    def jump(x):  # flat, but for a step that few points on the way meet
        far = (300 * (x.mean((1, 2, 3, 4)) - 0.995)).sigmoid()
        return torch.stack([-far, far], 1)

    class Jump(torch.nn.Module):
        def forward(self, x):
            return jump(x)

    clip, empty = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    question = ask(Jump(), clip, 1)
    few, more = (integrated(question, clip, empty, steps=steps) for steps in (2, 64))
    assert few.steps == 8
    assert few.completeness > 0.1
    assert more.completeness < 0.02
    assert more.steps >= 64


def test_converted_networks_have_maps_of_their_frames():
    torch.manual_seed(0)
    net2d = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, padding=1),
        torch.nn.ReLU(inplace=True),
        torch.nn.Conv2d(4, 4, 3, padding=1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    net, clip = convert(net2d).eval(), torch.randn(1, 6, 16, 16)
    found = gradcam(ask(net, clip, 2), clip)
    assert found.places == (6, 8, 8)
    assert found.values.shape == (6, 16, 16)
    assert found.values.std((1, 2)).min() > 0
    assert integrated(ask(net, clip, 2), clip, torch.zeros_like(clip), 8).completeness < 0.05


def test_an_exported_program_has_no_gradient():
    question = Question(net=lambda x: x, fast=lambda: None, kind="value", index=0, name="value")
    for made in (gradcam, lambda *a: integrated(*a, torch.zeros(1, 2, 4, 4), 2)):
        with pytest.raises(Pseudo3dError, match="occlusion"):
            made(question, torch.zeros(1, 2, 4, 4))
