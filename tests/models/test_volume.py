"""Networks for small volumes and their twins."""

import pytest
import torch

from pseudo3d.models import create_model, list_models
from pseudo3d.models import volume as volume  # the networks enter the registry

SMALL = {"widths": (4, 8, 8), "stem_width": 4}


def lively(name, **options):
    torch.manual_seed(0)
    net = create_model(name, **options).eval()
    for module in net.modules():
        if hasattr(module, "time"):
            torch.nn.init.normal_(module.time.weight, std=0.3)
    return net


@pytest.mark.parametrize("name", list_models("p3d_volume*"))
def test_every_network_classifies_a_crop(name):
    assert create_model(name, num_classes=5)(torch.zeros(2, 1, 9, 12, 12)).shape == (2, 5)


def test_the_stem_keeps_every_voxel():
    net = create_model("p3d_volume", **SMALL)
    assert net.stem(torch.zeros(1, 1, 28, 28, 28)).shape == (1, 4, 28, 28, 28)


def test_the_twin_of_slices_does_not_know_their_order():
    x = torch.randn(2, 1, 6, 8, 8)
    mixed = x[:, :, [3, 0, 5, 1, 4, 2]]
    slices, p3d = (lively(n, **SMALL) for n in ("p3d_volume_slices", "p3d_volume"))
    torch.testing.assert_close(slices(x), slices(mixed), rtol=1e-4, atol=1e-5)
    assert (p3d(x) - p3d(mixed)).abs().max() > 1e-4


def test_twins_share_everything_but_their_kernels():
    p3d, slices, full = (create_model(f"p3d_volume{end}").cfg for end in ("", "_slices", "_full"))
    assert p3d.widths == slices.widths == full.widths
    assert p3d.stem_stride == slices.stem_stride == full.stem_stride
    assert not any(slices.time_stages)
    assert full.mixes == ("full",)
