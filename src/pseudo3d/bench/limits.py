"""What this machine can reach: the best rate of matrix products and of 2-D convolutions.

The convolutions are the library's own (oneDNN, channels-last, weights packed beforehand), at shapes
it is good at. A network's share of that rate says how much a better program could still gain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from pseudo3d.bench.timing import Call, Timing, race, threads
from pseudo3d.runtime.packed import PackedConv

Precision = Literal["fp32", "bf16", "int8"]
Kernel = tuple[Call, float]  # what to run, and its floating-point operations
Shape = tuple[int, int, int, int, int]  # images, channels in and out, side, side of the kernel

PRODUCTS = (1024, 2048)
# Where oneDNN came nearest to the processor's peak.
CONVOLUTIONS: tuple[Shape, ...] = (
    (8, 64, 64, 40, 3),
    (8, 128, 128, 28, 3),
    (4, 256, 256, 28, 3),
    (8, 256, 256, 14, 3),
    (16, 256, 256, 14, 3),
    (8, 512, 512, 14, 1),
)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Rates in GFLOP/s (int8: GOP/s), medians over the rounds; None where it cannot be run."""

    precision: Precision
    threads: int
    product: float | None
    convolution: float | None
    shape: Shape | None = None  # of the best convolution

    @property
    def peak(self) -> float | None:
        """What a network is measured by: the convolution's rate, else the product's."""
        return self.convolution or self.product

    def share(self, gflop: float, seconds: float) -> float | None:
        """Part of the peak that gflop in `seconds` reach."""
        return None if self.peak is None else gflop / seconds / self.peak


def measure_limit(
    precision: Precision,
    *,
    count: int | None = None,
    seconds: float = 6.0,
    rounds: int = 9,
    products: tuple[int, ...] = PRODUCTS,
    convolutions: tuple[Shape, ...] = CONVOLUTIONS,
) -> Limit:
    """Measure both peaks with `count` threads (None: as many as torch uses)."""
    with threads(count) as used, torch.inference_mode():
        by_product = _kernels({str(n): partial(_product, precision, n) for n in products})
        by_convolution = _kernels(
            {_name(s): partial(_convolution, precision, *s) for s in convolutions}
        )
        times = {}
        if both := {**by_product, **by_convolution}:
            calls = {name: call for name, (call, _) in both.items()}
            times = race(calls, rounds=rounds, seconds=seconds, rest=0.0)
    best = max(by_convolution, key=lambda k: _rate(by_convolution[k], times[k]), default="")
    return Limit(
        precision=precision,
        threads=used,
        product=max((_rate(v, times[k]) for k, v in by_product.items()), default=None),
        convolution=_rate(by_convolution[best], times[best]) if best else None,
        shape=next((s for s in convolutions if _name(s) == best), None),
    )


def best_convolution(limit: Limit) -> Kernel | None:
    """The convolution that set a limit, to be timed again beside a network."""
    if limit.shape is None:
        return None
    with torch.inference_mode():
        return _convolution(limit.precision, *limit.shape)


def _name(shape: Shape) -> str:
    images, cin, cout, side, kernel = shape
    return f"{images}x{cin}x{side}x{side}, {kernel}x{kernel} to {cout}"


def _rate(kernel: Kernel, timing: Timing) -> float:
    return kernel[1] / timing.seconds.median / 1e9


def _kernels(makers: Mapping[str, Callable[[], Kernel]]) -> dict[str, Kernel]:
    """Those that this torch and processor can run."""
    found = {}
    for name, make in makers.items():
        try:
            kernel = make()
            kernel[0]()
        except (RuntimeError, AttributeError, TypeError):
            continue  # an operator is missing or refuses: then there is no such limit
        found[name] = kernel
    return found


def _product(precision: Precision, n: int) -> Kernel:
    if precision == "int8":
        a, b = (torch.randint(-127, 127, (n, n), dtype=torch.int8) for _ in range(2))
        return (lambda: torch._int_mm(a, b)), 2.0 * n**3
    c, d = (torch.randn(n, n, dtype=_DTYPES[precision]) for _ in range(2))
    return (lambda: torch.mm(c, d)), 2.0 * n**3


def _convolution(
    precision: Precision, images: int, cin: int, cout: int, side: int, kernel: int
) -> Kernel:
    flop = 2.0 * images * side * side * cin * cout * kernel * kernel
    x = torch.randn(images, cin, side, side).to(memory_format=torch.channels_last)
    w, bias, pad = torch.randn(cout, cin, kernel, kernel), torch.randn(cout), kernel // 2
    if precision == "int8":
        return _quantized(x, w, bias, pad), flop
    dtype = _DTYPES[precision]
    one, pads = (1, 1), (pad, pad)
    convolve = PackedConv(w.to(dtype), bias.to(dtype), one, pads, one, 1, relu=True)
    x = x.to(dtype)
    return (lambda: convolve(x)), flop


def _quantized(x: Tensor, w: Tensor, bias: Tensor, pad: int) -> Call:
    """Unsigned eight-bit activations, signed eight-bit weights with one scale per channel."""
    one, pads = [1, 1], [pad, pad]
    scales = torch.full((w.shape[0],), 0.05)
    zeros = torch.zeros(w.shape[0], dtype=torch.int32)
    qx = (x.abs() * 40).clamp(0, 255).to(torch.uint8)
    qw = (w * 20).clamp(-127, 127).to(torch.int8)
    ops = torch.ops.onednn
    packed = ops.qconv_prepack(qw, scales, 0.1, 0, one, pads, one, 1, list(x.shape))
    rest: Any = (bias, one, pads, one, 1, 0.2, 0, torch.uint8, "relu", [], "")

    def call() -> Tensor:
        return ops.qconv_pointwise(qx, 0.1, 0, packed, scales, zeros, *rest)

    call()
    return call
