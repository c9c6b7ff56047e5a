"""What the nodes of a folded graph are."""

import operator
from typing import Any

import torch
from torch import fx, nn


def module_of(gm: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module a node calls, or None."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return gm.get_submodule(str(node.target))


def is_add(node: fx.Node) -> bool:
    """Whether a node of a folded graph is the sum of two tensors."""
    return node.target is operator.add


def is_relu(node: fx.Node) -> bool:
    """Whether a node of a folded graph is a ReLU."""
    return node.target is torch.relu
