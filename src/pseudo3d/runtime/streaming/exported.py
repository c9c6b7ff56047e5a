"""Exported streams: files for ONNX Runtime or OpenVINO with the state as inputs and outputs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.errors import Pseudo3dError, WeightsError, require
from pseudo3d.models.network import check_floats
from pseudo3d.runtime.artifact import METADATA_KEY
from pseudo3d.runtime.openvino import check_precision, compile_options, openvino_core
from pseudo3d.weights import Card

_FORMAT = 1
State = tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """What an exported stream says about itself."""

    card: Card
    chunk: tuple[int, int, int, int]  # (T, C, H, W) of the frames of one step
    period: int  # frames after which every layer has stepped
    memory: int | None  # frames a decision is made from; None: all of them
    fills: tuple[float, ...]  # of each tensor of the state before the first step
    shapes: tuple[tuple[int, ...], ...]
    precision: Literal["fp32", "bf16"]

    def to_json(self) -> str:
        """As one line of JSON."""
        plain = {**vars(self), "card": json.loads(self.card.to_json())}
        return json.dumps({"stream": _FORMAT, **plain}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "StreamSpec":
        """Back from `to_json`.

        Raises:
            WeightsError: another format, a file for clips, or parts are missing.
        """
        try:
            plain = json.loads(text)
            if plain.pop("stream", None) != _FORMAT:
                raise WeightsError(
                    "no exported stream that this version knows; make one with `p3d export "
                    "WEIGHTS --stream`"
                )
            plain["card"] = Card.from_json(json.dumps(plain["card"]))
            plain["chunk"] = tuple(plain["chunk"])
            plain["fills"] = tuple(plain["fills"])
            plain["shapes"] = tuple(map(tuple, plain["shapes"]))
            return cls(**plain)
        except WeightsError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as err:
            raise WeightsError(f"its metadata cannot be used ({err}); export it again") from err

    def names(self) -> list[str]:
        """Of the tensors of the state."""
        return ["pooled", "count", *(f"kept_{i}" for i in range(len(self.shapes) - 2))]


class ExportedStream:
    """An exported stream on the processor: `state = start(); logits, state = step(frames, state)`.

    One file serves any number of streams; each has its own state.

    Args:
        threads: processor threads; None leaves the choice to the runtime.
    Raises:
        WeightsError: missing, damaged, or not a file of `p3d export --stream`.
        ImportError: the runtime is not installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise WeightsError(f"{self.path} does not exist (searched in {Path.cwd()})")
        try:
            text = self._open_onnx(threads) if self.path.suffix == ".onnx" else self._open_ov()
        except ImportError:
            raise
        except Exception as err:  # theirs have no common base; the file is to blame
            cause = " ".join(str(err).split())[:200]
            raise WeightsError(
                f"{self.path}: damaged or incomplete: {cause}. Export it again."
            ) from err
        try:
            self.spec = StreamSpec.from_json(text or "{}")
        except WeightsError as err:
            raise WeightsError(f"{self.path}: {err}") from err
        if self.path.suffix != ".onnx":
            self._compile(threads)
        self.card, self.name, self.period = self.spec.card, self.spec.card.name, self.spec.period

    def _open_onnx(self, threads: int | None) -> str | None:
        ort = require("onnxruntime", "export")
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def run(arrays: State) -> State:
            return tuple(session.run(None, dict(zip(names, arrays, strict=True))))

        self._run = run
        found: str | None = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        return found

    def _open_ov(self) -> str | None:
        self._model: Any = openvino_core().read_model(self.path)
        known = self._model.has_rt_info([METADATA_KEY])
        return str(self._model.get_rt_info([METADATA_KEY]).value) if known else None

    def _compile(self, threads: int | None) -> None:
        check_precision(self.spec.precision)
        options = compile_options(self.spec.precision, threads)
        compiled = openvino_core().compile_model(self._model, "CPU", options)
        request = compiled.create_infer_request()

        def run(arrays: State) -> State:
            found = request.infer(dict(enumerate(arrays)))
            return tuple(np.array(found[port]) for port in compiled.outputs)

        self._run = run

    def start(self) -> State:
        """The state of a stream of which nothing has been seen."""
        pairs = zip(self.spec.shapes, self.spec.fills, strict=True)
        return tuple(np.full(shape, fill, np.float32) for shape, fill in pairs)

    def step(
        self, frames: Float[Tensor, "1 c t h w"], state: State
    ) -> tuple[Float[Tensor, "1 k"], State]:
        """Look at the next chunk of frames; the state given stays what it was.

        Raises:
            Pseudo3dError: a chunk of another shape, or of whole numbers.
        """
        check_floats(frames, "frames")
        t, c, h, w = self.spec.chunk
        if tuple(frames.shape) != (1, c, t, h, w):
            raise Pseudo3dError(
                f"frames have shape {tuple(frames.shape)}; {self.path.name} takes {(1, c, t, h, w)}"
                f": {t} frames at a time. For other sizes export again with --size, for longer "
                "chunks with --frames."
            )
        chunk = frames[0].transpose(0, 1).to(torch.float32).contiguous().numpy()
        logits, *rest = self._run((chunk, *state))
        return torch.from_numpy(np.array(logits)), tuple(rest)
