"""Exported networks as runners: what a file says about itself, and the runtimes that execute it.

No torch network is built here; torch only carries the numbers in and out.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.errors import Pseudo3dError, WeightsError, require
from pseudo3d.models.network import check_clip
from pseudo3d.runtime.flat import to_frames
from pseudo3d.runtime.identity import file_digest
from pseudo3d.runtime.inference import as_blank
from pseudo3d.runtime.openvino import check_precision, compile_options, openvino_core
from pseudo3d.weights import Card

METADATA_KEY = "pseudo3d"
_FORMAT = 1
Layout = Literal["clips", "frames"]
Precision = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What an exported file says about itself."""

    card: Card
    layout: Layout  # input: clips (N, C, T, H, W), or their frames (N * T, C, H, W)
    clip: tuple[int, int, int, int]  # (C, T, H, W) it was made for
    precision: Precision

    def to_json(self) -> str:
        """As one line of JSON."""
        plain = {**vars(self), "card": json.loads(self.card.to_json())}
        return json.dumps({"artifact": _FORMAT, **plain}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Spec":
        """Back from `to_json`.

        Raises:
            WeightsError: another format, or parts are missing.
        """
        try:
            plain = json.loads(text)
            if "stream" in plain:
                raise WeightsError(
                    "made with --stream: it takes frames and a state, not clips; open it with "
                    "ExportedStream, or export again without --stream"
                )
            if plain.pop("artifact") != _FORMAT:
                raise WeightsError("made by a newer pseudo3d; `pip install -U pseudo3d`")
            plain["card"] = Card.from_json(json.dumps(plain["card"]))
            plain["clip"] = tuple(plain["clip"])
            return cls(**plain)
        except WeightsError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as err:
            raise WeightsError(f"its metadata cannot be used ({err}); export it again") from err


class Artifact:
    """An exported network; call it with clips (N, C, T, H, W), prepared as its card says.

    Args:
        precision: None takes what was chosen at export; OpenVINO can also run an fp32 file in bf16.
        threads: processor threads; None leaves the choice to the runtime.
    Raises:
        WeightsError: missing, damaged, or not a file of `p3d export`.
        Pseudo3dError: a precision the file or the processor does not give.
        ImportError: the runtime is not installed.
    """

    spec: Spec

    def __init__(
        self,
        path: str | Path,
        *,
        precision: Literal["fp32", "bf16"] | None = None,
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise WeightsError(
                f"{self.path} does not exist; wanted a file of `p3d export` (searched in "
                f"{Path.cwd()})"
            )
        self._open(precision, threads)
        self.card: Card = self.spec.card
        self.name: str = self.card.name

    precision: str

    @cached_property
    def identity(self) -> str:
        """Of the file's weights."""
        return file_digest(self.path)[:16]

    def _open(self, precision: Literal["fp32", "bf16"] | None, threads: int | None) -> None:
        """Set `spec` and `precision` and make ready to run."""
        raise NotImplementedError

    def _run(self, array: np.ndarray) -> np.ndarray:
        """Logits of input in the file's layout."""
        raise NotImplementedError

    def __call__(self, clips: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        """Logits, one row per clip.

        Raises:
            Pseudo3dError: clips of another size than the file was made for.
        """
        self._check(clips)
        given = to_frames(clips) if self.spec.layout == "frames" else clips
        array = given.detach().to("cpu", torch.float32).contiguous().numpy()
        return as_blank(clips.detach().cpu(), torch.from_numpy(self._run(array)))

    def _check(self, clips: Tensor) -> None:
        check_clip(clips, self.spec.clip[0])
        if tuple(clips.shape[1:]) != self.spec.clip:
            _, t, h, w = self.spec.clip
            raise Pseudo3dError(
                f"clip has shape {tuple(clips.shape)}; {self.path.name} is made for {t} frames of "
                f"{h} x {w} pixels. Give it such clips, or export again with --frames "
                f"{clips.shape[2]} --size {clips.shape[3]} {clips.shape[4]}."
            )

    def _read_spec(self, text: str | None) -> Spec:
        if text is None:
            raise WeightsError(
                f"{self.path}: no metadata of pseudo3d, so neither its input nor its classes are "
                "known; make it with `p3d export WEIGHTS`"
            )
        try:
            return Spec.from_json(text)
        except Pseudo3dError as err:
            raise WeightsError(f"{self.path}: {err}") from err

    def _damaged(self, err: Exception) -> WeightsError:
        size = self.path.stat().st_size
        cause = " ".join(str(err).split())[:200]
        return WeightsError(
            f"{self.path}: damaged or incomplete ({size} bytes): {cause}. Export it again."
        )


class OnnxArtifact(Artifact):
    """Runs an .onnx file with ONNX Runtime on the processor."""

    def _open(self, precision: Literal["fp32", "bf16"] | None, threads: int | None) -> None:
        ort = require("onnxruntime", "export")
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as err:  # its errors have no common base; the file is to blame
            raise self._damaged(err) from err
        found: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.spec = self._read_spec(found.get(METADATA_KEY))
        self.precision = self.spec.precision
        if precision not in (None, self.precision):
            raise Pseudo3dError(
                f"{self.path}: exported in {self.precision}, asked for {precision}; ONNX Runtime "
                "computes on the processor as exported. For bf16: p3d export WEIGHTS --to openvino "
                "--precision bf16"
            )
        self._input = self._session.get_inputs()[0].name

    def _run(self, array: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(None, {self._input: array})[0]
        return found


class OpenVinoArtifact(Artifact):
    """Runs an .xml (with its .bin), or an .onnx, with OpenVINO on the processor."""

    def _open(self, precision: Literal["fp32", "bf16"] | None, threads: int | None) -> None:
        core = openvino_core()
        if self.path.suffix == ".xml" and not self.path.with_suffix(".bin").is_file():
            raise WeightsError(
                f"{self.path}: {self.path.with_suffix('.bin').name} is not beside it; the two "
                "files belong together"
            )
        try:
            model = core.read_model(self.path)
        except RuntimeError as err:
            raise self._damaged(err) from err
        place = [METADATA_KEY] if self.path.suffix == ".xml" else ["framework", METADATA_KEY]
        text = str(model.get_rt_info(place).value) if model.has_rt_info(place) else None
        self.spec = self._read_spec(text)
        self.precision = self._choose(precision)
        self._model = core.compile_model(model, "CPU", compile_options(self.precision, threads))

    def _choose(self, asked: Literal["fp32", "bf16"] | None) -> str:
        made = self.spec.precision
        precision: str = asked or made
        if made != precision and (made, precision) != ("fp32", "bf16"):
            raise Pseudo3dError(
                f"{self.path}: exported in {made}, asked for {precision}; leave the precision out, "
                f"or export again: p3d export WEIGHTS --to openvino --precision {precision}"
            )
        check_precision(precision)
        return precision

    def _run(self, array: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._model(array)[0]
        return found
