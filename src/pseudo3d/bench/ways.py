"""The ways to run a network on the processor, each ready to be timed against the others."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pseudo3d.bench.limits import Precision
from pseudo3d.bench.yardsticks import plain
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.network import Network

Infer = Callable[[Tensor], Tensor]
PLAIN = "plain"  # what all others are compared with


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run.

    Args:
        clips: (N, C, T, H, W), H = W.
        folder: where exported files may be put.
        threads: of runtimes that are told when they are opened.
    """

    net: Network
    clips: Tensor
    folder: Path
    threads: int

    def exported(self, suffix: str, precision: Literal["fp32", "int8"] = "fp32") -> Path:
        """The network as a file for another runtime; written at the first use."""
        from pseudo3d.runtime.export import export

        path = self.folder / f"{precision}{suffix}"
        if not path.exists():
            _, _, frames, *size = self.clips.shape
            export(
                self.net,
                path,
                "onnx" if suffix == ".onnx" else "openvino",
                precision,
                frames=frames,
                size=(size[0], size[1]),
                calibration=_noise(self.clips) if precision == "int8" else None,
            )
        return path


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to run it; `skipped` says why it cannot be."""

    name: str
    title: str
    precision: Precision
    infer: Infer | None = None
    skipped: str = ""


def _noise(like: Tensor, count: int = 4) -> list[Tensor]:
    """Clips that do for measuring time; accuracy needs real ones."""
    rng = torch.Generator().manual_seed(1)
    return [torch.randn(1, *like.shape[1:], generator=rng) for _ in range(count)]


def _module(net: nn.Module) -> Infer:
    def infer(clips: Tensor) -> Tensor:
        with torch.inference_mode():
            return net(clips)

    return infer


def _optimized(job: Job, precision: Literal["fp32", "bf16"]) -> Infer:
    from pseudo3d.runtime.lower import optimize

    return optimize(job.net, job.clips, precision)


def _opened(
    job: Job,
    suffix: str,
    made: Literal["fp32", "int8"],
    run: Literal["fp32", "bf16"] | None = None,
) -> Infer:
    from pseudo3d.runtime.runner import open_runner

    return open_runner(job.exported(suffix, made), precision=run, threads=job.threads)


# name -> title, precision, how to get there
WAYS: dict[str, tuple[str, Precision, Callable[[Job], Infer]]] = {
    PLAIN: ("plain PyTorch, eager", "fp32", lambda job: _module(plain(job.net))),
    "eager": ("pseudo3d, eager", "fp32", lambda job: _module(job.net)),
    "fp32": ("pseudo3d, optimized fp32", "fp32", partial(_optimized, precision="fp32")),
    "bf16": ("pseudo3d, optimized bf16", "bf16", partial(_optimized, precision="bf16")),
    "onnxruntime": (
        "ONNX Runtime fp32",
        "fp32",
        partial(_opened, suffix=".onnx", made="fp32"),
    ),
    "openvino": ("OpenVINO fp32", "fp32", partial(_opened, suffix=".xml", made="fp32")),
    "openvino-bf16": (
        "OpenVINO bf16",
        "bf16",
        partial(_opened, suffix=".xml", made="fp32", run="bf16"),
    ),
    "openvino-int8": ("OpenVINO int8", "int8", partial(_opened, suffix=".xml", made="int8")),
}


def open_ways(
    job: Job, names: Iterable[str] = tuple(WAYS), tell: Callable[[str], None] | None = None
) -> list[Way]:
    """Make each way ready; one that cannot be is in the list with its reason.

    Args:
        tell: given the title of each way before its turn.
    Raises:
        ValueError: no such way.
    """
    found = []
    for name in names:
        if name not in WAYS:
            raise ValueError(unknown("way to run a network", name, WAYS))
        title, precision, make = WAYS[name]
        if tell is not None:
            tell(title)
        try:
            infer = make(job)
            infer(job.clips)
            found.append(Way(name=name, title=title, precision=precision, infer=infer))
        except Exception as err:  # whatever one runtime raises, the others get their turn
            known = isinstance(err, (ImportError, Pseudo3dError))
            why = ("" if known else f"{type(err).__name__}: ") + " ".join(str(err).split())
            found.append(Way(name=name, title=title, precision=precision, skipped=why))
    return found


@torch.no_grad()
def enliven(net: Network, seed: int = 0) -> Network:
    """Give a fresh network weights and statistics as if trained, so that errors mean something.

    As built, its temporal convolutions do nothing and its batch norms are the identity.
    """
    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            fan = module.weight[0].numel()
            module.weight.normal_(0, (2 / fan) ** 0.5, generator=rng)
        elif isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1, generator=rng)  # type: ignore[union-attr]  # kept
            module.running_var.uniform_(0.5, 1.5, generator=rng)  # type: ignore[union-attr]  # kept
    return net
