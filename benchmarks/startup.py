"""From the start of a process to its first answer from a file of weights, and its peak memory.

    python benchmarks/startup.py [--threads 2]

P3D-50 of the release on one clip of 16 x 160 x 160; whole processes, in turn, timed from outside.
Exported files are written beforehand. Linux only. Rows: results/startup.csv; a quick trial:
--model p3d_nano --frames 4 --size 32 --rounds 1 --dry.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, cast

import torch

from common import command, keep, options, parse, show, tell
from pseudo3d.bench.machine import versions
from pseudo3d.bench.timing import spread
from pseudo3d.bench.ways import Job, enliven
from pseudo3d.models import create_model, default_config
from pseudo3d.weights import save

# Put together with the arguments: file, frames, size, threads.
HEAD = """
import sys
path, frames, size, threads = sys.argv[1], *map(int, sys.argv[2:])
import torch
torch.set_num_threads(threads)
clip = torch.zeros(1, 3, frames, size, size)
"""
TAIL = """
print(int(logits.argmax()), flush=True)
status = open("/proc/self/status").read()  # getrusage would tell the parent's peak
print(status.partition("VmHWM:")[2].split()[0], flush=True)
"""
EAGER = """
from pseudo3d import load
net = load(path)
with torch.inference_mode():
    logits = net(clip)
"""
RUNNER = """
from pseudo3d.runtime.runner import open_runner
logits = open_runner(path, precision={precision!r}, threads=threads)(clip)
"""
# variant -> file, what to run
VARIANTS = {
    "import torch only": ("weights.safetensors", "logits = clip"),
    "eager": ("weights.safetensors", EAGER),
    "optimized fp32": ("weights.safetensors", RUNNER.format(precision="fp32")),
    "optimized bf16": ("weights.safetensors", RUNNER.format(precision="bf16")),
    "onnxruntime": ("fp32.onnx", RUNNER.format(precision=None)),
    "openvino": ("fp32.xml", RUNNER.format(precision=None)),
    "openvino-bf16": ("fp32.xml", RUNNER.format(precision="bf16")),
    "openvino-int8": ("int8.xml", RUNNER.format(precision=None)),
}


def once(code: str, path: Path, frames: int, size: int, threads: int) -> dict[str, float]:
    """Run a process; seconds until its answer, its CPU seconds and peak memory.

    Raises:
        RuntimeError: it failed.
    """
    line = [sys.executable, "-c", HEAD + code + TAIL, *map(str, (path, frames, size, threads))]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    before = os.times()
    with tempfile.TemporaryFile("w+") as problems:
        began = time.perf_counter()
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=problems, text=True, env=env
        ) as child:
            stdout = cast(IO[str], child.stdout)
            answer = stdout.readline()
            took = time.perf_counter() - began
            rest = stdout.read()
        if child.returncode or not answer:
            problems.seek(0)
            told = problems.read().strip().splitlines()
            raise RuntimeError(told[-1] if told else "no answer")
    after = os.times()
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return {"seconds": took, "cpu": cpu, "mib": float(rest) / 1024}


def files(args: Any, folder: Path) -> dict[str, str]:
    """Write the files of all variants; those that cannot be written, with the reason."""
    semantics = {"semantics": "release"} if hasattr(default_config(args.model), "semantics") else {}
    net = enliven(create_model(args.model, num_classes=400, **semantics)).eval()
    clips = torch.randn(1, 3, args.frames, args.size, args.size)
    save(net, folder / "weights.safetensors")
    job = Job(net=net, clips=clips, folder=folder, threads=1)
    failed = {}
    for suffix, precision in ((".onnx", "fp32"), (".xml", "fp32"), (".xml", "int8")):
        try:
            job.exported(suffix, precision)  # type: ignore[arg-type]  # two of the precisions
        except Exception as err:  # the others still count
            failed[f"{precision}{suffix}"] = " ".join(str(err).split())
    return failed


def main() -> None:
    parser = options(__doc__, rounds=7, seconds=300, threads=[2])
    parser.add_argument("--model", default="p3d50")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    args = parse(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tell("writing the files")
        failed = files(args, folder)
        for threads in args.threads:
            rows = measured(args, folder, failed, threads)
            columns = ("seconds", "low_seconds", "high_seconds", "cpu_seconds", "peak_mib")
            title = f"first answer of {args.model}, {threads} threads: {command()}"
            show(title, rows, columns=columns)
            keep("startup", rows, args.dry)


def measured(args: Any, folder: Path, failed: dict[str, str], threads: int) -> list[dict[str, Any]]:
    """A row per variant; every round starts each of them once."""
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    why = {v: failed[file] for v, (file, _) in VARIANTS.items() if file in failed}
    began = time.perf_counter()
    for i in range(args.rounds):
        if i >= 3 and time.perf_counter() - began > args.seconds:
            break
        tell(f"round {i + 1} of at most {args.rounds}")
        for variant, (file, code) in VARIANTS.items():
            if variant in why:
                continue
            try:
                one = once(code, folder / file, args.frames, args.size, threads)
                found[variant].append(one)
            except RuntimeError as err:
                why[variant] = str(err)
    rows: list[dict[str, Any]] = []
    for variant, runs in found.items():
        about = {"model": args.model, "clip": f"1x3x{args.frames}x{args.size}x{args.size}"}
        about |= {"threads": threads, "variant": variant}
        if variant in why:
            rows.append({**about, "skipped": why[variant]})
            continue
        wall = spread([run["seconds"] for run in runs])
        rows.append(
            {
                **about,
                "rounds": len(runs),
                "seconds": round(wall.median, 3),
                "low_seconds": round(wall.low, 3),
                "high_seconds": round(wall.high, 3),
                "cpu_seconds": round(spread([run["cpu"] for run in runs]).median, 3),
                "peak_mib": round(spread([run["mib"] for run in runs]).median),
                "runtimes": versions("torch", "onnxruntime", "openvino"),
            }
        )
    return rows


if __name__ == "__main__":
    main()
