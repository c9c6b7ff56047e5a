"""Score a network on labeled videos, with the protocol beside every figure."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import Batch, ClipDataset, ClipSpec, loader, view_batches
from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.engine.feed import in_threads
from pseudo3d.engine.judge import Judge, Model, judge
from pseudo3d.engine.judge import known as known
from pseudo3d.errors import ManifestError, unknown

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a video is looked at and how its views become one answer."""

    views: int = 5  # clips per video, one center crop each
    batch: int = 16
    workers: int = 0
    split: str = "all"  # name, for the record

    def __post_init__(self) -> None:
        if self.views < 1 or self.batch < 1:
            raise ValueError(f"views is {self.views}, batch {self.batch}; wanted at least 1 each")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores in [0, 1], what they were measured on, and how."""

    protocol: Protocol
    classes: tuple[str, ...]
    probs: Tensor  # (V, K) mean over the views of a video, videos in manifest order
    labels: Tensor  # (V,)
    paths: tuple[Path, ...]
    clip_hit1: float
    missing: dict[Path, str] = field(default_factory=dict)  # left out, and why

    def hit(self, top: int = 1) -> float:
        """Share of the videos whose label is among the `top` most probable classes.

        Equal probabilities count in the order of the classes.
        """
        best = self.probs.argsort(dim=1, descending=True, stable=True)[:, :top]
        return float((best == self.labels[:, None]).any(1).float().mean())

    def confusion(self) -> Tensor:
        """Videos of class i (rows) taken for class j (columns), (K, K)."""
        # here, for it takes 1 s to import
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        found = self.probs.argmax(1)
        return multiclass_confusion_matrix(found, self.labels, num_classes=len(self.classes))

    def per_class(self) -> dict[str, float]:
        """video_hit@1 of each class that has videos."""
        matrix = self.confusion()
        counts = matrix.sum(1)
        return {
            name: float(matrix[i, i] / counts[i])
            for i, name in enumerate(self.classes)
            if counts[i]
        }

    def describe(self) -> str:
        """The protocol in words, to stand beside every score."""
        p = self.protocol
        text = (
            f"split {p.split}, {len(self.paths)} videos, {p.views} view{'s'[: p.views > 1]} "
            "(center crop), mean of probabilities"
        )
        return text + (f", {len(self.missing)} unreadable left out" if self.missing else "")

    def to_dict(self) -> dict[str, Any]:
        """Everything but the probabilities, for JSON."""
        return {
            "protocol": self.describe(),
            "split": self.protocol.split,
            "views": self.protocol.views,
            "videos": len(self.paths),
            "clip_hit@1": self.clip_hit1,
            "video_hit@1": self.hit(1),
            "video_hit@5": self.hit(5),
            "per_class": self.per_class(),
            "confusion": self.confusion().tolist(),
            "classes": list(self.classes),
            "missing": {str(path): why for path, why in self.missing.items()},
        }


def evaluate(
    model: Model,
    manifest: Manifest,
    store: FrameStore | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Average the network's probabilities over the views of every video and compare with labels.

    Args:
        model: as for `predict`: a path, a runner or a network.
    Raises:
        WeightsError: the network does not know its classes or its preprocessing.
        ManifestError: a label is not among the network's classes, or no file can be read.
    """
    protocol = protocol or Protocol()
    ready = judge(model, 1)
    pre, classes = ready.pre, ready.classes
    gray = pre.color == "gray"
    if store is None:
        store = FrameStore(resize=pre.resize, gray=gray)
        store.fill(manifest.items)
    store.check_scale(pre.resize, gray)
    items = readable(manifest, store, classes)
    labels = [classes.index(item.label) for item in items]
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=protocol.views)
    batches = view_batches(len(items), protocol.views, protocol.batch)
    ready = replace(ready, batch=len(batches[0]))
    data = loader(ClipDataset(items, labels, store, spec), batches, protocol.workers)
    with _read_ahead(data, store.folder is None and not protocol.workers) as clips:
        probs = torch.cat(list(_probabilities(ready, clips, len(batches), progress)))
    per_view = probs.view(len(items), protocol.views, -1)
    truth, bad = torch.tensor(labels), store.quarantined
    return Evaluation(
        protocol=protocol,
        classes=classes,
        probs=per_view.mean(1),
        labels=truth,
        paths=tuple(item.path for item in items),
        clip_hit1=float((per_view.argmax(2) == truth[:, None]).float().mean()),
        missing={i.path: bad[i.path] for i in manifest.items if i.path in bad},
    )


def readable(manifest: Manifest, store: FrameStore, classes: tuple[str, ...]) -> list[Item]:
    """Items whose files can be read, after a look at their labels.

    Raises:
        ManifestError: a label is not among `classes`, or no file can be read.
    """
    items = [item for item in manifest.items if item.path not in store.quarantined]
    for item in items:
        if item.label not in classes:
            raise ManifestError(
                f"{item.path} is labeled {unknown('class of this network', item.label, classes)}"
            )
    if not items:
        raise ManifestError(f"none of the {len(manifest.items)} files can be read")
    return items


@contextmanager
def _read_ahead(data: Iterable[Batch], ahead: bool) -> Iterator[Iterable[Batch]]:
    """The batches, read while the network runs if `ahead`."""
    if not ahead:
        yield data
        return
    with in_threads([data], iter, threads=1, room=2) as lanes:
        yield next(lanes)[1]


def _probabilities(
    ready: Judge, data: Iterable[Batch], total: int, progress: Progress | None
) -> Iterator[Tensor]:
    """Probabilities (N, K) of batch after batch."""
    for done, batch in enumerate(data, start=1):
        yield ready(batch.clips)
        if progress is not None:
            progress(done, total)
