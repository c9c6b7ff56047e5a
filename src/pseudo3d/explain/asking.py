"""What is asked of a network when its answer is explained: how much speaks for one class.

The score is the log-odds of the class: its logit against all others together. A logit alone also
grows by what every class likes, and a probability stops growing where the network is sure.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.features.layers import device_of
from pseudo3d.models.modes import plain
from pseudo3d.models.network import Network
from pseudo3d.models.unet import UNet
from pseudo3d.runtime.lower import Lowered, optimize
from pseudo3d.runtime.runner import ONNX, OPENVINO, open_runner
from pseudo3d.weights import load

BATCH = 8  # clips in a pass; a fixed number, as fast programs pack their weights for each size
Kind = Literal["class", "value", "label"]  # of clips, a number, of voxels
Program = Callable[..., Any]  # a network, or what runs an exported one: clips -> logits
Asked = Program | str | Path


@dataclass(frozen=True, kw_only=True)
class Question:
    """One class of one network, asked about one clip."""

    net: Program
    fast: Callable[[], Program] = field(repr=False)  # gives the same, as fast as it goes
    kind: Kind
    index: int
    name: str
    where: Tensor | None = None  # (D, H, W): voxels that got the label in the clip as it is

    def score(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, " n"]:
        """Log-odds of the class; the number of a network that measures. With a gradient."""
        return self._read(self.net(x.to(_device(self.net))))

    def scores(self, clips: Iterable[Float[Tensor, "c t h w"]]) -> Float[Tensor, " n"]:
        """`score` of many clips, without a gradient and fast."""
        run, found = self.fast(), []
        for batch in _batches(iter(clips)):
            fed = torch.stack(batch)
            short = BATCH - len(batch)
            if short and isinstance(run, Lowered):
                fed = torch.cat([fed, fed[-1:].expand(short, *fed.shape[1:])])
            with torch.no_grad():
                found.append(self._read(run(fed.to(_device(run))))[: len(batch)].cpu())
        return torch.cat(found).clone()

    def one(self, clip: Float[Tensor, "c t h w"]) -> float:
        """The answer to a single clip, by the network as it is: no program is made for it."""
        with torch.no_grad():
            return float(self.answer(self.score(clip[None])))

    def answer(self, scores: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What a person reads: the probability of the class, or the number itself."""
        return scores if self.kind == "value" else scores.sigmoid()

    def _read(self, logits: Tensor) -> Float[Tensor, " n"]:
        logits = logits.float()
        if self.kind == "label":
            odds = _odds(logits, self.index)
            return odds.flatten(1).mean(1) if self.where is None else odds[:, self.where].mean(1)
        if logits.ndim == 3:  # a converted network that answers for every frame
            logits = logits.mean(1)
        return logits[:, 0] if self.kind == "value" else _odds(logits, self.index)


def opened(model: Asked) -> Program:
    """The network itself, with gradients, or the program that an exported file holds.

    One in training, or in another type than float32, is copied.
    """
    if isinstance(model, nn.Module):
        return plain(model)
    if not isinstance(model, str | Path):
        return model
    if Path(model).suffix.lower() in (ONNX, OPENVINO):
        return open_runner(model)
    return load(model)


def ask(model: Program, clip: Float[Tensor, "c t h w"], target: int | str | None) -> Question:
    """Find out what a target means to a network; None is what it answers for the clip.

    Raises:
        Pseudo3dError: the network has no such class.
    """
    with torch.no_grad():
        logits = model(clip[None].to(_device(model))).float().cpu()
    fast = cache(lambda: _fast(model))
    card = getattr(model, "card", None)
    classes = tuple(card.classes or ()) if card is not None else ()
    kind: Kind = "label" if logits.ndim == 5 else "class"
    if kind == "class" and logits.shape[-1] == 1:
        return Question(net=model, fast=fast, kind="value", index=0, name=_value(target, classes))
    index = _index(target, classes, logits)
    name = classes[index] if index < len(classes) else str(index)
    mask = logits[0].argmax(0) == index if kind == "label" else None
    where = mask if mask is not None and bool(mask.any()) else None
    return Question(net=model, fast=fast, kind=kind, index=index, name=name, where=where)


def _value(target: int | str | None, classes: tuple[str, ...]) -> str:
    """The name of the one number a network gives."""
    name = classes[0] if classes else "value"
    if target not in (None, 0, name):
        raise Pseudo3dError(f"target is {target!r}; the network gives one number, {name!r}")
    return name


def _index(target: int | str | None, classes: tuple[str, ...], logits: Tensor) -> int:
    count = logits.shape[1] if logits.ndim == 5 else logits.shape[-1]
    if target is None:
        if logits.ndim != 5:
            return int(logits.reshape(-1, count).mean(0).argmax())
        voxels = torch.bincount(logits[0].argmax(0).flatten(), minlength=count)
        return 1 + int(voxels[1:].argmax())  # of what is found; the background needs no reason
    if isinstance(target, str):
        if target not in classes:
            known = classes or ("its classes have no names: give a number",)
            raise Pseudo3dError(unknown("class of this network", target, known))
        return classes.index(target)
    if not 0 <= target < count:
        raise Pseudo3dError(f"target is {target}; wanted 0 to {count - 1}, or a class name")
    return target


def _odds(logits: Float[Tensor, "n k *rest"], index: int) -> Float[Tensor, "n *rest"]:
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], 1)
    return logits[:, index] - others.logsumexp(1)


def _fast(model: Program) -> Program:
    """Ours on the processor as a program of fused steps; anything else as it is."""
    if not isinstance(model, Network) or not model.name or isinstance(model, UNet):
        return model
    return optimize(model) if device_of(model).type == "cpu" else model


def _device(run: Any) -> torch.device:
    parameters = run.parameters() if isinstance(run, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def _batches(clips: Iterator[Tensor]) -> Iterator[list[Tensor]]:
    while batch := list(islice(clips, BATCH)):
        yield batch
