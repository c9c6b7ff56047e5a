"""Less is computed and kept, and the results stay the same."""

import pytest
import torch
from torch import nn

from pseudo3d.nn.stem import MaxPool
from pseudo3d.runtime.fold import fold
from pseudo3d.runtime.nodes import module_of
from pseudo3d.runtime.thin import every_nth
from runtime.causal_cases import ALL, network


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("case", ALL)
def test_a_thinned_graph_equals_the_network(case):
    net, clip = network(case), torch.randn(2, 3, 7, 33, 38)
    with torch.inference_mode():
        assert relative(fold(net, "features")(clip), net.features(clip)) < 3e-6


def test_what_a_stride_skips_is_not_computed():
    """In the release, the first 1 x 1 x 1 of a stage looks at every second voxel."""
    net = network("bottleneck release")

    def voxels(graph):
        seen = []
        for module in graph.modules():
            if isinstance(module, nn.Conv3d):
                module.register_forward_hook(lambda m, i, o: seen.append(o[0, 0].numel()))
        graph(torch.randn(1, 3, 16, 64, 64))
        return sum(seen)

    plain, thinned = fold(net, "features", skip=False), fold(net, "features")
    assert voxels(thinned) < 0.8 * voxels(plain)
    assert any(node.target is every_nth for node in thinned.graph.nodes)


def test_space_is_pooled_before_time():
    def lengths(graph):
        found = [module_of(graph, node) for node in graph.graph.nodes]
        return [pool.kernel[0] for pool in found if isinstance(pool, MaxPool)]

    net = network("bottleneck release")
    assert lengths(fold(net, "features", skip=False)) == [2, 1, 2, 2, 2]
    assert lengths(fold(net, "features")) == [1, 2, 2, 2, 2]
