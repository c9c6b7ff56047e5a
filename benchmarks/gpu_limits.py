"""What a GPU reaches in matrix products and 2-D convolutions; used by gpu.py."""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F

from pseudo3d.bench.timing import Call, race

Precision = Literal["fp32", "tf32", "bf16"]
PRODUCTS = (4096, 8192)
CONVOLUTIONS = (  # images, channels, side, kernel
    (64, 128, 56, 3),
    (64, 256, 28, 3),
    (128, 512, 14, 3),
    (128, 512, 14, 1),
)


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def use_tf32(on: bool) -> None:
    """TF32 in products and convolutions, or in neither."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on


def limits(device: str, precision: Precision, small: bool) -> tuple[float, float]:
    """GFLOP/s of matrix products and of 2-D convolutions, the best over some shapes."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float
    calls: dict[str, Call] = {}
    work: dict[str, float] = {}
    for n in (64,) if small else PRODUCTS:
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        calls[f"product {n}"], work[f"product {n}"] = partial(torch.mm, a, b), 2.0 * n**3
    for images, c, side, k in ((1, 16, 8, 3),) if small else CONVOLUTIONS:
        x = torch.randn(images, c, side, side, device=device, dtype=dtype)
        w = torch.randn(c, c, k, k, device=device, dtype=dtype)
        x, w = (v.to(memory_format=torch.channels_last) for v in (x, w))
        name = f"convolution {images, c, side, k}"
        calls[name] = partial(F.conv2d, x, w, padding=k // 2)
        work[name] = 2.0 * images * side * side * c * c * k * k
    use_tf32(precision == "tf32")
    repeats = 10  # launches between two waits, so that waiting does not count

    def several(call: Call) -> None:
        with torch.inference_mode():
            for _ in range(repeats):
                call()
        wait(device)

    times = race({name: partial(several, call) for name, call in calls.items()}, rounds=7)
    rates = {k: 1e-9 * repeats * work[k] / t.seconds.median for k, t in times.items()}
    product, convolution = (
        max(rate for name, rate in rates.items() if name.startswith(kind))
        for kind in ("product", "convolution")
    )
    return product, convolution
