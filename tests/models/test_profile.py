"""Cost and field of view, against arithmetic done by hand and against gradients."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pseudo3d.models import create_model
from pseudo3d.models.p3d import P3D, P3DConfig
from pseudo3d.models.profile import profile
from pseudo3d.models.resnet2d import ResNet2d, ResNet2dConfig
from pseudo3d.nn.stem import MaxPool

TINY = P3DConfig(
    depths=(1, 1, 1, 1), widths=(2, 2, 2, 2), stem_width=2, in_channels=1, num_classes=3
)
SMALL_STEM = {"stem_kernel": (1, 3, 3), "stem_stride": (1, 1, 1), "stem_pool": "none"}
THREE = {"depths": (1, 1, 1), "widths": (2,) * 3, "strides": (1, 2, 1), **SMALL_STEM}


def spans(mask):
    """Extent of what is seen along each axis, gaps included."""
    where = mask.nonzero()
    return tuple((where.max(0).values - where.min(0).values + 1).tolist())


def seen_by_gradient(net, clip):
    """What the middle voxel of the last stage sees when nothing cancels and no unit is dead."""
    net.double().eval()
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        with torch.no_grad():
            if name.endswith("running_mean"):
                value.zero_()
            elif value.is_floating_point():
                nn.init.uniform_(value, 0.1, 0.2) if "norm" not in name else value.abs_()
    for pool in [m for m in net.modules() if isinstance(m, MaxPool)]:
        # The maximum sees one voxel, the mean all that compete for it.
        pool.forward = nn.AvgPool3d(pool.kernel, pool.stride, pool.padding).forward
    clip = clip.double().requires_grad_()
    y = net.feature_map(clip)
    y[(0, slice(None), *(s // 2 for s in y.shape[2:]))].sum().backward()
    return spans(clip.grad[0].ne(0).any(0))


@pytest.mark.parametrize(
    "options",
    [
        {"mixes": ("A",)},
        {"mixes": ("B",)},
        {"mixes": ("C",)},
        {"mixes": ("full",)},
        {"mixes": ("B", "C", "A"), "kernel": (5, 3, 5)},
        {"mixes": ("B", "A"), "dilation": (2, 1, 2)},
        {"block": "basic", "mixes": ("B",)},
        {"block": "basic", "strides": (2, 2, 1)},
        {"strides": (2, 2, 1), "stride_on": "1x1"},
        {"stem_kernel": (3, 5, 3), "stem_stride": (2, 2, 1)},
        {"stem_kernel": (2, 3, 3), "stem_stride": (2, 1, 1), "stem_pool": "pad"},
        {"stem_pool": "ceil", "strides": (1, 1, 1), "time_pools": (2, 2, 1)},
        {"time_stages": (False, True, False)},
    ],
)
def test_field_of_view_is_what_gradients_reach(options):
    given = {"time_pools": (1, 2, 1), "time_stages": (True, True, True), **THREE, **options}
    cfg = replace(TINY, **given)
    clip = torch.rand(1, 1, 49, 65, 81)
    assert profile(P3D(cfg), 4, 16).field_of_view == seen_by_gradient(P3D(cfg), clip)


def test_field_of_view_of_the_2d_twin_is_one_frame():
    cfg = ResNet2dConfig(depths=(1, 1), widths=(2, 2), strides=(1, 2), stem_width=2, in_channels=1)
    # 7 (stem) + 2 * 2 (pool) + 2 * 4 (stage 1) + 2 * 4 (stage 2, stride after its kernel)
    assert profile(ResNet2d(cfg), 4, 16).field_of_view == (1, 27, 27)
    assert seen_by_gradient(ResNet2d(cfg), torch.rand(1, 1, 3, 127, 127)) == (1, 27, 27)


def test_macs_and_parameters_are_those_counted_by_hand():
    """One stage, bottleneck B on 4 x 8 x 8 voxels: each weight is used once per voxel."""
    one = {"depths": (1,), "widths": (2,), "strides": (1,), "time_pools": (1,)}
    net = P3D(replace(TINY, mixes=("B",), time_stages=(True,), **{**one, **SMALL_STEM}))
    weights = {"stem": 18, "reduce": 4, "space": 36, "time": 12, "expand": 16, "shortcut": 16}
    batch_norms = 2 * (2 + 2 + 2 + 8 + 8)  # modern B has one between space and time
    found = profile(net, frames=4, size=8)
    assert found.macs == 4 * 8 * 8 * sum(weights.values()) + 8 * 3
    assert found.parameters == sum(weights.values()) + batch_norms + 8 * 3 + 3


def test_macs_follow_frames_and_size():
    net = create_model("p3d_nano")
    head = net.head.weight.numel()
    base, longer, wider = (profile(net, *at).macs - head for at in ((8, 64), (16, 64), (8, 128)))
    assert longer == 2 * base
    assert wider == 4 * base


@pytest.mark.parametrize(("frames", "size"), [(0, 32), (8, 0)])
def test_what_cannot_be_measured_is_refused(frames, size):
    with pytest.raises(ValueError, match=f"frames is {frames}, size {size}"):
        profile(P3D(TINY), frames, size)


def test_the_network_is_left_as_it_is():
    net = P3D(TINY).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    kinds = {name: type(p) for name, p in net.named_parameters()}
    profile(net)
    assert net.training
    assert net.stem.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert {name: type(p) for name, p in net.named_parameters()} == kinds
    assert all(p.requires_grad and p.device.type == "cpu" for p in net.parameters())


def test_a_network_without_storage_is_measured_too():
    with torch.device("meta"):
        empty = create_model("p3d18")
    assert profile(empty, 4, 32) == profile(create_model("p3d18"), 4, 32)
