"""2-D networks of thirty kinds: each starts exactly as its 2-D self, or is refused in one line."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pseudo3d.errors import Pseudo3dError
from pseudo3d.recycle import convert as module
from pseudo3d.recycle.convert import convert
from pseudo3d.recycle.convert.partner import Partner
from recycle.nets2d import CONVERTIBLE, NOT_EXACT, REFUSED, draw

LENGTHS = (1, 2, 5, 16)


@pytest.fixture(autouse=True)
def _quiet_padding():
    """torch warns where padding="same" meets an even kernel, in the 2-D network already."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
        yield


def answers(tree):
    return [y for y in tree_leaves(tree) if isinstance(y, Tensor)]


def frame_by_frame(net, clip):
    """The 2-D network on each frame alone: vectors averaged, maps in a row."""
    clips = []
    for one in clip.unbind(0):
        frames = [answers(net(frame[None])) for frame in one.unbind(1)]
        rows = [torch.stack(y, 1) for y in zip(*frames, strict=True)]
        clips.append([y.mean(1) if y.ndim == 3 else y.transpose(1, 2) for y in rows])
    return [torch.cat(y) for y in zip(*clips, strict=True)]


SIDES = {"AlexNet": 224, "LeNet": 28, "Vision transformer": 64}


def small(net2d, name):
    """Small images the network takes."""
    channels = next(m for m in net2d.modules() if isinstance(m, nn.Conv2d)).in_channels
    side = SIDES.get(name.partition(",")[0], 32)
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def images(side):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def converted(name, net2d=None):
    """A network of the battery for clips; the proof is another test's."""
    net2d = draw(CONVERTIBLE[name]) if net2d is None else net2d
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_try", lambda *_: None)
        net = convert(net2d, example=small(net2d, name))
    images = small(net2d, name)
    net.report = replace(
        net.report, image_channels=images.shape[1], image_size=tuple(images.shape[-2:])
    )
    return net


def shaken(net):
    """A converted network whose partners have learned something."""
    generator = torch.Generator().manual_seed(5)
    for partner in net.partners().values():
        weight = partner.conv.weight.data
        weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return net


def test_the_battery_is_large_enough():
    assert len(CONVERTIBLE) >= 24
    assert len(REFUSED) >= 4


@pytest.mark.parametrize("name", CONVERTIBLE)
@torch.no_grad()
def test_a_network_starts_as_its_2d_self_on_every_frame(name):
    net2d = draw(CONVERTIBLE[name])
    net = convert(net2d, example=small(net2d, name))
    assert net.report.exact
    size, channels = net.report.image_size, net.report.image_channels
    double = copy.deepcopy(net2d).double(), copy.deepcopy(net).double()
    torch.manual_seed(1)
    for length in LENGTHS:
        clip = torch.randn(1 if length == 16 else 2, channels, length, *size)
        wanted = frame_by_frame(double[0], clip.double())
        for got, limit in ((net(clip), 1e-5), (double[1](clip.double()), 1e-12)):
            for mine, theirs in zip(answers(got), wanted, strict=True):
                assert mine.shape == theirs.shape
                assert (mine - theirs).abs().max() <= limit * theirs.abs().max(), (name, length)


@pytest.mark.parametrize("name", CONVERTIBLE)
@torch.no_grad()
def test_every_partner_looks_along_time_and_only_there(name):
    net = shaken(converted(name)).double()
    assert len(net.partners()) == len(net.report.layers) > 0
    assert all(isinstance(p, Partner) for p in net.partners().values())
    torch.manual_seed(2)
    clip = torch.randn(2, net.report.image_channels, 5, *net.report.image_size).double()
    there, back = answers(net(clip)), answers(net(clip.flip(2)))
    assert any((a - b).abs().max() > 1e-7 * a.abs().max() for a, b in zip(there, back, strict=True))
    for one, both in zip(answers(net(clip[1:])), there, strict=True):
        torch.testing.assert_close(one, both[1:])


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_the_gradient_reaches_every_partner_and_what_it_reached_before(name):
    net2d = draw(CONVERTIBLE[name])
    net = converted(name, net2d)
    torch.manual_seed(3)
    clip = torch.randn(2, net.report.image_channels, 3, *net.report.image_size)
    sum(y.square().sum() for y in answers(net(clip))).backward()
    sum(y.square().sum() for y in answers(net2d(clip[:, :, 0]))).backward()
    alive = {n for n, p in net2d.named_parameters() if p.grad is not None and p.grad.any()}
    got = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert {n for n in alive if f"net.{n}" not in got} == set()
    assert [n for n, p in net.named_parameters() if ".time." in n and n not in got] == []


WHY = {
    "Swin transformer": "nothing in the 2-D network can look along time (patch: stem",
    "tiles as a batch": "tiles.0: gets (8, 8, 16, 16) for 2 images: parts or joins of frames",
    "decision by values": "forward decides by values (__bool__)",
    "answer with the batch second": "answers 2 images with a tensor of shape (16, 2, 5)",
    "MLP": "MLP has no 2-D convolution",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_refused_in_one_line(name):
    with pytest.raises(Pseudo3dError) as caught:
        convert(draw(REFUSED[name]))
    assert WHY[name] in str(caught.value)
    assert "\n" not in str(caught.value)


ODD_BORDERS = ("padding='same'", "circular, reflected borders", "Inception v3", "ShuffleNet v2")


@pytest.mark.parametrize("name", ODD_BORDERS)
def test_kernels_in_the_center_frame_keep_every_kind_of_border(name):
    assert convert(draw(CONVERTIBLE[name]), method="center", example=images(32)).report.exact


@pytest.mark.parametrize("name", NOT_EXACT)
def test_equality_is_not_claimed_where_it_does_not_hold(name):
    report = convert(draw(NOT_EXACT[name])).report
    assert not report.exact
    assert "does not start as the 2-D network" in str(report)
    assert "depends on the other images of its batch (batch norm without" in str(report)
