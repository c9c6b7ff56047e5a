"""Change a folded graph so that less is computed and kept; its results stay the same.

Where everything that looks at a feature map looks at every second row and column only (the first
1 x 1 x 1 of a stage in the authors' release), the other voxels are not computed: the stride moves
up, through sums, ReLU and kernels over time, to the last convolution in space. And where time is
pooled before space, space is pooled first.
"""

from math import gcd
from typing import Any

from torch import fx, nn

from pseudo3d.nn.stem import FillPiece, MaxPool
from pseudo3d.runtime.nodes import is_add, is_relu, module_of


def thin(gm: fx.GraphModule) -> None:
    """Leave out what nobody looks at; `gm` is changed, and not compiled anew."""
    for node in list(gm.graph.nodes):
        module = module_of(gm, node)
        if isinstance(module, FillPiece) and module.piece == 1:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
        else:
            _pool_space_first(gm, node)
    called = [node.target for node in gm.graph.nodes if node.op == "call_module"]
    if len(called) == len(set(called)):
        _stride_early(gm)


def _pool_space_first(gm: fx.GraphModule, node: fx.Node) -> None:
    """The maximum over time, then over space, is that over space, then over time."""
    first = module_of(gm, node)
    if not isinstance(first, MaxPool) or len(node.users) != 1:
        return
    (user,) = node.users
    second = module_of(gm, user)
    if not isinstance(second, MaxPool) or not _only_time(first) or second.kernel[0] > 1:
        return
    if second.stride[0] > 1:
        return
    given = node.args[0]
    user.append(node)
    user.replace_all_uses_with(node, lambda other: other is not node)
    user.args, node.args = (given,), (user,)


def _only_time(pool: MaxPool) -> bool:
    return pool.kernel[1:] == pool.stride[1:] == (1, 1)


def _stride_early(gm: fx.GraphModule) -> None:
    """Move strides of 1 x 1 x 1 convolutions to where the voxels are made."""
    gives: dict[fx.Node, int] = {}  # every so many rows and columns of a value are made
    for node in reversed(gm.graph.nodes):
        able = is_add(node) or is_relu(node) or _moves(gm, node)
        looks = [_looks(gm, user, gives[user]) for user in node.users]
        gives[node] = gcd(*looks) if able and looks else 1
    for node in list(gm.graph.nodes):
        conv = module_of(gm, node)
        if isinstance(conv, nn.Conv3d):
            (given,) = node.args
            t, *space = (int(s) for s in conv.stride)
            h, w = (s * gives[node] // gives[given] for s in space)
            conv.stride = (t, h, w)
        else:
            for given in node.all_input_nodes:
                if (every := gives[node] // gives[given]) > 1:
                    _skip(gm, node, given, every)


def _moves(gm: fx.GraphModule, node: fx.Node) -> bool:
    module = module_of(gm, node)
    if isinstance(module, MaxPool):
        return _only_time(module)
    return isinstance(module, nn.Conv3d | FillPiece)


def _looks(gm: fx.GraphModule, user: fx.Node, gives: int) -> int:
    """Every so many rows and columns of its input are what a node looks at; 1 if it needs all."""
    conv = module_of(gm, user)
    if not isinstance(conv, nn.Conv3d):
        return gives
    flat = tuple(conv.kernel_size[1:]) == (1, 1) and not any(int(p) for p in conv.padding[1:])
    h, w = conv.stride[1:]
    return int(h) * gives if flat and h == w else 1


def _skip(gm: fx.GraphModule, node: fx.Node, given: fx.Node, every: int) -> None:
    """A summand that has all voxels is thinned on its way into the sum."""
    with gm.graph.inserting_before(node):
        thinned = gm.graph.call_function(every_nth, (given, every))
    node.replace_input_with(given, thinned)


def every_nth(x: Any, every: int) -> Any:
    """Every so many rows and columns."""
    return x[:, :, :, ::every, ::every]
