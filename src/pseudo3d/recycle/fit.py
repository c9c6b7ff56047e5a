"""Whether weights, class names and input fit a network, before a file is written or filled in."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.models import Network, create_model
from pseudo3d.recycle.foreign.kinds import shorten

Input = Preprocessing | ScanPreprocessing


def misfits(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], fresh: Collection[str] = ()
) -> str:
    """What is wrong with the names and shapes of `state`, in words; nothing where all fit.

    Args:
        fresh: names that may be missing.
    """
    problems = {
        "missing": [k for k in wanted if k not in state and k not in fresh],
        "extra": [k for k in state if k not in wanted],
        "reshaped": [
            f"{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}"
            for k, v in wanted.items()
            if k in state and state[k].shape != v.shape
        ],
    }
    return "; ".join(f"{len(v)} {what}: {shorten(v)}" for what, v in problems.items() if v)


def classes_fit(model: Network, classes: tuple[str, ...] | None) -> bool:
    """Whether there is one name for each output."""
    return classes is None or len(classes) == model.cfg.num_classes


def input_fits(model: Network, pre: Input | None) -> bool:
    """Whether the input has the channels that the network takes."""
    return pre is None or pre.channels == model.cfg.in_channels


def check_fit(
    path: Path, model: Network, classes: tuple[str, ...] | None, pre: Input | None
) -> None:
    """Refuse to write what could not be opened again.

    Raises:
        WeightsError: layers were put in or replaced by hand, or other classes or channels.
    """
    if any(value.is_meta for value in model.state_dict().values()):
        raise WeightsError(
            f"{path}: not written, the {model.name} is on the device 'meta' and its weights hold "
            "no numbers; load them first"
        )
    with torch.device("meta"):  # weights take no memory there
        sketch = create_model(model.name, **asdict(model.cfg))
    if told := misfits(model.state_dict(), sketch.state_dict()):
        raise WeightsError(
            f"{path}: not written, the {model.name} was changed by hand and could not be opened "
            f"again ({told}). For other classes build it with create_model({model.name!r}, "
            "num_classes=...) and fill it with load_backbone; keep other networks with "
            "torch.save(net.state_dict())"
        )
    if classes is not None and not classes_fit(model, classes):
        raise WeightsError(
            f"{path}: {len(classes)} class names for a network with {model.cfg.num_classes} classes"
        )
    if pre is not None and not input_fits(model, pre):
        raise WeightsError(
            f"{path}: preprocessing gives {pre.channels} channels, the network takes "
            f"{model.cfg.in_channels}"
        )
