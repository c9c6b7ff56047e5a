"""The same network, faster: a flat program of fused convolutions on channels-last memory.

`optimize` folds a network (batch norm, factors, skips), runs every flat kernel as a 2-D convolution
of a view, packs the weights for oneDNN and fuses ReLU and sums. Channels-last memory of (N, C, T,
H, W) is channels-last memory of (N * T, C, H, W) and of (N, C, T, H * W): the views cost nothing.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx, nn

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network, check_clip
from pseudo3d.nn.stem import MaxPool
from pseudo3d.runtime.agree import difference
from pseudo3d.runtime.fold import check_foldable, fold
from pseudo3d.runtime.identity import weights_digest
from pseudo3d.runtime.inference import as_blank, inference
from pseudo3d.runtime.nodes import is_add, is_relu, module_of
from pseudo3d.runtime.steps import Convolution, Step
from pseudo3d.runtime.thin import every_nth
from pseudo3d.runtime.views import dense

Precision = Literal["fp32", "bf16"]
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LIMITS = {"fp32": 1e-5, "bf16": 5e-2}  # relative error of the logits that is still rounding


class _Line(NamedTuple):
    """values[output] = run(*values[inputs], **options); `ends` are not needed afterwards."""

    run: Step
    inputs: tuple[int, ...]
    options: dict[str, Any]
    output: int
    ends: tuple[int, ...]


class Lowered:
    """A network as a flat program, for inference on the CPU; made by `optimize`.

    Shape: (N, C, T, H, W) -> logits (N, K), float32; (N, K, T, H, W) where the network answers
    for every voxel.
    """

    def __init__(self, net: Network, precision: Precision) -> None:
        self.name, self.card, self.cfg, self.precision = net.name, net.card, net.cfg, precision
        self.per_voxel, self.identity = net.per_voxel, weights_digest(net)
        self._type = _TYPES[precision]
        gm = fold(net, "feature_map")
        self._lines = list(_lines(gm, Roots(gm), self._type))
        self._head = [p.detach().float().clone() for p in net.head.parameters()]

    @inference
    def feature_map(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n f t2 h2 w2"]:
        """Activations of the last stage, in the precision that was chosen."""
        check_clip(x, self.cfg.in_channels)
        values: list[Any] = [None] * (len(self._lines) + 1)
        values[0] = dense(x.to(self._type))
        for line in self._lines:
            values[line.output] = line.run(*(values[i] for i in line.inputs), **line.options)
            for i in line.ends:
                values[i] = None
        return as_blank(x, values[-1])

    def __deepcopy__(self, memo: dict[int, Any]) -> "Lowered":
        return self  # it never changes

    def __reduce__(self) -> Any:
        raise Pseudo3dError(
            f"an optimized {self.name} cannot be pickled, for its weights are packed for this "
            "process; send the network or its file, and optimize() it there"
        )

    @inference
    def features(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n f"]:
        """Representation before the classifier: mean over T, H, W."""
        return self.feature_map(x).mean((2, 3, 4), dtype=torch.float32)

    @inference
    def __call__(
        self, x: Float[Tensor, "n c t h w"]
    ) -> Float[Tensor, "n k"] | Float[Tensor, "n k t h w"]:
        if not self.per_voxel:
            return F.linear(self.features(x), *self._head)
        y = self.feature_map(x).movedim(1, -1).float()
        return F.linear(y, *self._head).movedim(-1, 1)


def optimize(
    model: Network, example: Float[Tensor, "n c t h w"] | None = None, precision: Precision = "fp32"
) -> Lowered:
    """Make a network fast on the CPU, and prove on a clip that it still computes the same.

    Weights are packed for an input shape when it first comes; the four latest shapes are kept.

    Args:
        model: a network of the library, on the CPU; it is left as it is.
        example: a clip to compare on; a small random one by default.
        precision: "bf16" is about twice as fast where the processor computes in it; logits then
            differ by about 0.5 %.
    Raises:
        Pseudo3dError: the fast form computes something else.
    Example:
        >>> fast = optimize(load("run/weights.safetensors"))
        >>> fast(clip)
    """
    if precision not in _TYPES:
        raise ValueError(f"precision is {precision!r}; wanted 'fp32' or 'bf16'")
    if not isinstance(model, Network):
        check_foldable(model)
    if not isinstance(model.head, nn.Linear):
        raise Pseudo3dError(
            f"the head of this {model.name} is a {type(model.head).__name__}; optimize() knows a "
            "Linear one. Use the network itself, or put what comes after its logits elsewhere"
        )
    device = model.head.weight.device.type
    if device != "cpu":
        way = "load its weights first" if device == "meta" else "model.cpu()"
        raise ValueError(f"the network is on {device!r}; optimize() is for the CPU: {way}")
    if example is None:
        rng = torch.Generator().manual_seed(0)
        example = torch.randn(1, model.cfg.in_channels, 8, 32, 32, generator=rng)
    fast = Lowered(model, precision)
    error = difference(model, example, fast(example))
    if not error <= _LIMITS[precision]:
        raise Pseudo3dError(
            f"the optimized {model.name} differs from the network by {error:.1e} where "
            f"{_LIMITS[precision]:.0e} is rounding; use the network itself and report this"
        )
    return fast


class Roots:
    """Which nodes of a folded graph become one line: conv, conv + other, relu of either."""

    def __init__(self, gm: fx.GraphModule) -> None:
        self.gm = gm
        order = {node: i for i, node in enumerate(gm.graph.nodes)}
        self.conv_of_sum: dict[fx.Node, fx.Node] = {}
        for node in gm.graph.nodes:
            if is_add(node):
                convs = [arg for arg in node.args if self._only_here(arg)]
                if convs and node.args[0] is not node.args[1]:
                    self.conv_of_sum[node] = max(convs, key=lambda conv: order[conv])
        claimed = set(self.conv_of_sum.values())
        self.inner = claimed | {
            node.args[0]
            for node in gm.graph.nodes
            if is_relu(node) and self._fusable(node.args[0], claimed)
        }

    def _only_here(self, node: Any) -> bool:
        return isinstance(module_of(self.gm, node), nn.Conv3d) and len(node.users) == 1

    def _fusable(self, node: Any, claimed: set[fx.Node]) -> bool:
        if len(node.users) != 1:
            return False
        return node in self.conv_of_sum or (self._only_here(node) and node not in claimed)

    def parts(self, node: fx.Node) -> tuple[nn.Conv3d, list[Any], bool] | None:
        """(convolution, [x] or [x, other], relu?) of a line that is a convolution."""
        relu = is_relu(node) and node.args[0] in self.inner
        core: Any = node.args[0] if relu else node
        conv_node = self.conv_of_sum.get(core, core)
        conv = module_of(self.gm, conv_node)
        if not isinstance(conv, nn.Conv3d):
            return None
        inputs = [conv_node.args[0]]
        if core is not conv_node:
            inputs.append(core.args[1] if core.args[0] is conv_node else core.args[0])
        return conv, inputs, relu


def _lines(gm: fx.GraphModule, roots: Roots, dtype: torch.dtype) -> Iterator[_Line]:
    """Turn a folded graph into lines, each with the values that end with it."""
    raw: list[tuple[fx.Node, Step, list[Any]]] = []
    for node in gm.graph.nodes:
        if node.op in ("placeholder", "output") or node in roots.inner:
            continue
        raw.append((node, *_step(gm, roots, node, dtype)))
    slots = {n: 0 for n in gm.graph.nodes if n.op == "placeholder"}
    slots |= {node: i for i, (node, _, _) in enumerate(raw, start=1)}
    last = {arg: i for i, (_, _, args) in enumerate(raw) for arg in args}
    own = {node for node, step, _ in raw if isinstance(step, Convolution)}
    own |= {node for node, _, _ in raw if isinstance(module_of(gm, node), MaxPool)}
    for i, (node, step, args) in enumerate(raw):
        ends = tuple(slots[arg] for arg in dict.fromkeys(args) if last[arg] == i)
        options = {}
        if isinstance(step, Convolution) and len(args) == 2:
            spare = args[1] in own and last[args[1]] == i and args[0] is not args[1]
            options = {"spare": spare}
        yield _Line(step, tuple(slots[arg] for arg in args), options, slots[node], ends)


def _step(
    gm: fx.GraphModule, roots: Roots, node: fx.Node, dtype: torch.dtype
) -> tuple[Step, list[Any]]:
    """What computes a node, and the nodes it takes."""
    if (parts := roots.parts(node)) is not None:
        conv, inputs, relu = parts
        return Convolution(conv, dtype, relu=relu), inputs
    module, inputs = module_of(gm, node), list(node.all_input_nodes)
    if module is not None:
        module = module.to(dtype)
        return lambda x: dense(module(x)) if x.ndim == 5 else module(x), inputs
    if node.target is every_nth:
        every: Any = node.args[1]
        return lambda x: dense(every_nth(x, every)), inputs
    if node.op == "call_function" and inputs == list(node.args) and not node.kwargs:
        return node.target, inputs  # type: ignore[return-value]  # a function, by its op
    return _call(node), inputs


def _call(node: fx.Node) -> Step:
    """Any other function or method, with its constants."""

    def run(*values: Tensor) -> Tensor:
        given = dict(zip(node.all_input_nodes, values, strict=True))
        args = fx.node.map_arg(node.args, lambda n: given[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: given[n])
        if node.op == "call_method":
            y = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            y = node.target(*args, **kwargs)  # type: ignore[operator]  # a function, by its op
        return dense(y) if isinstance(y, Tensor) and y.ndim == 5 else y

    return run
