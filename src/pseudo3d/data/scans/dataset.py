"""Scans and their targets as a network is trained on them, in a random but repeatable order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Num, Shaped, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pseudo3d.data.dataset import Batch, Draw, generator
from pseudo3d.data.scans.cache import Request, ScanCache
from pseudo3d.data.scans.grid import orient, resample
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest
from pseudo3d.data.scans.masks import read_mask
from pseudo3d.data.scans.other import Npz
from pseudo3d.data.scans.preprocess import ScanPreprocessing, Size, middle, prepared
from pseudo3d.data.scans.scan import Scan, scan_of
from pseudo3d.data.scans.source import Peek
from pseudo3d.data.scans.stacks import read_stack
from pseudo3d.errors import Pseudo3dError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sample:
    """A prepared scan, and its mask on the same grid where there is one."""

    volume: Num[Tensor, "c d h w"]
    mask: UInt8[Tensor, "1 d h w"] | None = None
    places: tuple[Tensor, ...] = ()  # some voxels (P, 3) of each label but the background


@dataclass
class ScanStore:
    """Prepared scans, read once and kept in memory.

    Args:
        preprocessing: what they are prepared with.
        room: bytes that may be kept; scans beyond it are prepared at every use.
        cache: holds scans as they are read, mapped from disk; None reads the files.
    """

    preprocessing: ScanPreprocessing
    room: int = 2**31
    cache: ScanCache | None = None
    quarantined: dict[str, str] = field(default_factory=dict)  # name -> what is wrong with it
    _held: dict[str, Sample] = field(default_factory=dict, repr=False)
    _stacks: dict[tuple[Path, str], tuple[Tensor, Peek]] = field(default_factory=dict, repr=False)

    def scan(self, item: ScanItem) -> Scan:
        """The scan as it is in its file.

        Raises:
            ScanError: it cannot be read.
        """
        if item.array is None or item.index is None:
            request = Request(path=item.path, index=item.index)
            return request.read() if self.cache is None else self.cache.read(request)
        key = (item.path, item.array)
        if key not in self._stacks:
            about = Npz(item.path, series=item.array, index=0).look()
            self._stacks[key] = read_stack(*key), about
        volumes, about = self._stacks[key]
        volume, place = volumes[item.index], about.affine
        return scan_of(volume, place, source=item.path, kind="npz", meta=about.meta)

    def read(self, item: ScanItem) -> Sample:
        """The prepared scan.

        Raises:
            ScanError: it cannot be read, or its mask does not lie on it.
        """
        if item.name in self._held:
            return self._held[item.name]
        sample = self._prepare(item)
        size = sample.volume.nbytes + (sample.mask.nbytes if sample.mask is not None else 0)
        if size <= self.room:
            self.room -= size
            self._held[item.name] = sample
        return sample

    def fill(self, items: Sequence[ScanItem], progress: Progress | None = None) -> None:
        """Read every scan; what cannot be read goes to `quarantined`."""
        for done, item in enumerate(items, start=1):
            try:
                self.read(item)
            except (Pseudo3dError, OSError) as err:
                self.quarantined[item.name] = str(err)
            if progress is not None:
                progress(done, len(items))

    def _prepare(self, item: ScanItem) -> Sample:
        scan, pre = self.scan(item), self.preprocessing
        _, seen = prepared(scan, pre)
        mask = None
        if item.mask is not None:
            mask = self._mask(item.mask, scan, seen)
        volume = seen.array
        if pre.view == "whole":
            volume = pre.crop(volume)
            mask = None if mask is None else middle(mask, pre.size, 0)
        return Sample(volume, mask, () if mask is None else _places(mask))

    def _mask(self, path: Path, scan: Scan, seen: Scan) -> Tensor:
        """The mask on the grid that the network sees."""
        pre = self.preprocessing
        turned = scan.with_array(read_mask(path, scan))
        if pre.layout is not None:
            turned = orient(turned, pre.layout)
        if pre.spacing is None:
            return turned.array
        return resample(turned.array, turned.spacing, pre.spacing, "nearest", seen.size)


def _places(mask: Tensor, most: int = 2_000) -> tuple[Tensor, ...]:
    """Up to `most` voxels of every label, evenly taken, so that patches find small ones."""
    found = []
    for label in torch.unique(mask).tolist():
        where = (mask[0] == label).nonzero()
        if label:
            found.append(where[:: max(1, len(where) // most)].to(torch.int16))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ScanSpec:
    """How samples are cut out of scans."""

    canvas: Size  # voxels that the loader delivers; more than the network sees leaves room to turn
    random: bool = False
    near: float = 0.5  # patches: share that lies around a voxel of a mask's label
    seed: int = 0


class ScanDataset(Dataset):
    """(volume, item, target) by `Draw`; the same draw always gives the same sample."""

    def __init__(self, manifest: ScanManifest, store: ScanStore, spec: ScanSpec) -> None:
        self.manifest, self.store, self.spec = manifest, store, spec
        self.targets = _targets(manifest)

    def __len__(self) -> int:
        return len(self.manifest.items)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int, Tensor]:
        sample = self.store.read(self.manifest.items[draw.item])
        volume, mask = sample.volume, sample.mask
        if self.store.preprocessing.view == "patch" and self.spec.random:
            rng = generator(self.spec.seed, draw.view, draw.item)
            center = self._center(sample, rng)
            volume = cut(volume, center, self.spec.canvas)
            mask = None if mask is None else cut(mask, center, self.spec.canvas, 0)
        target = self.targets[draw.item] if mask is None else mask[0].long()
        return volume, -1 if draw.spare else draw.item, target

    def _center(self, sample: Sample, rng: torch.Generator) -> tuple[int, int, int]:
        """A random place, or one beside a random voxel of a random label."""
        size = sample.volume.shape[1:]
        if sample.places and float(torch.rand((), generator=rng)) < self.spec.near:
            label = int(torch.randint(len(sample.places), (), generator=rng))
            places = sample.places[label]
            place = places[int(torch.randint(len(places), (), generator=rng))].tolist()
            around = [max(1, n // 4) for n in self.spec.canvas]  # not always in the middle
            d, h, w = (
                p + int(torch.randint(-a, a + 1, (), generator=rng))
                for p, a in zip(place, around, strict=True)
            )
            return d, h, w
        d, h, w = (
            have // 2 if have <= want else want // 2 + _below(have - want + 1, rng)
            for have, want in zip(size, self.spec.canvas, strict=True)
        )
        return d, h, w


def _below(count: int, rng: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=rng))


def cut(
    volume: Shaped[Tensor, "c d h w"],
    center: tuple[int, int, int],
    size: Size,
    fill: float | None = None,
) -> Shaped[Tensor, "c d2 h2 w2"]:
    """A patch around a voxel, moved inside where it would reach over the border."""
    for axis, (place, want) in enumerate(zip(center, size, strict=True), start=1):
        have = volume.shape[axis]
        if have > want:
            start = min(max(0, place - want // 2), have - want)
            volume = volume.narrow(axis, start, want)
    return middle(volume, size, fill)


def _targets(manifest: ScanManifest) -> list[Tensor]:
    if manifest.task == "classify":
        return [torch.tensor(label) for label in manifest.labels]
    if manifest.task == "regress":
        return [torch.tensor(value, dtype=torch.float32) for value in manifest.values]
    return [torch.tensor(0)] * len(manifest.items)


def scan_loader(data: ScanDataset, batches: Sampler[list[Draw]] | list[list[Draw]]) -> DataLoader:
    """Read batches in this process: prepared scans lie in memory."""
    return DataLoader(data, batch_sampler=batches, collate_fn=_collate)


def _collate(samples: list[tuple[Tensor, int, Tensor]]) -> Batch:
    volumes, items, targets = zip(*samples, strict=True)
    return Batch(torch.stack(volumes), torch.tensor(items), torch.stack(targets))


def measure(items: Sequence[ScanItem], store: ScanStore) -> tuple[tuple[float, ...], ...]:
    """Mean and deviation of each channel over prepared scans, evenly picked.

    Returns:
        (means, deviations).
    """
    picked = items[:: max(1, len(items) // 64)]
    found = [store.read(item).volume.float().flatten(1) for item in picked]
    mean = torch.stack([v.mean(1) for v in found]).mean(0)
    square = torch.stack([v.square().mean(1) for v in found]).mean(0)
    std = (square - mean.square()).clamp(min=1e-12).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
