"""A network for scans, with all that its checkpoint says of how to use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import torch
from jaxtyping import Float, Num
from torch import Tensor

from pseudo3d.data.scans.manifest import Task
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.module import Goal
from pseudo3d.errors import WeightsError
from pseudo3d.models.network import Network
from pseudo3d.runtime.lower import Lowered, Precision, optimize
from pseudo3d.runtime.runner import ONNX, OPENVINO
from pseudo3d.weights import load

Mirrors = tuple[tuple[int, ...], ...]  # axes of (N, C, D, H, W) that each view reverses


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A network, its input, and what its output means."""

    net: Network
    pre: ScanPreprocessing
    goal: Goal
    precision: Precision = "fp32"  # on the processor

    @cached_property
    def fast(self) -> Network | Lowered:
        """The network as it runs fastest where it is; one made by hand runs as it is."""
        if not self.net.name or next(self.net.parameters()).device.type != "cpu":
            return self.net
        return optimize(self.net, precision=self.precision)

    @property
    def task(self) -> Task:
        return self.goal.task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.goal.classes

    def answers(
        self, volumes: Num[Tensor, "n c d h w"], mirrors: Mirrors = ((),)
    ) -> Float[Tensor, "n k"]:
        """Probabilities of the classes, or the number; the mean over mirrored views."""
        device = next(self.net.parameters()).device
        x = self.pre.normalize(volumes.to(device))
        with torch.inference_mode():
            seen = [self._answer(self.fast(x.flip(axes) if axes else x)) for axes in mirrors]
        return torch.stack(seen).mean(0).cpu()

    def _answer(self, logits: Tensor) -> Tensor:
        if self.task == "regress":
            return logits.float() * self.goal.std + self.goal.mean
        return logits.float().softmax(1)

    def mirrors(self) -> Mirrors:
        """Every mirror image that training drew without another label: 1, 2, 4 or 8 views."""
        recipe = self.net.card.training.get("recipe", {}) if self.net.card is not None else {}
        how = recipe.get("augment", {})
        wanted = (how.get("flip_depth"), how.get("flip_height"), how.get("flip"))
        if how.get("swap"):
            wanted = (*wanted[:2], False)
        axes = [axis for axis, drawn in zip((2, 3, 4), wanted, strict=True) if drawn]
        chosen: Sequence[Sequence[bool]] = list(product((False, True), repeat=len(axes)))
        return tuple(tuple(a for a, on in zip(axes, c, strict=True) if on) for c in chosen)


def ready(model: Network | str | Path, *, precision: Precision | None = None) -> Ready:
    """Open a checkpoint that was trained on scans, or take such a network.

    Args:
        precision: on the processor; None is fp32.
    Raises:
        WeightsError: it was not trained on scans, does not say how its input is prepared, or is an
            exported network.
    """
    if isinstance(model, str | Path) and Path(model).suffix.lower() in (ONNX, OPENVINO):
        raise WeightsError(
            f"{model} is an exported network; scans take the checkpoint (weights.safetensors) it "
            "was made from"
        )
    net = load(model) if isinstance(model, str | Path) else model
    name = str(model) if isinstance(model, str | Path) else (net.name or type(net).__name__)
    card = net.card
    pre = None if card is None else card.preprocessing
    if card is None or not card.classes or not isinstance(pre, ScanPreprocessing):
        was = "was trained on videos" if pre is not None else "does not say how to prepare a scan"
        raise WeightsError(f"{name} {was}; train one: `p3d train SCANS --out RUN`")
    told = card.training
    goal = Goal(
        task=told.get("task", "classify"),
        classes=tuple(card.classes),
        mean=float(told.get("value_mean", 0.0)),
        std=float(told.get("value_std", 1.0)),
    )
    return Ready(net=net.eval(), pre=pre, goal=goal, precision=precision or "fp32")
