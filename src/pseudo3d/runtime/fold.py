"""Fold a network for inference: what follows a convolution linearly moves into its weights.

Batch norm becomes weight and bias, and so do constant factors and the sum `y + T(y)` of a temporal
convolution with its own input (block C). What a later stride skips is left out. The result is a
graph of plain torch modules: the one source of the faster forms, whatever the family.
"""

import operator
from copy import deepcopy
from threading import Lock, get_ident
from typing import Any, Literal

import jaxtyping
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network, check_clip
from pseudo3d.nn.conv import present, time_padding
from pseudo3d.nn.forms import Subsample
from pseudo3d.runtime.nodes import is_add, module_of
from pseudo3d.runtime.thin import thin

_ALONE = Lock()  # tracing patches the call of every module in the process
_ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_RELUS = {torch.relu, torch.relu_, nn.functional.relu, "relu", "relu_"}


class _Tracer(fx.Tracer):
    """Looks into every module that has parts; one without parts is a step of its own."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.traced_func_name = part

    def trace(self, *given: Any, **named: Any) -> fx.Graph:
        self.thread = get_ident()
        return super().trace(*given, **named)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """One step of the traced network; what other threads run meanwhile is none of ours."""
        if get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(m.children())


def _trace(net: Network, part: str) -> fx.Graph:
    with _ALONE:
        checked = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)  # shape hints are for tensors
        try:
            return _Tracer(part).trace(net)
        finally:
            jaxtyping.config.update("jaxtyping_disable", checked)


def fold(
    net: Network,
    part: Literal["forward", "features", "feature_map"] = "forward",
    *,
    skip: bool = True,
) -> fx.GraphModule:
    """Copy a network as a graph of convolutions with bias, ReLU, sums and pooling, in eval mode.

    Arithmetic on the weights is done in float64 and rounded once. `net` is left as it is.

    Args:
        part: "forward" ends with the logits, "features" before the classifier,
            "feature_map" before the average over time and space.
        skip: leave out voxels that nothing looks at.
    Shape:
        (N, C, T, H, W) -> (N, K), (N, F) or (N, F, T', H', W')
    """
    net = deepcopy(net)  # tracing changes what every thread reads of the network that is traced
    with torch.no_grad():
        gm = fx.GraphModule(net, _trace(net, part)).double()
        for change in (_simplify, _fold_norm, _fold_factor, _fold_skip):
            for node in list(gm.graph.nodes):
                change(gm, node)
    gm.delete_all_unused_submodules()
    if skip:
        thin(gm)
    gm.recompile()
    return gm.float().eval()


def check_foldable(net: object) -> None:
    """Refuse what has no folded form, before it fails in the middle.

    Raises:
        TypeError: no network of the library.
        Pseudo3dError: a network that does not give one answer for a clip.
    """
    if not isinstance(net, Network):
        raise TypeError(
            f"got a {type(net).__name__}; wanted a network of the library (create_model, load). A "
            "converted 2-D network, or any other module, is for torch.compile"
        )
    if net.per_voxel:
        raise Pseudo3dError(
            f"{net.name} answers for every voxel of a scan; exports are for networks with one "
            "answer for a clip. Run the network itself, or optimize(network)."
        )


def _simplify(gm: fx.GraphModule, node: fx.Node) -> None:
    """Bring the spellings of one thing together and drop what inference does not need."""
    module = module_of(gm, node)
    if node.target is check_clip:
        gm.graph.erase_node(node)
    elif node.target == "contiguous" or isinstance(module, nn.Dropout | nn.Identity):
        _replace(gm, node, node.args[0])
    elif isinstance(module, Subsample):
        gm.set_submodule(str(node.target), _plain(module.as_convolution().double()))
    elif isinstance(module, nn.Conv3d):
        gm.set_submodule(str(node.target), _plain(module))
    elif isinstance(module, nn.BatchNorm3d) and node.kwargs.get("relu"):
        node.kwargs = {}
        with gm.graph.inserting_after(node):
            act = gm.graph.call_function(torch.relu, (node,))
        node.replace_all_uses_with(act, lambda user: user is not act)
    elif isinstance(module, nn.ReLU) or node.target in _RELUS:
        _become(gm, node, torch.relu, node.args[:1])
    elif node.target in _ADDS:
        _become(gm, node, operator.add, node.args[:2])


class CausalConv(nn.Conv3d):
    """An `nn.Conv3d` whose padding of time all comes before the clip."""

    causal = True

    def forward(self, x: Tensor) -> Tensor:
        _, ph, pw = (int(p) for p in self.padding)
        lead = time_padding(self)
        if self.padding_mode == "zeros":
            x = F.pad(x, (0, 0, 0, 0, *lead))
        else:
            x = F.pad(x, (pw, pw, ph, ph, *lead), mode=self.padding_mode)
            ph = pw = 0
        rest = (self.stride, (0, ph, pw), self.dilation, self.groups)
        return F.conv3d(x, self.weight, self.bias, *rest)


def _plain(conv: nn.Conv3d) -> nn.Conv3d:
    """An `nn.Conv3d` with bias; ours computes the same, along other ways."""
    plain = (CausalConv if getattr(conv, "causal", False) else nn.Conv3d)(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # torch stores triples as tuples of any length
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    bias = conv.bias if conv.bias is not None else conv.weight.new_zeros(conv.out_channels)
    plain.weight = nn.Parameter(conv.weight.detach().clone(), requires_grad=False)
    plain.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return plain


def _become(gm: fx.GraphModule, node: fx.Node, function: Any, args: Any) -> None:
    with gm.graph.inserting_after(node):
        _replace(gm, node, gm.graph.call_function(function, tuple(args)))


def _replace(gm: fx.GraphModule, node: fx.Node, by: Any) -> None:
    node.replace_all_uses_with(by)
    gm.graph.erase_node(node)


def _fold_norm(gm: fx.GraphModule, node: fx.Node) -> None:
    """y * scale + shift per channel goes into the convolutions that make y."""
    norm = module_of(gm, node)
    if not isinstance(norm, nn.BatchNorm3d):
        return
    makers = _makers(gm, node.args[0])
    if makers and norm.running_var is not None and norm.running_mean is not None:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        _absorb(makers, scale, norm.bias - norm.running_mean * scale)
        _replace(gm, node, node.args[0])


def _fold_factor(gm: fx.GraphModule, node: fx.Node) -> None:
    """A constant times y goes into the convolutions that make y."""
    y, factor = _product(node)
    if y is not node and (makers := _makers(gm, y)):
        scale = torch.full((makers[0].out_channels,), factor, dtype=torch.float64)
        _absorb(makers, scale, torch.zeros_like(scale))
        _replace(gm, node, y)


def _fold_skip(gm: fx.GraphModule, node: fx.Node) -> None:
    """factor * x + conv(x) is one convolution: the identity goes to the kernel's own voxel."""
    if not is_add(node):
        return
    for one, other in (node.args, node.args[::-1]):
        conv, (x, factor) = module_of(gm, one), _product(other)
        if not isinstance(one, fx.Node) or not isinstance(conv, nn.Conv3d):
            continue
        if len(one.users) == 1 and one.args[0] is x and _keeps_shape(conv):
            h, w = (int(k) // 2 for k in conv.kernel_size[1:])
            conv.weight[:, :, present(conv), h, w] += factor * torch.eye(conv.out_channels).double()
            _replace(gm, node, one)
            if isinstance(other, fx.Node) and other is not x and not other.users:
                gm.graph.erase_node(other)
            return


def _product(node: Any) -> tuple[Any, float]:
    """(y, factor) of a node that is y times a constant; (node, 1) of any other."""
    if isinstance(node, fx.Node) and node.target in {operator.mul, torch.mul, "mul"}:
        for y, factor in (node.args, node.args[::-1]):
            if isinstance(y, fx.Node) and isinstance(factor, int | float):
                return y, float(factor)
    return node, 1.0


def _makers(gm: fx.GraphModule, node: Any) -> list[nn.Conv3d]:
    """The convolutions whose sum a node is; none where something else looks at the node too."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return []
    conv = module_of(gm, node)
    if isinstance(conv, nn.Conv3d):
        return [conv]
    if is_add(node) and node.args[0] is not node.args[1]:
        parts = [_makers(gm, arg) for arg in node.args]
        return [conv for part in parts for conv in part] if all(parts) else []
    return []


def _absorb(makers: list[nn.Conv3d], scale: Tensor, shift: Tensor) -> None:
    for conv in makers:
        conv.weight.mul_(scale.view(-1, 1, 1, 1, 1))
        conv.bias.mul_(scale)  # type: ignore[union-attr]  # a folded convolution has a bias
    makers[0].bias.add_(shift)  # type: ignore[union-attr]


def _keeps_shape(conv: nn.Conv3d) -> bool:
    """Whether output voxel i of a convolution lies on input voxel i, channel for channel."""
    reach = [d * (k - 1) for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    same = [2 * int(str(p)) == r for p, r in zip(conv.padding, reach, strict=True)]
    odd = all(k % 2 for k in conv.kernel_size)
    plain = conv.groups == 1 and conv.in_channels == conv.out_channels
    return plain and odd and all(same) and set(conv.stride) == {1}
