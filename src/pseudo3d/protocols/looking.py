"""Look at videos through a network: which can be read, clip probabilities, features."""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, loader, view_batches
from pseudo3d.data.manifest import Manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import probe
from pseudo3d.engine.judge import Judge
from pseudo3d.errors import ManifestError, VideoError, WeightsError, unknown
from pseudo3d.features.extract import Extraction, extract
from pseudo3d.features.fusion import fuse
from pseudo3d.features.sources import Extractor
from pseudo3d.features.unfinished import entry_of
from pseudo3d.protocols.base import Entry, Listing, Progress, Split, some
from pseudo3d.protocols.reading import clean

EXTERNAL = "external"
_BATCH = 8  # clips per forward pass


@dataclass(frozen=True, kw_only=True)
class Usable:
    """What of a listing can be scored."""

    listing: Listing  # entries that are on the disk, can be read and have a label
    missing: dict[str, str]  # left out, and why
    notes: tuple[str, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every entry once."""
        return self.listing.entries


def usable(listing: Listing, needed: int, progress: Progress | None = None) -> Usable:
    """Leave out what is not on the disk or cannot be read, and count it.

    Args:
        needed: frames of one clip; shorter videos are counted.
    Raises:
        ManifestError: a part of a split is empty.
    """
    missing = dict(listing.missing)
    paths = list(dict.fromkeys(e.path for e in listing.entries if e.path is not None))
    short, bad = 0, dict[Path, str]()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for done, (path, frames, problem) in enumerate(pool.map(_frames, paths), start=1):
            if problem:
                bad[path] = problem
            short += 0 < frames < needed
            if progress is not None:
                progress(done, len(paths))
    for entry in listing.entries:
        if entry.path in bad:
            missing[entry.name] = bad[entry.path]
        elif not entry.labels:
            missing[entry.name] = "the list gives no label"
    kept = without(listing, missing)
    notes = list(listing.notes)
    if short:
        notes.append(
            f"{short} of {len(paths)} videos have fewer than the {needed} frames of one clip; "
            "their last frame is repeated"
        )
    return Usable(listing=kept, missing=missing, notes=tuple(notes))


def _frames(path: Path) -> tuple[Path, int, str]:
    """Frames a file declares (0: it does not say), and what is wrong with it."""
    try:
        return path, probe(path).declared_frames, ""
    except (VideoError, OSError) as err:
        return path, 0, str(err)


def _kept(split: Split, missing: dict[str, str]) -> Split:
    train, test = (
        tuple(e for e in part if e.name not in missing) for part in (split.train, split.test)
    )
    for what, before, after in (("training", split.train, train), ("test", split.test, test)):
        if before and not after:
            raise ManifestError(
                f"split {split.name}: none of its {len(before)} {what} videos can be used: "
                f"{some((f'{e.name} ({missing[e.name]})' for e in before), 3)}; check --root"
            )
    return replace(split, train=train, test=test)


def check_classes(split: Split) -> None:
    """Refuse to train on one class.

    Raises:
        ManifestError: there is one.
    """
    found = {label for entry in split.train for label in entry.labels}
    if len(found) < 2:
        raise ManifestError(
            f"split {split.name}: its {len(split.train)} training videos are of one class, "
            f"{some(found)}; two or more are wanted"
        )


def input_deviations(
    pre: Preprocessing, frames: int = 16, resize: int = 160, size: tuple[int, int] = (160, 160)
) -> list[str]:
    """How a network's clips differ from the paper's."""
    out = []
    if pre.frames != frames:
        out.append(f"clips have {pre.frames} frames, the paper's {frames}")
    if pre.sampling != "dense":
        out.append("a clip's frames are spread over the whole video, the paper's are consecutive")
    elif pre.fps is not None or pre.step != 1:
        pace = f"{pre.fps:g} Hz" if pre.fps is not None else f"every {pre.step}th"
        out.append(f"frames are taken at {pace}, the paper takes every frame")
    if (pre.resize, pre.size) != (resize, size):
        out.append(
            f"short side {pre.resize}, center crop {pre.size[0]}x{pre.size[1]}; "
            f"the paper's {resize}, {size[0]}x{size[1]}"
        )
    return out


def span_of(pre: Preprocessing) -> int:
    """Source frames one clip covers, as far as the preprocessing tells."""
    return (pre.frames - 1) * pre.step + 1


def clip_probs(
    ready: Judge,
    entries: Sequence[Entry],
    clips: int,
    *,
    random: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Float[np.ndarray, "v c k"]:
    """Probabilities of every clip of every video.

    Args:
        random: clips start at random places; else they are spread evenly.
    """
    ready, pre = replace(ready, batch=_BATCH), ready.pre
    store = FrameStore(resize=pre.resize, gray=pre.color == "gray")
    items = [entry.item for entry in entries]
    # random clips do not depend on what else is in the list
    keys = [zlib.crc32(os.fsencode(entry.name)) for entry in entries]
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=clips, random=random, seed=seed)
    batches = view_batches(len(items), clips, _BATCH)
    data = loader(ClipDataset(items, [0] * len(items), store, spec, keys=keys), batches, 0)
    rows = []
    for done, batch in enumerate(data, start=1):
        rows.append(ready(batch.clips).numpy())
        if progress is not None:
            progress(done, len(batches))
    return np.concatenate(rows).reshape(len(items), clips, -1)


def columns(ready: Judge, classes: Sequence[str]) -> list[int]:
    """The network's column of each class, by name.

    Raises:
        WeightsError: the network does not know a class.
    """
    have = {clean(name): i for i, name in enumerate(ready.classes)}
    for name in classes:
        if clean(name) not in have:
            raise WeightsError(
                f"{unknown('class of this network', name, ready.classes)} The benchmark has "
                f"{len(classes)} classes, the network {len(ready.classes)}: take weights that were "
                "trained on it, or a protocol that trains a linear SVM on features"
            )
    return [have[clean(name)] for name in classes]


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Rows of each layer, one per entry: the mean over its clips."""

    layers: dict[str, Float[np.ndarray, "v f"]]
    entries: tuple[Entry, ...]
    missing: dict[str, str]  # entries that gave none, and why

    def rows(self, entries: Sequence[Entry]) -> list[int]:
        """Numbers of the rows of some entries."""
        index = {entry.name: i for i, entry in enumerate(self.entries)}
        return [index[entry.name] for entry in entries]


def vectors(
    extractor: Extractor,
    entries: Sequence[Entry],
    clips: int,
    *,
    mirror: bool = False,
    external: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Vectors:
    """Pass videos through a network and keep its layers.

    Args:
        external: file of other features, kept as the layer "external".
        out: file that a broken run goes on from.
    """
    items = tuple(dict.fromkeys(entry.item for entry in entries))
    manifest = Manifest(items, tuple(sorted({item.label for item in items})))
    how = Extraction(clips=clips, mirror=mirror)
    found = extract(extractor, manifest, how=how, out=out, progress=progress)
    failed = found.meta["missing"]
    good = tuple(entry for entry in entries if entry_of(entry.item) not in failed)
    at = {item: i for i, item in enumerate(i for i in items if entry_of(i) not in failed)}
    if found.paths != tuple(str(item.path) for item in at):
        raise ManifestError(f"{len(found)} rows of features for {len(at)} videos; run again")
    if external is not None:
        found = fuse(found, external, EXTERNAL)
    rows = [at[entry.item] for entry in good]
    return Vectors(
        layers={name: np.asarray(x)[rows] for name, x in found.layers.items()},
        entries=good,
        missing={e.name: failed[key] for e in entries if (key := entry_of(e.item)) in failed},
    )


def without(listing: Listing, missing: dict[str, str]) -> Listing:
    """A listing less some entries.

    Raises:
        ManifestError: a part of a split is empty then.
    """
    # where one video is left out at a time, its fold goes with it
    alone = [len(s.test) == 1 and s.test[0].name in missing for s in listing.splits]
    if all(alone):
        alone = [False] * len(alone)
    splits = (s for s, gone in zip(listing.splits, alone, strict=True) if not gone)
    return replace(listing, splits=tuple(_kept(split, missing) for split in splits))
