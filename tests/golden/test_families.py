"""Sizes and costs of the families against what their papers and model zoos print.

Multiply-adds of one clip, convolutions and classifier, padding taps counted.
"""

from itertools import pairwise

import pytest
import torch

from pseudo3d.models import create_model
from pseudo3d.models.profile import profile


def build(name, **options):
    with torch.device("meta"):
        return create_model(name, **options).eval()


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("r3d18", 33_371_472, 40.697),
        ("mc3_18", 11_695_440, 43.343),
        ("r2plus1d18", 31_505_325, 40.519),
    ],
)
def test_torchvisions_video_networks(name, parameters, gmacs):
    """400 classes, 16 x 112 x 112: the numbers of torchvision's own records."""
    found = profile(build(name), frames=16, size=112)
    assert (found.parameters, round(found.macs / 1e9, 3)) == (parameters, gmacs)


def test_the_authors_r2plus1d_networks():
    """18 layers: 33.3 M and 41.5 G (their list of models); 34 layers: 63.8 M (MMAction2)."""
    found = profile(build("r2plus1d18", middle="own"), frames=16, size=112)
    assert (found.parameters, round(found.macs / 1e9, 1)) == (33_370_839, 41.5)
    assert profile(build("r2plus1d34")).parameters == 63_697_175
    assert profile(build("r2plus1d34")).parameters / 1e6 == pytest.approx(63.8, abs=0.15)


@pytest.mark.parametrize(("classes", "parameters"), [(487, 79_991_015), (101, 78_409_573)])
def test_c3d(classes, parameters):
    """By hand from the paper's layers; 78.4 M is the number people quote, of 101 classes."""
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    convolutions = sum(27 * a * b + b for a, b in pairwise(widths))
    connected = 8192 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * classes + classes
    assert convolutions + connected == parameters
    assert profile(build("c3d", num_classes=classes)).parameters == parameters


def test_c3d_costs_what_its_layers_cost():
    """38.5 G for 16 x 112 x 112."""
    layers = (
        (3, 64, 16 * 112**2),
        (64, 128, 16 * 56**2),
        (128, 256, 8 * 28**2),
        (256, 256, 8 * 28**2),
        (256, 512, 4 * 14**2),
        (512, 512, 4 * 14**2),
        (512, 512, 2 * 7**2),
        (512, 512, 2 * 7**2),
    )
    wanted = sum(27 * a * b * voxels for a, b, voxels in layers)
    wanted += 8192 * 4096 + 4096 * 4096 + 4096 * 487
    assert profile(build("c3d"), frames=16, size=112).macs == wanted
    assert round(wanted / 1e9, 1) == 38.5


def test_the_inflated_resnet50():
    """28.04 M (PyTorchVideo); its 37.53 G at 8 x 256 x 256 count batch norm and pooling, too."""
    found = profile(build("i3d50"), frames=8, size=256)
    assert found.parameters == 28_043_472
    assert found.macs / 1e9 == pytest.approx(37.53, rel=0.015)


@pytest.mark.parametrize("family", ["tsn", "tsm"])
def test_a_shift_costs_nothing(family):
    """8 frames of 224: 8 times a ResNet-50, 32.9 G with 23.9 M parameters for 174 classes."""
    found = profile(build(f"{family}50", num_classes=174), frames=8, size=224)
    assert found.parameters == 23_864_558
    assert found.macs / 1e9 == pytest.approx(32.9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "parameters", "mmacs"),
    [
        ("r3d_tiny", 3_475_360, 1516),
        ("mc3_tiny", 1_240_480, 1446),
        ("r2plus1d_tiny", 3_268_615, 1412),
        ("i3d_tiny", 1_031_264, 571),
        ("c3d_tiny", 2_605_216, 698),
        ("tsm_tiny", 1_228_864, 1256),
    ],
)
def test_small_networks_keep_their_sizes(name, parameters, mmacs):
    """Published weights freeze them; 16 x 64 x 64, 400 classes."""
    found = profile(build(name), frames=16, size=64)
    assert (found.parameters, round(found.macs / 1e6)) == (parameters, mmacs)
