"""Less is computed and kept, and the results stay the same."""

import pytest
import torch
from torch import nn

from pseudo3d.nn.stem import MaxPool
from pseudo3d.runtime.fold import fold, module_of
from pseudo3d.runtime.streaming.rope import drop, entire, length, own, singles, take
from pseudo3d.runtime.streaming.thin import every_nth, thin
from runtime.causal_cases import ALL, network


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("case", ALL)
def test_a_thinned_graph_equals_the_network(case):
    net, clip = network(case), torch.randn(2, 3, 7, 33, 38)
    with torch.inference_mode():
        assert relative(thin(fold(net, "features"))(clip), net.features(clip)) < 3e-6


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

    plain, thinned = fold(net, "features"), thin(fold(net, "features"))
    assert voxels(thinned) < 0.8 * voxels(plain)
    assert any(node.target is every_nth for node in thinned.graph.nodes)


def test_space_is_pooled_before_time():
    def lengths(graph):
        found = [module_of(graph, node) for node in graph.graph.nodes]
        return [pool.kernel[0] for pool in found if isinstance(pool, MaxPool)]

    net = network("bottleneck release")
    assert lengths(fold(net, "features")) == [2, 1, 2, 2, 2]
    assert lengths(thin(fold(net, "features"))) == [1, 2, 2, 2, 2]


def test_ropes():
    rope = tuple(torch.arange(n, dtype=torch.float32).view(1, 1, n, 1, 1) for n in (2, 1, 3))
    whole = torch.cat(rope, 2)
    assert length(rope) == 6
    assert entire(()) is None
    for count in range(7):
        taken, left = entire(take(rope, count)), entire(drop(rope, count))
        assert torch.equal(whole[:, :, :count], taken if taken is not None else whole[:, :, :0])
        assert torch.equal(whole[:, :, count:], left if left is not None else whole[:, :, :0])
    assert [x.shape[2] for x in singles(rope)] == [1] * 6
    (part,) = own((whole[:, :, 2:3],))
    assert part.untyped_storage().nbytes() == part.nbytes
    (rest,) = drop((whole,), 4)
    assert rest.untyped_storage().nbytes() == rest.nbytes
