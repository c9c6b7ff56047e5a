"""What works on this machine, what is missing and how to get it (`p3d doctor`)."""

import json
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Literal, TextIO

State = Literal["ok", "missing", "warn"]

# Modules that each extra of pyproject.toml brings; found, not imported: some take seconds.
EXTRAS: dict[str, tuple[str, ...]] = {
    "eval": ("sklearn", "scipy", "pyarrow"),
    "flow": ("cv2",),
    "scans": ("nibabel", "pydicom", "SimpleITK"),
    "export": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
    "explain": ("captum",),
    "serve": ("fastapi", "uvicorn", "python_multipart"),
    "cluster": ("webdataset", "ray"),
    "tensorboard": ("tensorboard",),
}
GIB = 2**30
PYTHON_FIX = "install Python 3.11 or newer"
REINSTALL = "pip install --force-reinstall pseudo3d"
CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the doctor's report; `core` rows that are missing stop pseudo3d from working."""

    name: str
    state: State
    detail: str
    fix: str = ""
    core: bool = False


def checks() -> list[Check]:
    """Look at everything pseudo3d uses; never raises, a failure is a row."""
    rows = [
        _guard("python", _python, PYTHON_FIX),
        _guard("torch", _torch, CPU_TORCH),
        _guard("gpu", _gpu, "", core=False),
        _guard("bfloat16", _bfloat16, "train with --precision fp32", core=False),
        _guard("optimized networks", _optimized, "", core=False),
        _guard(
            "video",
            _video,
            "pip install --force-reinstall av  # its wheels bring FFmpeg with H.264",
        ),
    ]
    for module in ("lightning", "torchmetrics", "safetensors", "matplotlib"):
        rows.append(_guard(module, partial(_library, module), REINSTALL))
    rows += [_extra(name) for name in EXTRAS]
    rows += [_guard(f.__name__[1:], f, "", core=False) for f in (_cores, _memory, _disk)]
    return rows


def healthy(rows: Sequence[Check]) -> bool:
    """Say whether everything that pseudo3d cannot do without is there."""
    return not any(row.core and row.state == "missing" for row in rows)


def show(rows: Sequence[Check], *, as_json: bool = False, out: TextIO | None = None) -> None:
    """Write rows as a table on a terminal, tab-separated elsewhere, or as JSON."""
    out = out or sys.stdout
    if as_json:
        report = {"ok": healthy(rows), "checks": [asdict(row) for row in rows]}
        out.write(json.dumps(report, indent=2) + "\n")
    elif out.isatty():
        _table(rows, out)
    else:
        out.writelines("\t".join((r.name, r.state, r.detail, r.fix)) + "\n" for r in rows)


def run(*, as_json: bool = False) -> int:
    """Check, write the report to stdout and return the exit code: 1 if a core part is broken."""
    rows = checks()
    show(rows, as_json=as_json)
    return 0 if healthy(rows) else 1


def _table(rows: Sequence[Check], out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    color = {"ok": "green", "warn": "yellow", "missing": "yellow"}
    table = Table("check", "state", "what was found", "how to get it", box=None, pad_edge=False)
    for row in rows:
        style = "red" if row.core and row.state == "missing" else color[row.state]
        state = Text(row.state, style=style)
        table.add_row(Text(row.name), state, Text(row.detail), Text(row.fix))
    Console(file=out).print(table)


def _guard(name: str, look: Callable[[], Check], fix: str, *, core: bool = True) -> Check:
    """Run one check; whatever it raises becomes its row."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return look()
    except Exception as err:  # a broken binary wheel may raise anything
        cause = " ".join(f"{type(err).__name__}: {err}".split())
        return Check(
            name=name, state="missing" if core else "warn", detail=cause, fix=fix, core=core
        )


def _python() -> Check:
    try:
        own = f", pseudo3d {version('pseudo3d')}"
    except PackageNotFoundError:
        own = ", pseudo3d not installed, run from its source"
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}{own}"
    if sys.version_info < (3, 11):  # noqa: UP036 (run from the source, no installer looked)
        return Check(name="python", state="missing", detail=found, fix=PYTHON_FIX, core=True)
    return Check(name="python", state="ok", detail=found, core=True)


def _torch() -> Check:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    total = float(torch.nn.functional.conv3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 3, 3, 3)))
    if total != 27:
        raise RuntimeError(f"a 3-D convolution of ones gave {total} where 27 was expected")
    found = f"{torch.__version__}, CPU {capability}, {torch.get_num_threads()} threads"
    return Check(name="torch", state="ok", detail=found, core=True)


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check(name="gpu", state="ok", detail=", ".join(names))
    if torch.backends.mps.is_available():
        return Check(name="gpu", state="ok", detail="Apple Metal (mps)")
    found = "none: everything runs on the CPU"
    return Check(name="gpu", state="missing", detail=found)


def _bfloat16() -> Check:
    """Compare both forms of a temporal convolution, at a depth of 2, with float32."""
    plain, guarded = _weight_gradient_errors()
    if not guarded < 0.05:
        found = f"weight gradients are wrong (relative error {guarded:.1e})"
        return Check(name="bfloat16", state="warn", detail=found, fix="train with --precision fp32")
    found = f"right (relative error {guarded:.1e})"
    if not plain < 0.05:
        found += (
            f"; conv3d of this torch gives wrong weight gradients for 2 frames ({plain:.1e}):"
            " pseudo3d is guarded, it convolves in 2-D; your own bfloat16 Conv3d is not"
        )
    return Check(name="bfloat16", state="ok", detail=found)


def _optimized() -> Check:
    """Which operators the fast form of a network runs on."""
    from pseudo3d.runtime.packed import fused

    if fused():
        found = "weights packed, ReLU and sums fused (private operators of torch, checked)"
        return Check(name="optimized networks", state="ok", detail=found)
    found = "this torch lacks the fused convolutions: its public ones stand in, a fifth slower"
    fix = "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
    return Check(name="optimized networks", state="warn", detail=found, fix=fix)


def _weight_gradient_errors() -> tuple[float, float]:
    """Relative errors of bfloat16 weight gradients, T=2 and kernel 3: (conv3d, as conv2d)."""
    import torch
    from torch.nn import functional as F

    seeded = torch.Generator().manual_seed(0)
    x, g = (torch.randn(2, 16, 2, 4, 4, generator=seeded) for _ in range(2))
    w = torch.randn(16, 16, 3, 1, 1, generator=seeded) * 0.05

    def gradient(dtype: torch.dtype, *, flat: bool) -> torch.Tensor:
        clip, kernel = x.to(dtype), w.to(dtype, copy=True).requires_grad_()
        if flat:
            y = F.conv2d(clip.flatten(3), kernel.flatten(3), padding=(1, 0)).view_as(g)
        else:
            y = F.conv3d(clip, kernel, padding=(1, 0, 0))
        return torch.autograd.grad(y, kernel, g.to(dtype))[0].float()

    exact = gradient(torch.float32, flat=False)
    plain, flat = (
        float((gradient(torch.bfloat16, flat=f) - exact).norm() / exact.norm())
        for f in (False, True)
    )
    return plain, flat


def _video() -> Check:
    """Encode ten gray frames, each 20 lighter, as H.264 in memory; decode and compare."""
    import av
    import numpy as np

    levels = 20 + 20 * np.arange(10)
    file = BytesIO()
    with av.open(file, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for level in levels:
            picture = np.full((32, 32, 3), level, dtype=np.uint8)
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as source:
        seen = [f.to_ndarray(format="rgb24").mean() for f in source.decode(video=0)]
    if len(seen) != len(levels) or np.abs(seen - levels).max() > 6:
        raise RuntimeError(f"{len(levels)} H.264 frames came back as {len(seen)}, or changed")
    found = f"PyAV {av.__version__}, H.264 encoded and decoded"
    return Check(name="video", state="ok", detail=found, core=True)


def _library(module: str) -> Check:
    import_module(module)
    return Check(name=module, state="ok", detail=version(module), core=True)


def _extra(name: str) -> Check:
    missing = [module for module in EXTRAS[name] if find_spec(module) is None]
    if not missing:
        return Check(name=f"extra {name}", state="ok", detail=", ".join(EXTRAS[name]))
    found = f"not installed: {', '.join(missing)}"
    fix = f"pip install 'pseudo3d[{name}]'"
    return Check(name=f"extra {name}", state="missing", detail=found, fix=fix)


def _cores() -> Check:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check(name="cores", state="ok", detail=f"{allowed} usable of {os.cpu_count()}")


def _memory() -> Check:
    if not hasattr(os, "sysconf"):
        return Check(name="memory", state="warn", detail="unknown on this system")
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # what a container may use
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        size = min(size, int(text))
    found = f"{size / GIB:.1f} GiB"
    if size < 2 * GIB:
        fix = "lower --size, --frames and the batch size"
        return Check(name="memory", state="warn", detail=f"{found} is little", fix=fix)
    return Check(name="memory", state="ok", detail=found)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / GIB:.1f} GiB free here"
    if free < GIB:
        fix = "free some space, or write elsewhere with --out"
        return Check(name="disk", state="warn", detail=found, fix=fix)
    return Check(name="disk", state="ok", detail=found)
