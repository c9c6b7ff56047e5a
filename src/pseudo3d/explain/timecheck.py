"""Does a network use time? Its accuracy with frames in order, shuffled, reversed, frozen, faster.

Every clip is decoded once; the frames of the bytes are put into another order before anything else
happens to them, so that a network that is fed differences sees those of the new order.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import Batch, ClipDataset, ClipSpec, generator, loader, view_batches
from pseudo3d.data.manifest import Manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.dataset import ScanDataset, ScanSpec, ScanStore, scan_loader
from pseudo3d.data.scans.manifest import ScanManifest
from pseudo3d.engine.evaluate import Progress, Protocol, readable
from pseudo3d.engine.judge import Judge, Model, judge
from pseudo3d.engine.volumes.evaluate import check_part
from pseudo3d.engine.volumes.ready import Ready, ready
from pseudo3d.engine.volumes.train import in_order, readable_scans
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.orders import conditions, frame_orders, reorder
from pseudo3d.explain.verdict import TimeCheck as TimeCheck
from pseudo3d.explain.verdict import draw as draw
from pseudo3d.explain.verdict import section as section
from pseudo3d.models.network import Network


def timecheck(
    model: Model,
    manifest: Manifest,
    store: FrameStore | None = None,
    protocol: Protocol | None = None,
    *,
    shuffles: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> TimeCheck:
    """Show a network every video in several orders of its frames.

    Args:
        model: as for `evaluate`: a path, a runner or a network.
        store: frames at the network's scale; None reads the files.
        shuffles: random orders for each clip.
    Raises:
        WeightsError: the network does not know its classes or its preprocessing.
        Pseudo3dError: the network takes single frames.
        ManifestError: a label is not among the network's classes, or no file can be read.
    """
    protocol, run = protocol or Protocol(), judge(model, 1)
    pre, classes = run.pre, run.classes
    _check(pre.frames, shuffles)
    store = _opened(store, pre, manifest)
    items = readable(manifest, store, classes)
    labels = [classes.index(item.label) for item in items]
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=protocol.views)
    data, bad = ClipDataset(items, labels, store, spec), store.quarantined
    how = _Orders(ways=conditions(shuffles), shuffles=shuffles, seed=seed)
    return TimeCheck(
        protocol=protocol,
        classes=classes,
        ways=how.ways,
        probs=_of_clips(run, data, protocol, how, progress).numpy(),
        labels=np.array(labels),
        paths=tuple(item.path for item in items),
        seed=seed,
        missing={i.path: bad[i.path] for i in manifest.items if i.path in bad},
    )


def timecheck_scans(
    model: Network | Ready | str | Path,
    manifest: ScanManifest,
    store: ScanStore | None = None,
    protocol: Protocol | None = None,
    *,
    shuffles: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> TimeCheck:
    """Show a classifier every scan with its slices in order, shuffled, reversed, one repeated.

    Slices are those across the axis that the network takes as depth.

    Args:
        protocol: its `batch` and the name of its `split`; a scan is looked at once.
    Raises:
        WeightsError: the network was not trained on scans.
        Pseudo3dError: it does not tell classes, or takes single slices.
        ManifestError: a label is not among the network's classes, or no file can be read.
    """
    run, protocol = model if isinstance(model, Ready) else ready(model), protocol or Protocol()
    if run.task != "classify":
        raise Pseudo3dError(f"timecheck is of classes; the network was trained to {run.task}")
    _check(run.pre.size[0], shuffles)
    check_part(run, manifest)
    store = store or ScanStore(run.pre)
    store.fill(manifest.items)
    part = readable_scans(manifest, store)
    data = ScanDataset(part, store, ScanSpec(canvas=run.pre.size))
    how = _Orders(ways=conditions(shuffles, speeds=False), shuffles=shuffles, seed=seed)
    batches = in_order(len(data), protocol.batch)
    fed, shape = scan_loader(data, batches), (len(data), len(run.classes))
    sums = _sums(run.answers, fed, shape, how, _ticks(progress, len(batches) * len(how.ways)))
    bad = store.quarantined
    return TimeCheck(
        protocol=replace(protocol, views=1),
        classes=run.classes,
        ways=how.ways,
        probs=sums.numpy(),
        labels=np.array([run.classes.index(item.label) for item in part.items]),
        paths=tuple(item.path for item in part.items),
        seed=seed,
        missing={i.path: bad[i.name] for i in manifest.items if i.name in bad},
        unit="scan",
    )


def _check(frames: int, shuffles: int) -> None:
    if frames < 2:
        raise Pseudo3dError("the network takes 1 frame; wanted a clip of 2 or more to put in order")
    if shuffles < 1:
        raise ValueError(f"shuffles is {shuffles}; wanted 1 or more")


def _opened(store: FrameStore | None, pre: Preprocessing, manifest: Manifest) -> FrameStore:
    gray = pre.color == "gray"
    if store is None:
        store = FrameStore(resize=pre.resize, gray=gray)
        store.fill(manifest.items)
    store.check_scale(pre.resize, gray)
    return store


@dataclass(frozen=True, kw_only=True)
class _Orders:
    """What is tried with every clip."""

    ways: tuple[str, ...]
    shuffles: int
    seed: int


def _of_clips(
    run: Judge,
    data: ClipDataset,
    protocol: Protocol,
    how: _Orders,
    progress: Progress | None,
) -> Float[Tensor, "w v k"]:
    """Mean over the views of each video, for each order."""
    batches = view_batches(len(data), protocol.views, protocol.batch)
    run = replace(run, batch=len(batches[0]))
    fed, shape = loader(data, batches, protocol.workers), (len(data), len(run.classes))
    tick = _ticks(progress, len(batches) * len(how.ways))
    return _sums(run, fed, shape, how, tick) / protocol.views


def _ticks(progress: Progress | None, total: int) -> Callable[[], None]:
    """Tells that one more of `total` steps is done."""
    steps = count(1)
    return lambda: None if progress is None else progress(next(steps), total)


def _sums(
    answers: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    shape: tuple[int, int],
    how: _Orders,
    tick: Callable[[], None],
) -> Float[Tensor, "w v k"]:
    """Sum of the answers to the clips of each item, for each order."""
    sums, clip = torch.zeros(len(how.ways), *shape), 0
    for batch in batches:
        keys = range(clip, clip := clip + len(batch.clips))
        frames = batch.clips.shape[2]
        rngs = [generator(how.seed, key, -3) for key in keys]
        orders = torch.stack([frame_orders(frames, how.shuffles, rng) for rng in rngs])
        for way in range(len(how.ways)):
            sums[way].index_add_(0, batch.items, answers(reorder(batch.clips, orders[:, way])))
            tick()
    return sums
