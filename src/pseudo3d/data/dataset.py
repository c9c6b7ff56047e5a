"""Manifest items as clips of bytes, in a random but repeatable order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pseudo3d.data import sampling
from pseudo3d.data.cache import Frames, FrameStore
from pseudo3d.data.manifest import Item
from pseudo3d.data.pick import FileFrames
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.share import Share, share_of
from pseudo3d.data.transforms import center_crop


class Draw(NamedTuple):
    """One clip to make: which item, and what makes it differ from the item's other clips."""

    item: int
    view: int  # evaluation: number of the view; training: number of the epoch
    spare: bool = False  # read by a process that has no part of a batch, and left out


class Batch(NamedTuple):
    """Clips as read, before normalization."""

    clips: UInt8[Tensor, "n c t h w"]
    items: Tensor  # (N,) position in the manifest; -1: a spare one
    labels: Tensor  # (N,)

    def used(self) -> "Batch":
        """The batch without spare clips, maybe empty."""
        keep = self.items >= 0
        return self if bool(keep.all()) else Batch(*(part[keep] for part in self))


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """How clips are cut out of videos."""

    preprocessing: Preprocessing
    canvas: tuple[int, int]  # pixels (height, width) of what the loader delivers
    views: int = 1  # evaluation views per video
    random: bool = False  # training: random times and, with `random_crop`, random places
    random_crop: bool = False
    least_span: float = 0.75  # uniform sampling: smallest part of the video a clip may cover
    seed: int = 0


class ClipDataset(Dataset):
    """Clips (C, T, H, W) of bytes, by `Draw`; the same draw always gives the same clip.

    Args:
        keys: a number of each item, on which its random clips depend; None: its place in the list.
    """

    def __init__(
        self,
        items: Sequence[Item],
        labels: Sequence[int],
        store: FrameStore,
        spec: ClipSpec,
        *,
        keys: Sequence[int] | None = None,
    ) -> None:
        self.items, self.labels, self.store, self.spec = items, labels, store, spec
        self.keys = range(len(items)) if keys is None else keys
        self._last: tuple[int, list[Tensor]] = (-1, [])  # an item and its evaluation views

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int, int]:
        clip = self._random(draw) if self.spec.random else self._views(draw.item)[draw.view]
        return clip, -1 if draw.spare else draw.item, self.labels[draw.item]

    def _random(self, draw: Draw) -> Tensor:
        spec = self.spec
        rng = generator(spec.seed, draw.view, self.keys[draw.item])
        frames = self.store.read(self.items[draw.item])
        clip = frames.take(clip_indices(frames.times, spec, draw.view, rng))
        if spec.random_crop:
            clip = _random_crop(clip, spec.canvas, rng)
        return center_crop(clip, spec.canvas)

    def _views(self, item: int) -> list[Tensor]:
        """All views of an item; they come one after another, so one decoding serves them all."""
        if self._last[0] != item:
            self._last = (item, view_clips(self.store.read(self.items[item]), self.spec))
        return self._last[1]


def view_clips(frames: Frames | FileFrames, spec: ClipSpec) -> list[Tensor]:
    """Every view of a video, cropped."""
    clips = frames.clips(view_indices(frames.times, spec))
    return [center_crop(clip, spec.canvas) for clip in clips]


def view_indices(times: Tensor, spec: ClipSpec) -> list[Tensor]:
    """Numbers of the frames of every view."""
    rng = generator(spec.seed)
    return [clip_indices(times, spec, view, rng) for view in range(spec.views)]


def clip_indices(times: Tensor, spec: ClipSpec, view: int, rng: torch.Generator) -> Tensor:
    """Numbers of the frames of one clip, (T,), out of a video whose frames are shown at `times`."""
    pre, total = spec.preprocessing, len(times)
    if pre.sampling == "uniform":
        if spec.random:
            return sampling.uniform_random(total, pre.frames, spec.least_span, rng)
        return sampling.uniform(total, pre.frames, view, spec.views)
    if pre.fps is not None:
        place = (view / (spec.views - 1)) if spec.views > 1 else 0.5
        if spec.random:
            place = float(torch.rand((), generator=rng))
        return sampling.timed(times, pre.frames, pre.fps, place)
    if spec.random:
        return sampling.dense_random(total, pre.frames, pre.step, rng)
    return sampling.dense(total, pre.frames, pre.step, view, spec.views)


class EpochSampler(Sampler[list[Draw]]):
    """Batches of every item once per epoch, shuffled by (seed, epoch); resumes inside an epoch.

    Set `epoch` before each pass and `skip` to the number of batches already taken from it. The
    batches are the same whatever the number of processes: each takes its share of every one.

    Args:
        batch: clips of a batch, over all processes.
        order: permutation of the items from an epoch's generator; None: any order is as good.
    """

    def __init__(
        self,
        items: int,
        batch: int,
        seed: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        order: Callable[[torch.Generator], Tensor] | None = None,
    ) -> None:
        self.items, self.batch, self.seed = items, batch, seed
        self.rank, self.ranks, self.order = rank, ranks, order
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return -(-self.items // self.batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = generator(self.seed, self.epoch, -1)
        shuffled = torch.randperm(self.items, generator=rng) if not self.order else self.order(rng)
        order = shuffled.tolist()
        for start in range(self.skip * self.batch, self.items, self.batch):
            whole = [Draw(i, self.epoch) for i in order[start : start + self.batch]]
            yield part_of(whole, self.rank, self.ranks)

    def share(self, number: int) -> Share:
        """What this process computes of an epoch's batch."""
        size = min(self.batch, self.items - number * self.batch)
        return share_of(size, self.rank, self.ranks)


def part_of(draws: list[Draw], rank: int, ranks: int) -> list[Draw]:
    """One process's draws of a batch; a spare one where there are too few for all."""
    mine = list(share_of(len(draws), rank, ranks).take(draws))
    return mine or [draws[0]._replace(spare=True)]


def view_batches(items: int, views: int, batch: int) -> list[list[Draw]]:
    """Every view of every item in order, in batches of whole items where one fits into a batch.

    Views of one item stay together, so that one process decodes it once.
    """
    draws = [Draw(i, v) for i in range(items) for v in range(views)]
    batch = max(batch // views * views, min(batch, views))
    return [draws[i : i + batch] for i in range(0, len(draws), batch)]


def loader(
    data: ClipDataset, batches: Sampler[list[Draw]] | list[list[Draw]], workers: int
) -> DataLoader:
    """Read batches in `workers` processes of one thread each (0: in this one).

    The processes are not forked from this one: decoders and thread pools do not survive that.
    """
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_one_thread,
        multiprocessing_context=method if workers > 0 else None,
        persistent_workers=workers > 0,
        generator=generator(0),  # else it draws from the caller's; no clip depends on it
    )


def generator(*key: int) -> torch.Generator:
    """Random numbers that depend on `key` alone."""
    mixed = 0
    for part in key:
        mixed = (mixed * 1_000_003 + part + 1) % (2**63 - 25)
    return torch.Generator().manual_seed(mixed)


def _collate(samples: list[tuple[Tensor, int, int]]) -> Batch:
    clips, items, labels = zip(*samples, strict=True)
    return Batch(torch.stack(clips), torch.tensor(items), torch.tensor(labels))


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _random_crop(clip: Tensor, size: tuple[int, int], rng: torch.Generator) -> Tensor:
    for axis, want in ((-2, size[0]), (-1, size[1])):
        if (room := clip.shape[axis] - want) > 0:
            clip = clip.narrow(axis, int(torch.randint(room + 1, (), generator=rng)), want)
    return clip
