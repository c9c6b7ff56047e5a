"""One door to every way a network can run: torch, ONNX Runtime, OpenVINO."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.weights import Card

Runtime = Literal["auto", "torch", "onnxruntime", "openvino"]
TORCH, ONNX, OPENVINO = (".safetensors", ".pth", ".pt", ".tar"), ".onnx", ".xml"


class Runner(Protocol):
    """Logits of clips, whatever computes them.

    `card` says what the file says beside its weights; `precision` is fp32, bf16 or int8;
    `identity` tells its weights from others.
    """

    @property
    def name(self) -> str: ...
    @property
    def card(self) -> Card | None: ...
    @property
    def precision(self) -> str: ...
    @property
    def identity(self) -> str: ...
    def __call__(self, clips: Float[Tensor, "n c t h w"], /) -> Float[Tensor, "n k"]: ...


def open_runner(
    path: str | Path,
    *,
    runtime: Runtime = "auto",
    precision: Literal["fp32", "bf16"] | None = None,
    threads: int | None = None,
) -> Runner:
    """Open a checkpoint or an exported network for inference on the processor.

    Args:
        runtime: "auto" takes the fastest one that is installed and reads the file.
        precision: None is fp32 for a checkpoint and what was chosen at export for the others.
        threads: processor threads; None leaves the choice to the runtime.
    Raises:
        Pseudo3dError: a runtime that cannot read such a file, or a file that cannot be used.
        ImportError: the runtime is not installed.
    Example:
        >>> open_runner("network.xml", threads=1)(torch.zeros(1, 3, 16, 112, 112)).shape
        torch.Size([1, 400])
    """
    path = Path(path)
    chosen = _choose(path, runtime)
    if chosen == "torch":
        return _torch(path, precision or "fp32", threads)
    from pseudo3d.runtime.artifact import Artifact, OnnxArtifact, OpenVinoArtifact

    kinds: dict[str, type[Artifact]] = {"onnxruntime": OnnxArtifact, "openvino": OpenVinoArtifact}
    return kinds[chosen](path, precision=precision, threads=threads)


def _choose(path: Path, runtime: Runtime) -> str:
    """The runtime for a file, by its suffix."""
    known = ("auto", "torch", "onnxruntime", "openvino")
    if runtime not in known:
        raise TypeError(unknown("runtime", runtime, known))
    suffix = path.suffix.lower()
    if suffix in TORCH:
        fitting = ["torch"]
    elif suffix == ONNX:  # its graph is made for ONNX Runtime; OpenVINO reads it, too
        fitting = ["onnxruntime", "openvino"]
    elif suffix == OPENVINO:
        fitting = ["openvino"]
    else:
        raise Pseudo3dError(
            f"{path}: unknown suffix {suffix!r}; wanted a checkpoint ({', '.join(TORCH)}) or what "
            f"`p3d export` wrote ({ONNX}, {OPENVINO})"
        )
    if runtime == "auto":
        return next((r for r in fitting if find_spec(r) is not None), fitting[0])
    if runtime not in fitting:
        raise Pseudo3dError(f"{path}: {runtime} does not read {suffix} files; {_way_out(runtime)}")
    return runtime


def _way_out(runtime: Runtime) -> str:
    if runtime == "torch":
        return "give the checkpoint it was exported from, or leave the runtime out"
    to = "onnx" if runtime == "onnxruntime" else "openvino"
    return f"export the checkpoint first: p3d export WEIGHTS --to {to}"


def _torch(path: Path, precision: Literal["fp32", "bf16"], threads: int | None) -> Runner:
    import torch

    from pseudo3d.runtime.lower import optimize
    from pseudo3d.weights import load

    if threads is not None:
        torch.set_num_threads(threads)
    return optimize(load(path), precision=precision)
