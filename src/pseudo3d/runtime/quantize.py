"""Post-training quantization to int8 with NNCF: every layer's range is read off real clips."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, Draw, generator
from pseudo3d.data.manifest import Item
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import require
from pseudo3d.runtime.openvino import compile_options, one_core, openvino_core

TOLERANCE = 0.15  # relative difference of the logits; 0.08 took half of the speed for no accuracy
CHECKED = 50  # clips it is measured on


class Clips(Protocol):
    """Prepared clips (1, C, T, H, W) that can be gone through more than once: a list, say."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Tensor]: ...


def choose(items: Sequence[Item], count: int, seed: int) -> tuple[Item, ...]:
    """At most `count` of the items, by chance, in their order."""
    order = torch.randperm(len(items), generator=generator(seed)).tolist()
    return tuple(items[i] for i in sorted(order[:count]))


class Calibration:
    """Prepared clips, one from the middle of each video that can be read.

    They are read anew whenever they are gone through: many large ones need no memory.
    """

    def __init__(self, items: Sequence[Item], store: FrameStore, pre: Preprocessing) -> None:
        self.items = [item for item in items if item.path not in store.quarantined]
        self.pre = pre
        spec = ClipSpec(preprocessing=pre, canvas=pre.size)
        self._data = ClipDataset(self.items, [0] * len(self.items), store, spec)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Float[Tensor, "1 c t h w"]]:
        for i in range(len(self)):
            yield self.pre.normalize(self._data[Draw(i, 0)][0][None])


def quantize(model: Any, clips: Clips) -> Any:
    """An int8 copy of an OpenVINO model; a layer that harms the logits most stays in float32.

    Settings as tried on two small trained networks: asymmetric activations, because a layer without
    ReLU has values on both sides of zero; no bias correction, which made the logits worse on both;
    the classifier in float32, where it costs next to nothing. Layers go back to float32 until the
    logits differ by no more than `TOLERANCE`.

    Args:
        clips: what to calibrate with, one clip at a time.
    Raises:
        ImportError: nncf is not installed.
    """
    nncf = require("nncf", "export")
    nncf.set_log_level(logging.ERROR)
    plain = openvino_core().compile_model(model, "CPU", compile_options())
    checked = [(clip.numpy(), plain(clip.numpy())[0]) for clip in islice(clips, CHECKED)]
    with one_core(), contextlib.redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(clips, lambda clip: clip.numpy()),
            nncf.Dataset(checked, lambda pair: pair[0]),
            _likeness,
            max_drop=TOLERANCE,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(clips),
            ignored_scope=nncf.IgnoredScope(types=["MatMul"]),
            advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True
            ),
        )


def _likeness(
    run: Any, pairs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, list[float]]:
    """One minus the relative difference of the logits, of all clips and of each."""
    pairs = list(pairs)
    want = np.concatenate([logits for _, logits in pairs])
    got = np.concatenate([run(clip)[0] for clip, _ in pairs])
    off, size = np.linalg.norm(got - want, axis=1), np.linalg.norm(want, axis=1)
    whole = float(np.linalg.norm(off) / np.linalg.norm(size))
    return 1 - whole, [float(v) for v in 1 - off / size]
