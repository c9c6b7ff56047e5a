"""Partners and turned kernels compute what their formulas say, against one full 3-D kernel."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from pseudo3d.errors import Pseudo3dError
from pseudo3d.recycle.convert import convert
from pseudo3d.recycle.convert.frames import Clock
from pseudo3d.recycle.convert.kernels import Inflated, Turned
from pseudo3d.recycle.convert.partner import Partner


def layer(**options):
    defaults = {"kernel_size": 3, "padding": 1}
    torch.manual_seed(0)
    return nn.Conv2d(6, 12, **{**defaults, **options}).double().eval()


def image(size=(13, 11)):
    return torch.zeros(2, 6, *size, dtype=torch.float64)


def converted(conv, mix="ABC", **options):
    """A single layer with a partner that does something."""
    net = convert(conv, mix, head="frames", where="*", example=image(), **options)
    torch.manual_seed(1)
    for part in net.partners().values():
        if isinstance(part, Partner):
            nn.init.normal_(part.conv.weight)
    return net


def clip(frames=5, n=2, size=(13, 11)):
    torch.manual_seed(2)
    return torch.randn(n, 6, frames, *size, dtype=torch.float64)


def as_3d(conv, kernel, x, frames=3):
    """A full 3-D convolution with a 2-D one's geometry, zeros before and after the clip."""
    pad = [frames // 2, *conv.padding]
    stride, dilation = (1, *conv.stride), (1, *conv.dilation)
    return F.conv3d(x, kernel, conv.bias, stride, pad, dilation, conv.groups)


GEOMETRIES = [
    {},
    {"stride": 2},
    {"stride": (1, 2), "dilation": 2, "padding": 2},
    {"kernel_size": (1, 7), "padding": (0, 3)},
    {"kernel_size": (5, 3), "padding": 0},
    {"kernel_size": 5, "padding": 1, "stride": 3},
    {"groups": 3},
    {"groups": 6, "stride": 2, "bias": False},
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@torch.no_grad()
def test_b_adds_a_temporal_kernel_through_the_center_of_the_spatial_one(geometry):
    conv = layer(**geometry)
    net = converted(conv, "B")
    (part,) = net.partners().values()
    assert part.form == "B"
    kh, kw = conv.kernel_size
    kernel = torch.zeros(*conv.weight.shape[:2], 3, kh, kw, dtype=torch.float64)
    kernel[:, :, 1] = conv.weight
    kernel[..., kh // 2, kw // 2] += part.conv.weight[..., 0, 0]
    assert_close(net(clip()), as_3d(conv, kernel, clip()))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@torch.no_grad()
def test_a_multiplies_the_kernels(geometry):
    conv = layer(**{**geometry, "bias": False})
    net = converted(conv, "A")
    (part,) = net.partners().values()
    g, (out, own), (kh, kw) = conv.groups, conv.weight.shape[:2], conv.kernel_size
    t = part.conv.weight[..., 0, 0].reshape(g, out // g, out // g, 3)
    s = conv.weight.reshape(g, out // g, own, kh, kw)
    kernel = torch.einsum("gomt,gmihw->goithw", t, s).reshape(out, own, 3, kh, kw)
    assert_close(net(clip()), as_3d(conv, kernel, clip()))


@torch.no_grad()
def test_c_adds_what_it_makes_of_the_normalized_and_rectified_layer():
    conv, norm = layer(bias=False), nn.BatchNorm2d(12).double().eval()
    nn.init.uniform_(norm.running_mean, -1, 1)
    net = converted(nn.Sequential(conv, norm), "C")
    (part,) = net.partners().values()
    assert net.report.layers == {"0": "C: 3x1x1, 12 to 12, after 1"}
    y = torch.stack([norm(conv(f)) for f in clip().unbind(2)], 2)
    assert_close(net(clip()), y + F.conv3d(y.relu(), part.conv.weight, padding=(1, 0, 0)))


@torch.no_grad()
def test_replicate_repeats_the_first_and_the_last_frame():
    conv = layer()
    net = converted(conv, "A", padding="replicate")
    x = clip(4)
    longer = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
    zeros = convert(conv, "A", head="frames", where="*", example=image())
    zeros.load_state_dict(net.state_dict())
    assert_close(net(x), zeros(longer)[:, :, 1:-1])
    one = net(x[:, :, :1])
    assert_close(net(x[:, :, :1].expand(-1, -1, 5, -1, -1)), one.expand(-1, -1, 5, -1, -1))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@torch.no_grad()
def test_i3d_repeats_and_center_places_the_kernel(geometry):
    conv = layer(**geometry)
    flat = conv.weight[:, :, None]
    spread = flat.repeat(1, 1, 5, 1, 1) / 5
    center = torch.zeros_like(spread)
    center[:, :, 2] = conv.weight
    for method, kernel in (("i3d", spread), ("center", center)):
        net = converted(conv, method=method, kernel=5)
        assert isinstance(net.net, Inflated)
        assert net.net.weight.shape == kernel.shape
        assert_close(net(clip()), as_3d(conv, kernel, clip(), frames=5))


@pytest.mark.parametrize("geometry", [*GEOMETRIES[:3], *GEOMETRIES[6:]])
@torch.no_grad()
def test_acs_turns_the_kernels_of_each_third_into_another_plane(geometry):
    conv = layer(**geometry)
    net = converted(conv, method="acs")
    assert isinstance(net.net, Turned)
    assert net.report.parameters == net.report.parameters_2d
    kernel = torch.zeros(*conv.weight.shape[:2], 3, 3, 3, dtype=torch.float64)
    kernel[:4, :, 1] = conv.weight[:4]
    kernel[4:8, :, :, 1] = conv.weight[4:8]  # the taps of the height look along time
    kernel[8:, :, :, :, 1] = conv.weight[8:].transpose(2, 3)  # those of the width
    x, (dh, dw) = clip(), conv.dilation
    got = net(x)
    wanted = []
    for rows, reach in ((slice(0, 4), 1), (slice(4, 8), dh), (slice(8, 12), dw)):
        third = F.conv3d(
            x,
            kernel,
            conv.bias,
            (1, *conv.stride),
            (reach, *conv.padding),
            (reach, dh, dw),
            conv.groups,
        )
        wanted.append(third[:, rows])
    assert_close(got, torch.cat(wanted, 1))


@torch.no_grad()
def test_acs_keeps_what_has_no_center_or_cannot_be_shared_out():
    net2d = nn.Sequential(nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 4), nn.Conv2d(6, 6, 3, groups=2))
    report = convert(net2d, method="acs", where="*").report
    assert list(report.layers) == ["0"]
    assert report.plan.kept["1"] == "a 4x4 kernel has no center to turn around"
    assert report.plan.kept["2"] == "two groups cannot be shared out among three planes"


@pytest.mark.parametrize("channels", [1, 2, 4])
@torch.no_grad()
def test_acs_takes_any_number_of_channels(channels):
    conv = nn.Conv2d(3, channels, 3, padding=1)
    net = convert(conv, method="acs", where="*", head="frames")
    assert net(torch.randn(1, 3, 4, 9, 9)).shape == (1, channels, 4, 9, 9)


@settings(deadline=None, max_examples=25)
@given(
    mix=st.sampled_from("ABC"),
    stride=st.integers(1, 3),
    frames=st.integers(1, 9),
    padding=st.sampled_from(["zeros", "replicate"]),
    last=st.booleans(),
)
@torch.no_grad()
def test_a_time_stride_takes_every_so_manyth_frame(mix, stride, frames, padding, last):
    conv = layer(stride=2)
    net = converted(conv, mix, depth_stride=stride, padding=padding)
    every = converted(conv, mix, padding=padding)
    x = clip(frames, n=1)
    if last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    got = net(x)
    assert got.shape == (1, 12, -(-frames // stride), 7, 6)
    assert_close(got, every(x)[:, :, ::stride])


@torch.no_grad()
def test_pools_take_the_maximum_or_mean_of_frames_left_out():
    x = clip(5)
    for pool, wanted in (
        (nn.MaxPool2d(2), lambda a, b: torch.maximum(a, b)),
        (nn.AvgPool2d(2), lambda a, b: (a + b) / 2),
    ):
        body = nn.Sequential(nn.Conv2d(6, 6, 1).double(), pool)
        net = convert(body, method="2.5d", depth_stride=2, head="frames", example=image())
        frames = [body(f) for f in x.unbind(2)]
        pairs = [wanted(frames[0], frames[1]), wanted(frames[2], frames[3]), frames[4]]
        assert_close(net(x), torch.stack(pairs, 2))


def test_a_part_called_outside_of_its_network_says_so():
    part = next(iter(converted(layer(), "A").partners().values()))
    part.clock = Clock()
    with pytest.raises(Pseudo3dError, match="called outside of it"):
        part(clip()[:, :, 0], clip()[:, :, 0])


def test_a_batch_that_is_none_of_frames_is_an_error():
    net = converted(layer(), "A")
    net.clock.begin((2, 3))
    with pytest.raises(Pseudo3dError, match="got 8 frames of 2 clips with 3 frames each"):
        net.net(torch.zeros(8, 6, 13, 11, dtype=torch.float64))
