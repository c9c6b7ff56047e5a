"""From clips of bytes to probabilities, with whatever runs the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.models.modes import plain
from pseudo3d.models.network import Network
from pseudo3d.runtime.identity import weights_digest
from pseudo3d.runtime.lower import optimize
from pseudo3d.runtime.runner import Runner, open_runner

Model = Runner | Network | str | Path


def known(model: Runner | Network) -> tuple[Preprocessing, tuple[str, ...]]:
    """Preprocessing and classes of a network.

    Raises:
        WeightsError: its checkpoint does not say.
    """
    card = model.card
    if card is None or card.preprocessing is None or not card.classes:
        raise WeightsError(
            "the network does not say how its input is prepared and what its classes are called; "
            "load it from weights saved with both: save(net, path, classes=..., preprocessing=...)"
        )
    if not isinstance(card.preprocessing, Preprocessing):
        raise WeightsError(
            f"{card.name} is a network for scans, not for video; give one trained on videos, or "
            "use predict_scan and evaluate_volumes (p3d predict and p3d evaluate take both)"
        )
    return card.preprocessing, tuple(card.classes)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A network that is ready to run, with its input and its classes."""

    run: Runner | Network
    pre: Preprocessing
    classes: tuple[str, ...]
    batch: int  # clips in a full batch

    def __call__(self, clips: UInt8[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        """Probabilities, in batches of at most two sizes: full ones, and for the rest 1.

        A program packs its weights for every size it meets, which costs more than a clip; and a
        batch brings nothing per clip on a processor.
        """
        full = len(clips) - len(clips) % self.batch
        if isinstance(self.run, Network):  # packs nothing
            sizes = [self.batch] * (full // self.batch) + [len(clips) - full]
        else:
            sizes = [self.batch] * (full // self.batch) + [1] * (len(clips) - full)
        parts = torch.split_with_sizes(clips, sizes)
        with torch.inference_mode():
            logits = torch.cat([self._logits(part) for part in parts if len(part)])
        if logits.shape[1] != len(self.classes):
            raise WeightsError(
                f"the network gives {logits.shape[1]} numbers for {len(self.classes)} classes; its "
                "head and its card do not go together"
            )
        return logits.softmax(1)

    def _logits(self, clips: Tensor) -> Tensor:
        if isinstance(self.run, Network):
            clips = clips.to(_device(self.run))
        return self.run(self.pre.normalize(clips)).float().cpu()


def judge(model: Model, batch: int) -> Judge:
    """Make a network ready: paths are opened, our networks on the processor optimized.

    Networks on another device, and those that are not ours or have another head, run as they are.

    Raises:
        WeightsError: the network does not know its classes or its preprocessing.
    """
    run = open_runner(model) if isinstance(model, str | Path) else model
    pre, classes = known(run)
    if isinstance(run, Network):
        ours = run.name and _device(run).type == "cpu" and isinstance(run.head, nn.Linear)
        run = _optimized(run) if ours else plain(run)
    return Judge(run=run, pre=pre, classes=classes, batch=batch)


_made: WeakKeyDictionary[Network, tuple[tuple[Any, ...], Runner]] = WeakKeyDictionary()


def _optimized(net: Network) -> Runner:
    """The network made fast, made anew only when weights, layers or card have changed since."""
    now = (weights_digest(net), repr(net), net.card)
    before, fast = _made.get(net, ((), None))
    if fast is None or before != now:
        fast = optimize(net)
        _made[net] = (now, fast)
    return fast


def _device(net: Network) -> torch.device:
    return next((p.device for p in net.parameters()), torch.device("cpu"))
