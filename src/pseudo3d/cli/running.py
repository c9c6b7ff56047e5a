"""Options of the commands that run a network: what computes it, and in which numbers."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pseudo3d.runtime.lower import Precision as Numbers
    from pseudo3d.runtime.runner import Runner


class Runtimes(StrEnum):
    """What can compute a network."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


class Precisions(StrEnum):
    """The numbers it computes in."""

    fp32 = "fp32"
    bf16 = "bf16"


Weights = Annotated[Path, typer.Argument(help="A checkpoint, or what `p3d export` wrote.")]
Runtime = Annotated[
    Runtimes, typer.Option(help="What computes; auto: the fastest one that reads the file.")
]
Precision = Annotated[
    Precisions | None,
    typer.Option(help="bf16 is about twice as fast, where the processor has it; default: fp32."),
]


def open_model(
    weights: Path, runtime: Runtimes, precision: Precisions | None, threads: int | None
) -> "Runner":
    """The network of a file, ready to run."""
    from pseudo3d.runtime.runner import open_runner

    return open_runner(
        weights,
        runtime=runtime.value,
        precision=precision.value if precision is not None else None,
        threads=threads,
    )


def precision_on_torch(runtime: Runtimes, precision: Precisions | None) -> "Numbers | None":
    """The numbers of networks that only torch runs: those for scans."""
    if runtime not in (Runtimes.auto, Runtimes.torch):
        raise typer.BadParameter(
            f"--runtime is {runtime.value}; networks for scans run in torch: leave it out"
        )
    return None if precision is None else precision.value
