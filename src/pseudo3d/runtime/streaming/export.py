"""Write a causal network as a file that runs frame by frame without this library.

The state goes in and comes out as tensors, so that one file serves any number of streams. What is
written is opened again and compared with the network over several steps before it takes its name.
"""

import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.models.network import Network
from pseudo3d.runtime.agree import difference
from pseudo3d.runtime.artifact import METADATA_KEY
from pseudo3d.runtime.export import LIMITS, Target, card_of, check_choice, draft
from pseudo3d.runtime.graphs import most_axes, quiet
from pseudo3d.runtime.streaming.exported import ExportedStream, StreamSpec
from pseudo3d.runtime.streaming.graph import StreamGraph
from pseudo3d.runtime.streaming.program import Program
from pseudo3d.weights import load

_STEPS = 4  # that are compared
_SEED = 20171022


@dataclass(frozen=True, kw_only=True)
class StreamFile:
    """What was written."""

    path: Path
    spec: StreamSpec
    parity: float  # largest relative difference of its logits to the network's, over the steps
    size: int  # bytes, all files
    axes: int | None  # most axes of any tensor in an ONNX graph

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "precision": self.spec.precision,
            "input": "stream",
            "chunk": list(self.spec.chunk),
            "period": self.spec.period,
            "memory": self.spec.memory,
            "state_bytes": sum(4 * math.prod(shape) for shape in self.spec.shapes),
            "parity": self.parity,
            "limit": LIMITS[self.spec.precision],
            "bytes": self.size,
            "axes": self.axes,
        }


def export_stream(
    network: Network | str | Path,
    out: str | Path,
    to: Target = "openvino",
    precision: Literal["fp32", "bf16"] = "fp32",
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    memory: int | None = None,
) -> StreamFile:
    """Write a causal network for ONNX Runtime or OpenVINO, with its state as inputs and outputs.

    Args:
        network: a network, or the path of its weights.
        out: .onnx, or .xml (OpenVINO puts the weights beside it as .bin).
        frames: of one step, a multiple of the network's period; None takes the period.
        size: of a frame, (height, width) in pixels; None takes the card's preprocessing.
        memory: decide from the last so many frames; None: from the whole stream.
    Raises:
        Pseudo3dError: a network that looks ahead, choices that do not go together, or logits that
            differ from the network's; no file is left then.
        ImportError: the extra `export` is not installed.
    """
    out = Path(out)
    if precision not in ("fp32", "bf16"):
        raise Pseudo3dError(f"a stream in {precision}: wanted fp32, or bf16 with openvino")
    check_choice(out, to, precision, calibrated=False)
    net = deepcopy(network) if isinstance(network, Network) else load(network)
    net = net.to("cpu", torch.float32).eval()
    chunk, period = _chunk(net, frames, size)
    graph = StreamGraph(net, None if memory is None else -(-memory // period))
    state = graph.start(torch.zeros(chunk))
    spec = StreamSpec(
        card=card_of(net),
        chunk=chunk,
        period=period,
        memory=memory,
        fills=tuple(float(t.flatten()[0]) for t in state),
        shapes=tuple(tuple(t.shape) for t in state),
        precision=precision,
    )
    inputs = (torch.zeros(chunk), *state)
    with draft(out) as path:
        axes = _write(graph, inputs, spec, path, to)
        parity = _compare(net, ExportedStream(path, threads=1), memory)
        written = sum(file.stat().st_size for file in path.parent.iterdir())
    return StreamFile(path=out, spec=spec, parity=parity, size=written, axes=axes)


def _chunk(
    net: Network, frames: int | None, size: tuple[int, int] | None
) -> tuple[tuple[int, int, int, int], int]:
    """(T, C, H, W) of one step, and the period it is a multiple of."""
    if type(net).forward is not Network.forward:
        raise Pseudo3dError(f"{net.name} labels every voxel of a whole scan; it has no stream")
    program = Program(net, torch.float32)
    if program.delay:
        raise Pseudo3dError(
            f"{net.name} looks {program.delay} frames ahead, so its stream has no state of one "
            "shape. Train it causal: p3d train DATA --weights WEIGHTS --net causal=true (TSM: "
            "--net shift=online)"
        )
    period = program.period
    if frames is not None and (frames < 1 or frames % period):
        raise Pseudo3dError(
            f"{frames} frames at a time: every layer of {net.name} has stepped after {period} "
            f"frames, so wanted a multiple, such as {-(-max(frames, 1) // period) * period}"
        )
    pre = net.card.preprocessing if net.card is not None else None
    h, w = size or (pre and pre.size) or (None, None)
    if h is None or w is None:
        raise Pseudo3dError("the network does not say which frames it takes; give --size 112 112")
    return (frames or period, net.cfg.in_channels, h, w), period


def _write(
    graph: StreamGraph, inputs: tuple[torch.Tensor, ...], spec: StreamSpec, path: Path, to: Target
) -> int | None:
    """Write the file; the most axes of any tensor in an ONNX graph."""
    names = spec.names()
    given, made = ["frames", *names], ["logits", *(f"next_{name}" for name in names)]
    if to == "onnx":
        for module in ("onnx", "onnxscript", "onnxruntime"):
            require(module, "export")
        with quiet():
            program = torch.onnx.export(
                graph, inputs, input_names=given, output_names=made, dynamo=True, verbose=False
            )
        model: Any = program.model_proto  # type: ignore[union-attr]  # with dynamo=True never None
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, spec.to_json()
        path.write_bytes(model.SerializeToString())
        return most_axes(model)
    ov = require("openvino", "export")
    with quiet():
        converted = ov.convert_model(torch.export.export(graph, inputs))
    for ports, called in ((converted.inputs, given), (converted.outputs, made)):
        for port, name in zip(ports, called, strict=True):
            port.get_tensor().set_names({name})
    converted.set_rt_info(spec.to_json(), METADATA_KEY)
    ov.save_model(converted, path, compress_to_fp16=spec.precision == "bf16")
    return None


def _compare(net: Network, opened: ExportedStream, memory: int | None) -> float:
    """Largest relative difference of the logits to those of the network, over several steps.

    Raises:
        Pseudo3dError: it is more than the precision explains.
    """
    t, c, h, w = opened.spec.chunk
    draw = torch.Generator().manual_seed(_SEED)
    clip = torch.randn(1, c, _STEPS * t, h, w, generator=draw)
    state, worst = opened.start(), 0.0
    for i in range(1, _STEPS + 1):
        logits, state = opened.step(clip[:, :, (i - 1) * t : i * t], state)
        if memory is None or memory >= i * t:
            worst = max(worst, difference(net, clip[:, :, : i * t], logits))
    limit = LIMITS[opened.spec.precision]
    if not worst <= limit:
        raise Pseudo3dError(
            f"the exported stream of {net.name} computes something else: its logits differ by "
            f"{worst:.2g} (relative) where {opened.spec.precision} explains {limit:.0e}; nothing "
            "was written. Report this with the versions of `p3d doctor`."
        )
    return worst
