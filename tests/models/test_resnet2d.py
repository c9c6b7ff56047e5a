"""The per-frame 2-D network: blind to the order of frames, a plain ResNet on each of them."""

from dataclasses import fields, replace
from zlib import crc32

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from pseudo3d.models import list_models
from pseudo3d.models.resnet2d import ResNet2d, ResNet2dConfig

TINY = ResNet2dConfig(
    depths=(1, 2, 1), widths=(4, 6, 8), strides=(1, 2, 2), stem_width=4, num_classes=3
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tiny(**options):
    """A tiny net whose every weight depends on its name only."""
    net = ResNet2d(replace(TINY, **options))
    for name, value in net.state_dict().items():
        draw = torch.Generator().manual_seed(crc32(name.encode()))
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, generator=draw)
        elif name.endswith(("running_var", "norm.weight", "1.weight")):
            nn.init.uniform_(value, 0.5, 1.5, generator=draw)
        elif value.is_floating_point():
            nn.init.normal_(value, std=0.2, generator=draw)
    return net.eval()


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_order_of_frames_does_not_matter(block):
    net, clip = tiny(block=block), torch.randn(2, 3, 9, 32, 32)
    logits = net(clip)
    for order in (torch.arange(8, -1, -1), torch.randperm(9)):
        assert_close(net(clip[:, :, order]), logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_logits_are_the_mean_of_the_frames_logits(block):
    net, clip = tiny(block=block), torch.randn(2, 3, 5, 33, 40)
    frames = torch.stack([net(frame) for frame in clip.split(1, dim=2)])
    assert_close(net(clip), frames.mean(0))


def test_a_frame_passes_through_he_and_others_resnet():
    """Bottlenecks on one image in plain 2-D functions, the stride on the 3x3 as in torchvision."""
    net = tiny()
    image = torch.randn(2, 3, 37, 50)

    def conv(x, layer, stride=1):
        weight = layer.weight[:, :, 0]
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def bn(x, n):
        return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)

    x = torch.relu(bn(conv(image, net.stem.conv, 2), net.stem.norm))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, first in zip(net.stages, TINY.strides, strict=True):
        for j, block in enumerate(stage):
            stride = 1 if j else first
            y = torch.relu(bn(conv(x, block.reduce), block.reduce_norm))
            y = torch.relu(bn(conv(y, block.pair.space, stride), block.pair.space_norm))
            y = bn(conv(y, block.expand), block.expand_norm)
            x = torch.relu(
                y + (x if j else bn(conv(x, block.shortcut[0], stride), block.shortcut[1]))
            )
    assert_close(net(image[:, :, None]), net.head(x.mean((2, 3))))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_gradient_reaches_every_parameter_and_every_frame(block):
    net, clip = tiny(block=block), torch.randn(2, 3, 4, 32, 32, requires_grad=True)
    net(clip).square().sum().backward()
    assert [n for n, p in net.named_parameters() if not p.grad.any()] == []
    assert bool(clip.grad.ne(0).any(4).any(3).all())


def test_batch_entries_do_not_mix():
    net, clip = tiny(), torch.randn(3, 3, 2, 32, 32)
    assert_close(net(clip), torch.cat([net(entry) for entry in clip.split(1)]))


@pytest.mark.parametrize("name", ["nano", "tiny", "18", "34", "50", "101", "152"])
def test_every_p3d_has_its_2d_twin(name):
    """By whatever the registry says: same body, no weights in time."""
    twin = f"resnet_{name}" if name.isalpha() else f"resnet{name}"
    p3d = f"p3d_{name}" if name.isalpha() else f"p3d{name}"
    assert {twin, p3d} <= set(list_models())


@pytest.mark.parametrize("name", list_models("resnet*"))
def test_the_twin_has_the_body_of_its_p3d(name):
    from pseudo3d.models.registry import default_config

    ours, p3d = default_config(name), default_config(name.replace("resnet", "p3d"))
    for field in ("depths", "block", "widths", "stem_width", "strides"):
        assert getattr(ours, field) == getattr(p3d, field), field


CHANGES = {
    "depths": (1, 1, 1),
    "block": "basic",
    "widths": (4, 6, 6),
    "stem_width": 6,
    "stem_kernel": 5,
    "stem_pool": "ceil",
    "strides": (2, 2, 2),
    "stride_on": "1x1",
    "in_channels": 1,
    "num_classes": 4,
    "dropout": 0.9,
}


@pytest.mark.parametrize("field", [f.name for f in fields(ResNet2dConfig)])
def test_every_config_field_changes_the_module_or_the_output(field):
    nets = [tiny(), tiny(**{field: CHANGES[field]})]
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in nets]
    if shapes[0] != shapes[1]:
        return
    clip = torch.randn(2, 3, 2, 64, 64)
    outputs = []
    for net in nets:
        torch.manual_seed(1)  # the same draw of dropout
        outputs.append(net.train(field == "dropout")(clip))
    assert (outputs[0] - outputs[1]).norm() > 1e-3 * outputs[0].norm()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (1, 1)}, "differ in length"),
        ({"widths": (4, 4)}, "differ in length"),
        ({"strides": (1,)}, "differ in length"),
        ({"depths": (1, 0, 1)}, "depths"),
        ({"widths": (4, 0, 4)}, "widths"),
        ({"stem_width": 0}, "stem_width"),
        ({"block": "wide"}, "block is 'wide'"),
        ({"block": "basic", "stride_on": "1x1"}, "no meaning for basic"),
        ({"stride_on": "5x5"}, "stride_on"),
        ({"stem_kernel": 6}, "even side in space"),
        ({"stem_pool": "max"}, "stem pool is 'max'"),
        ({"strides": (0, 1, 1)}, "stride"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"in_channels": 0}, "in_channels 0"),
        ({"dropout": 1.5}, "dropout is 1.5"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_impossible_combinations_are_refused_when_the_net_is_built(options, words):
    with pytest.raises(ValueError, match=words):
        ResNet2d(replace(TINY, **options))
