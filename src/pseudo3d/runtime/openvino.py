"""OpenVINO itself: its one core in this process, and how networks are compiled with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from pseudo3d.errors import Pseudo3dError, require

_LOCK = Lock()


def openvino_core() -> Any:
    """The core of this process, which stays.

    OpenVINO gives the thread that first compiles with a core a stack for its signals, and takes the
    memory back with the core. When another thread ends the core, the first one keeps the address,
    and the next signal that Python handles there (Ctrl-C, a child that ended) is a segmentation
    fault. The same happens when two cores of a thread end in the order they were made.

    Raises:
        ImportError: openvino is not installed.
    """
    with _LOCK:
        return _core()


@cache
def _core() -> Any:
    return require("openvino", "export").Core()


@contextmanager
def one_core() -> Iterator[None]:
    """Whoever asks for a core gets that of this process, too: NNCF makes several of its own."""
    core = openvino_core()
    doors = [require(name, "export") for name in ("openvino", "openvino._ov_api")]
    own = [door.Core for door in doors]
    try:
        for door in doors:
            door.Core = lambda: core  # type: ignore[attr-defined]
        yield
    finally:
        for door, made in zip(doors, own, strict=True):
            door.Core = made  # type: ignore[attr-defined]


def compile_options(precision: str = "fp32", threads: int | None = None) -> dict[str, Any]:
    """How OpenVINO is to run a network: one clip as fast as it can, in this precision.

    Without the hint it takes bf16 wherever the processor has it, whatever was asked for; that suits
    what int8 leaves in float (15 % of a P3D-50's time).
    """
    hints = {"fp32": "f32", "bf16": "bf16"}
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if precision in hints:
        options["INFERENCE_PRECISION_HINT"] = hints[precision]
    return options if threads is None else {**options, "INFERENCE_NUM_THREADS": threads}


def check_precision(precision: str) -> None:
    """Refuse bf16 on a processor that has none.

    Raises:
        Pseudo3dError: it has none.
    """
    if precision != "bf16":
        return
    if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Pseudo3dError("this processor has no bf16 arithmetic; use fp32 or int8")
