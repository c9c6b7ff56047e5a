"""Rows of scans: what a video's clips are to it, windows side by side are to a scan."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest
from pseudo3d.data.scans.preprocess import ScanPreprocessing, middle
from pseudo3d.engine.volumes.sliding import starts
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.features.looks import Extraction, ScanExtraction
from pseudo3d.features.sources import Extractor
from pseudo3d.features.unfinished import VideoRows


def look_at_scans(how: Extraction, ready: Extractor) -> ScanExtraction:
    """How scans are looked at, from what was asked for.

    Raises:
        WeightsError: the network was not trained on scans.
        Pseudo3dError: windows of time, or rows of clips.
    """
    if not isinstance(ready.pre, ScanPreprocessing):
        raise WeightsError(
            f"{ready.source or ready.name} takes videos, these are scans; give weights that were "
            "trained on scans, or their input (--input-of WEIGHTS)"
        )
    if how.windows is not None or how.per_clip:
        raise Pseudo3dError("windows of time and rows per clip are of videos; these are scans")
    return ScanExtraction(mirror=how.mirror, windowed=ready.pre.view == "patch")


def rows_of_scans(
    ready: Extractor, manifest: ScanManifest, todo: Sequence[int], how: Extraction
) -> Iterator[tuple[int, VideoRows | str]]:
    """The row of scan after scan, or what is wrong with it."""
    store = ScanStore(ready.pre, room=0)
    for i in todo:
        try:
            volume = store.read(manifest.items[i]).volume
        except (Pseudo3dError, OSError) as err:
            yield i, str(err)
            continue
        found = ready(windows_of(volume, ready.pre), mirror=how.mirror)
        layers = {name: x.mean(0, keepdims=True) for name, x in found.items()}
        yield i, VideoRows(layers, np.zeros((1, 2)))


def windows_of(
    volume: Num[Tensor, "c d h w"], pre: ScanPreprocessing
) -> Num[Tensor, "n c d2 h2 w2"]:
    """What the network sees of a prepared scan: its middle, or all of it, window by window."""
    if pre.view == "whole":
        return pre.crop(volume)[None]
    sides = zip(volume.shape[1:], pre.size, strict=True)
    corners = product(*(starts(have, want, 0.0) for have, want in sides))
    d, h, w = pre.size
    cuts = (volume[:, a : a + d, b : b + h, c : c + w] for a, b, c in corners)
    return torch.stack([middle(cut, pre.size) for cut in cuts])
