"""What features come from: a checkpoint, a network, or the two yardsticks of a representation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.judge import Model
from pseudo3d.errors import Pseudo3dError, WeightsError, unknown
from pseudo3d.features.layers import ENDS, Input, Pooling, Rows, device_of, rows_of
from pseudo3d.models import create_model
from pseudo3d.models.modes import plain
from pseudo3d.models.network import Network
from pseudo3d.runtime.identity import file_digest, weights_digest
from pseudo3d.runtime.lower import Precision
from pseudo3d.runtime.runner import TORCH, open_runner
from pseudo3d.weights import load

PIXELS = "pixels"  # in place of a network: the clip itself
RANDOM = "random:"  # random:NAME or random:NAME:SEED, a network with fresh weights
_GRID = 32  # most rows and columns of a frame that "pixels" keeps
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """Gives the rows of every layer asked for, one per clip."""

    source: str  # as it was given, for the record
    name: str  # of the network
    identity: str  # the same for the same weights
    pre: Any  # of videos (`Preprocessing`) or of scans (`ScanPreprocessing`)
    layers: tuple[str, ...]
    pooling: Pooling
    precision: str
    training: dict[str, Any]  # what the checkpoint says about its training
    run: Callable[[Tensor], Rows]
    eager: bool  # packs nothing for a size it meets
    device: torch.device

    def __call__(
        self, clips: Num[Tensor, "n c t h w"], *, mirror: bool = False
    ) -> dict[str, Float[np.ndarray, "n f"]]:
        """Rows of some clips; with `mirror`, their mean with those of the mirror images."""
        rows = self._batches(clips)
        if mirror:
            other = self._batches(mirrored(clips, self.pre))
            rows = {name: (x + other[name]) / 2 for name, x in rows.items()}
        return {name: x.numpy() for name, x in rows.items()}

    def _batches(self, clips: Tensor) -> Rows:
        full = len(clips) - len(clips) % _BATCH
        rest = [len(clips) - full] if self.eager else [1] * (len(clips) - full)
        parts = torch.split_with_sizes(clips, [_BATCH] * (full // _BATCH) + rest)
        with torch.inference_mode():
            rows = [
                self.run(self.pre.normalize(part.to(self.device))) for part in parts if len(part)
            ]
            return {name: torch.cat([r[name].float().cpu() for r in rows]) for name in self.layers}


def mirrored(clips: Num[Tensor, "n c t h w"], pre: Input) -> Num[Tensor, "n c t h w"]:
    """Left and right swapped; the horizontal part of optical flow also changes its sign."""
    clips = clips.flip(-1)
    if isinstance(pre, Preprocessing) and pre.color == "flow":  # 128 is no motion
        clips[:, 0] = (256 - clips[:, 0].short()).clamp(max=255).to(torch.uint8)
    return clips


def open_extractor(
    model: Model,
    layers: Sequence[str] | None = None,
    *,
    pooling: Pooling = "mean",
    precision: Precision = "fp32",
    preprocessing: Input | None = None,
) -> Extractor:
    """Make a network ready to give layers.

    Args:
        model: as for `predict`; or "pixels" and "random:NAME[:SEED]", the yardsticks of a
            representation: the clip itself, every frame averaged down to 32 x 32 pixels, and a
            network that has learned nothing.
        layers: pool5, logits, prob, stem, res2 .. res5 (stages), a block by the paper's name
            (res4b35, res5c) or any module by its path; None takes pool5 (pixels: pixels).
        pooling: "mean" averages a layer over time and space; "none" keeps every activation.
        preprocessing: another input than the checkpoint names; needed where it names none.
    Raises:
        Pseudo3dError: an unknown layer, or one that this kind of model cannot give.
        WeightsError: nothing says how the input is prepared.
    """
    if pooling not in get_args(Pooling):
        raise TypeError(unknown("pooling", pooling, get_args(Pooling)))
    source = str(model) if isinstance(model, str | Path) else ""
    if model == PIXELS:
        return _pixels(layers, preprocessing or default_input())
    if isinstance(model, str) and model.startswith(RANDOM):
        preprocessing = preprocessing or default_input()
        model = _fresh(model, preprocessing.channels)
    names = tuple(dict.fromkeys(layers or ENDS[:1]))
    run, identity = _opened(model)
    card = run.card
    pre = preprocessing or (None if card is None else card.preprocessing)
    if pre is None:
        raise WeightsError(
            f"{run.name or type(run).__name__}: nothing says how its input is prepared; give "
            "preprocessing=Preprocessing(...)"
        )
    rows, eager = rows_of(run, names, pre, pooling, precision)
    return Extractor(
        source=source or run.name,
        name=run.name or type(run).__name__,
        identity=identity,
        pre=pre,
        layers=names,
        pooling=pooling,
        precision=precision if isinstance(run, Network) else run.precision,
        training={} if card is None else dict(card.training),
        run=rows,
        eager=eager,
        device=device_of(run) if isinstance(run, Network) else torch.device("cpu"),
    )


def _opened(model: Model) -> tuple[Any, str]:
    """A runner or a network, and what tells its weights from others."""
    if isinstance(model, Network):
        return plain(model), weights_digest(model)
    if not isinstance(model, str | Path):
        return model, f"{model.precision} {model.identity}"
    path = Path(model)
    if path.suffix.lower() in TORCH:
        net = load(path)
        return net, weights_digest(net)
    return open_runner(path), file_digest(path)[:16]


def _fresh(text: str, channels: int) -> Network:
    name, _, seed = text.removeprefix(RANDOM).partition(":")
    if seed and not seed.isdigit():
        raise Pseudo3dError(f"{text!r}: wanted {RANDOM}NAME or {RANDOM}NAME:SEED, a whole number")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed or 0))
        return create_model(name, in_channels=channels, num_classes=2)


def _pixels(layers: Sequence[str] | None, pre: Input) -> Extractor:
    if layers is not None and tuple(layers) != (PIXELS,):
        raise Pseudo3dError(f"pixels have no layer {', '.join(layers)}; leave the layer out")

    def run(clips: Tensor) -> Rows:
        _, _, frames, height, width = clips.shape
        size = (frames, min(height, _GRID), min(width, _GRID))
        return {PIXELS: F.adaptive_avg_pool3d(clips, size).flatten(1)}

    return Extractor(
        source=PIXELS,
        name=PIXELS,
        identity="",
        pre=pre,
        layers=(PIXELS,),
        pooling="none",
        precision="fp32",
        training={},
        run=run,
        eager=True,
        device=torch.device("cpu"),
    )


def default_input(**changes: Any) -> Preprocessing:
    """What a network without a checkpoint is fed: 16 frames of the whole video, 64 x 64 RGB."""
    color = changes.get("color", "rgb")
    count = {"gray": 1, "flow": 2}.get(color, 3)
    plain = {"frames": 16, "resize": 72, "size": (64, 64)}
    return Preprocessing(**{**plain, "mean": (0.5,) * count, "std": (0.25,) * count, **changes})


def changed(pre: Input | None, changes: dict[str, Any]) -> Input:
    """A preprocessing with other values; None starts from `default_input`."""
    return default_input(**changes) if pre is None else replace(pre, **changes)


def input_of(path: str | Path) -> Input:
    """The preprocessing a checkpoint or an exported network names.

    Raises:
        WeightsError: it names none.
    """
    path = Path(path)
    run: Any = load(path) if path.suffix.lower() in TORCH else open_runner(path)
    if run.card is None or run.card.preprocessing is None:
        raise WeightsError(f"{path} does not say how its input is prepared; use other weights")
    return run.card.preprocessing
