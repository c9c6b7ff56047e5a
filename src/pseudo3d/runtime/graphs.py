"""A network as the graph of another runtime, in memory: ONNX without a fifth axis, or OpenVINO."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.models.network import Network
from pseudo3d.nn.stem import MaxPool
from pseudo3d.runtime.flat import flatten
from pseudo3d.runtime.fold import fold

Clip = tuple[int, int, int, int]  # (C, T, H, W)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the notices of the exporters to themselves; errors still come through."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def onnx_graph(net: Network, clip: Clip) -> Any:
    """The flat graph for any number of clips, as an ONNX model.

    Raises:
        ImportError: the extra `export` is not installed.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "export")
    c, t, h, w = clip
    with quiet():
        made = torch.onnx.export(
            flatten(net, t),
            (torch.zeros(2 * t, c, h, w),),
            input_names=["frames"],
            output_names=["logits"],
            dynamo=True,
            verbose=False,
        )
    model: Any = made.model_proto  # type: ignore[union-attr]  # with dynamo=True it is never None
    _free_batch(model, f"{t} * clips")
    return model


def _free_batch(model: Any, frames: str) -> None:
    """Let an ONNX graph made for two clips take any number of them.

    Captured with a free number of clips, torch's symbolic arithmetic takes minutes. The number only
    shows in front of the shapes of `Reshape`, where -1 says the same.
    """
    helper = require("onnx.numpy_helper", "export")
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape":
            tensor = constants[node.input[1]]
            shape = helper.to_array(tensor).copy()
            shape[0] = -1
            tensor.CopyFrom(helper.from_array(shape, tensor.name))
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = frames
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "clips"
    del graph.value_info[:]  # shapes for two clips


def most_axes(model: Any) -> int:
    """Most axes of any tensor in an ONNX graph, by shape inference over the whole of it.

    Raises:
        Pseudo3dError: a tensor whose axes cannot be told.
    """
    shapes = require("onnx.shape_inference", "export")
    graph = shapes.infer_shapes(model, strict_mode=True, data_prop=True).graph
    axes = {value.name: len(value.dims) for value in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            axes[value.name] = len(value.type.tensor_type.shape.dim)
    for name in (name for node in graph.node for name in node.output if name not in axes):
        raise Pseudo3dError(f"the number of axes of tensor {name!r} in the ONNX graph is not known")
    return max(axes.values())


class _Pool(nn.Module):
    """`MaxPool` as the one operator it stands for; its own ways of running it are for torch."""

    def __init__(self, pool: MaxPool) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride, padding = self.pool.kernel, self.pool.stride, self.pool.padding
        if self.pool.causal:
            x = F.pad(x, (0, 0, 0, 0, *self.pool.time_padding), value=-torch.inf)
            padding = (0, *padding[1:])
        if any(self.pool.padding):
            return F.max_pool3d(x, kernel, stride, padding)
        fitting = [min(k, size) for k, size in zip(kernel, x.shape[2:], strict=True)]
        return F.max_pool3d(x, fitting, stride, ceil_mode=True)


def _plain(graph: fx.GraphModule) -> fx.GraphModule:
    for name, part in list(graph.named_modules()):
        if isinstance(part, MaxPool):
            graph.set_submodule(name, _Pool(part))
    return graph


def openvino_graph(net: Network, clip: Clip) -> Any:
    """The folded graph for any number of clips, as an OpenVINO model.

    Raises:
        ImportError: the extra `export` is not installed.
    """
    ov = require("openvino", "export")
    with quiet():
        program = torch.export.export(_plain(fold(net)), (torch.zeros(1, *clip),))
        model = ov.convert_model(program)
    model.reshape([-1, *clip])  # nothing in the folded graph depends on the number of clips
    model.inputs[0].get_tensor().set_names({"clips"})
    model.outputs[0].get_tensor().set_names({"logits"})
    return model
