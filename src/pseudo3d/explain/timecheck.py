"""Does a network use time? Its accuracy with frames in order, shuffled, reversed, frozen, faster.

Every clip is decoded once; the frames of the bytes are put into another order before anything else
happens to them, so that a network that is fed differences sees those of the new order.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, generator, loader, view_batches
from pseudo3d.data.manifest import Manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.evaluate import Progress, Protocol, readable
from pseudo3d.engine.judge import Judge, Model, judge
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.orders import conditions, frame_orders, reorder
from pseudo3d.explain.verdict import TimeCheck as TimeCheck
from pseudo3d.explain.verdict import draw as draw
from pseudo3d.explain.verdict import section as section


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
    protocol, ready = protocol or Protocol(), judge(model, 1)
    pre, classes = ready.pre, ready.classes
    _check(pre.frames, shuffles)
    store = _opened(store, pre, manifest)
    items = readable(manifest, store, classes)
    labels = [classes.index(item.label) for item in items]
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=protocol.views)
    data, bad = ClipDataset(items, labels, store, spec), store.quarantined
    return TimeCheck(
        protocol=protocol,
        classes=classes,
        ways=conditions(shuffles),
        probs=_probabilities(ready, data, protocol, (shuffles, seed), progress).numpy(),
        labels=np.array(labels),
        paths=tuple(item.path for item in items),
        seed=seed,
        missing={i.path: bad[i.path] for i in manifest.items if i.path in bad},
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


def _probabilities(
    ready: Judge,
    data: ClipDataset,
    protocol: Protocol,
    shuffling: tuple[int, int],
    progress: Progress | None,
) -> Float[Tensor, "w v k"]:
    """Mean over the views of each video, for each order; `shuffling` is how often, and the seed."""
    (shuffles, seed), views = shuffling, protocol.views
    batches = view_batches(len(data), views, protocol.batch)
    ready = replace(ready, batch=len(batches[0]))
    ways = len(conditions(shuffles))
    sums = torch.zeros(ways, len(data), len(ready.classes))
    total, clip = len(batches) * ways, 0
    for done, batch in enumerate(loader(data, batches, protocol.workers)):
        keys = range(clip, clip := clip + len(batch.clips))
        rngs = [generator(seed, key, -3) for key in keys]
        orders = torch.stack([frame_orders(ready.pre.frames, shuffles, rng) for rng in rngs])
        for way in range(ways):
            probs = ready(reorder(batch.clips, orders[:, way]))
            sums[way].index_add_(0, batch.items, probs)
            if progress is not None:
                progress(done * ways + way + 1, total)
    return sums / views
