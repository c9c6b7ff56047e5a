"""Two forms of a network are compared by what their logits are made of."""

import pytest
import torch

from pseudo3d.models import create_model
from pseudo3d.runtime.agree import difference
from pseudo3d.runtime.lower import optimize


@pytest.fixture
def canceling():
    """A network of two classes whose logits are small sums of large terms."""
    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=2).eval()
    clip = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = net.features(clip)[0]
        for row in net.head.weight:
            row.normal_()
            row -= features * (row @ features - 1e-5) / features.square().sum()
    return net, clip


def test_logits_whose_terms_cancel_are_no_other_logits(canceling):
    net, clip = canceling
    with torch.inference_mode():
        logits, exact = net(clip), net.double()(clip.double())
    net.float()
    assert float((logits - exact).norm() / exact.norm()) > 1e-3
    assert difference(net, clip, exact.float()) < 1e-6
    optimize(net, clip)


def test_other_logits_are_other_logits(canceling):
    net, clip = canceling
    wrong = net(clip).detach() + torch.tensor([[0.0, 1e-2]])
    assert difference(net, clip, wrong) > 1e-4
    torch.nn.init.normal_(net.head.weight)
    right = net(clip).detach()
    assert difference(net, clip, right) < 1e-6
    assert difference(net, clip, 0 * right) > 0.1
