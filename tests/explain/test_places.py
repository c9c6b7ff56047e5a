"""The layer tells moments apart, and its places lie on the pixels that they look at."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.places import Layer, find_layer
from pseudo3d.models import create_model


@pytest.fixture(scope="module")
def nets():
    names = ("p3d_tiny", "r3d_tiny", "i3d_tiny", "c3d_tiny", "tsm_tiny", "p3d_light_s")
    return {name: create_model(name, num_classes=2, in_channels=1).eval() for name in names}


@pytest.mark.parametrize(
    "name", ["p3d_tiny", "r3d_tiny", "i3d_tiny", "c3d_tiny", "tsm_tiny", "p3d_light_s"]
)
def test_a_place_is_where_the_layer_looks(nets, name):
    """The middle of what moves a place, found by its gradient, is where it is said to lie."""
    net, size = nets[name], (16, 64, 64)
    found = find_layer(net, torch.zeros(1, *size))
    assert found.places[0] >= 4
    assert min(found.places[1:]) >= 4
    for parameter in net.parameters():
        parameter.data.abs_()  # nothing cancels
    kept = {}
    handle = found.module.register_forward_hook(lambda *a: kept.update(y=a[2]))
    clip = torch.rand(1, 1, *size).requires_grad_()
    net(clip)
    handle.remove()
    middle = [n // 2 for n in found.places]
    (grad,) = torch.autograd.grad(kept["y"][(0, slice(None), *middle)].sum(), clip)
    moved = grad[0, 0] != 0
    for axis in range(3):
        seen = moved.any([a for a in range(3) if a != axis]).nonzero()
        said = found.starts[axis] + middle[axis] * found.steps[axis]
        low, high = int(seen.min()), int(seen.max())
        if low > 0 and high < size[axis] - 1:  # the border cuts nothing off
            assert abs((low + high) / 2 - said) <= found.steps[axis] / 2
        assert low <= said <= high


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0, 3), st.integers(0, 9))
def test_between_places_it_is_linear_and_at_the_ends_it_stays(places, step, start, seed):
    heat = torch.rand(places, 1, 1, generator=torch.Generator().manual_seed(seed))
    layer = Layer(
        name="x", module=torch.nn.Identity(), places=(places, 1, 1),
        starts=(start, 0.0, 0.0), steps=(float(step), 1.0, 1.0),
    )  # fmt: skip
    spread = layer.spread(heat, (12, 2, 3))
    assert spread.shape == (12, 2, 3)
    at = ((torch.arange(12) - start) / step).clamp(0, places - 1).numpy()
    expected = __import__("numpy").interp(at, range(places), heat[:, 0, 0].numpy())
    assert torch.allclose(spread[:, 0, 0].double(), torch.from_numpy(expected), atol=1e-5)
    assert torch.equal(spread, spread[:, :1, :1].expand_as(spread))


def test_layers_are_named_as_features_names_them(nets):
    clip = torch.zeros(1, 16, 64, 64)
    assert find_layer(nets["p3d_tiny"], clip, "res3").places == (8, 16, 16)  # before the pool
    with pytest.raises(Pseudo3dError, match="res9"):
        find_layer(nets["p3d_tiny"], clip, "res9")
    with pytest.raises(Pseudo3dError, match="name a block or a stage"):
        find_layer(nets["p3d_tiny"], clip, "dropout")
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2))
    with pytest.raises(Pseudo3dError, match="no layer"):
        find_layer(plain, torch.zeros(1, 2, 2, 2))
    with pytest.raises(Pseudo3dError, match="unknown layer"):
        find_layer(plain, torch.zeros(1, 2, 2, 2), "2")


def test_a_module_that_runs_twice_is_not_chosen():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv3d(1, 2, 1)
            self.again = torch.nn.ReLU()

        def forward(self, x):
            return self.again(-self.again(self.first(x))).mean((2, 3, 4))

    assert find_layer(Twice(), torch.zeros(1, 4, 4, 4)).name == "first"
