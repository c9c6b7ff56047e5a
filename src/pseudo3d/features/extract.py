"""Run a network over videos or scans and keep what its layers say, averaged, of videos by clip too.

The paper's representation (Qiu, Yao, Mei, ICCV 2017, section 5): 20 clips of a video, the mean of
their pool5. Its authors also average every clip with its mirror image (`mirror`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipSpec, view_indices
from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.manifest import ScanManifest
from pseudo3d.data.transforms import center_crop
from pseudo3d.engine.feed import in_threads
from pseudo3d.engine.judge import Model
from pseudo3d.engine.windows import Cutter, Windows, cut_span
from pseudo3d.errors import ManifestError, Pseudo3dError, WeightsError
from pseudo3d.features.featureset import FeatureSet as FeatureSet
from pseudo3d.features.looks import Extraction as Extraction
from pseudo3d.features.scans import look_at_scans, rows_of_scans
from pseudo3d.features.sources import Extractor, open_extractor
from pseudo3d.features.unfinished import Unfinished, VideoRows, content_of, entry_of, name_of

Progress = Callable[[int, int], None]
_TOGETHER = 32  # clips of a long video that wait for the network


class _Look(NamedTuple):
    """Clips of one row, and when they are shown."""

    clips: list[Tensor]
    span: tuple[float, float]


def extract(
    model: Model | Extractor,
    manifest: Manifest,
    *,
    layers: Sequence[str] | None = None,
    clips: int = 20,
    mirror: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
    how: Extraction | None = None,
) -> FeatureSet:
    """Features of every video or scan of a list; what cannot be read is named in `meta`.

    With `out`, what is done is kept beside it until all is done: the same call goes on where a
    killed one stopped.

    Args:
        model: a path of weights, a network, a runner, "pixels", "random:NAME[:SEED]", or what
            `open_extractor` gave (for another input than the network's own, or unpooled layers).
        layers: as for `open_extractor`; by default pool5.
        clips, mirror: as in `Extraction`, which sets the rest when it is given as `how`.
        out: .npz or .parquet.
    Raises:
        Pseudo3dError: an unknown layer, a file `out` that holds something else.
        ManifestError: no file can be read.
    Example:
        >>> extract("weights.safetensors", read_manifest("videos"), clips=20).matrix().shape
        (93, 2048)
    """
    how = how or Extraction(clips=clips, mirror=mirror)
    ready = model
    if not isinstance(ready, Extractor):
        ready = open_extractor(ready, layers)
    if isinstance(manifest, ScanManifest):
        how = look_at_scans(how, ready)
    elif not isinstance(ready.pre, Preprocessing):
        raise WeightsError(f"{ready.source or ready.name} takes scans, these are videos")
    job = _job(ready, how)
    kept = None if out is None else Unfinished(Path(out), job)
    if kept is not None and kept.out.exists():
        return kept.finished(manifest)
    with nullcontext() if kept is None else kept.mine():
        return _extract(ready, manifest, job, how, kept, progress)


def _extract(
    ready: Extractor,
    manifest: Manifest,
    job: dict[str, Any],
    how: Extraction,
    kept: Unfinished | None,
    progress: Progress | None,
) -> FeatureSet:
    """Look at what is not there yet, then put all rows together."""
    found = {} if kept is None else {i: kept.read(item) for i, item in enumerate(manifest.items)}
    videos = {i: rows for i, rows in found.items() if rows is not None}
    todo = [i for i in range(len(manifest.items)) if i not in videos]
    missing: dict[str, str] = {}
    looked = (
        rows_of_scans(ready, manifest, todo, how)
        if isinstance(manifest, ScanManifest)
        else _videos(ready, manifest, todo, how)
    )
    for done, (i, rows) in enumerate(looked, start=len(videos) + 1):
        item = manifest.items[i]
        if isinstance(rows, str):
            missing[entry_of(item)] = rows
        else:
            videos[i] = rows
            if kept is not None:
                kept.write(item, rows)
        if progress is not None:
            progress(done, len(manifest.items))
    features = _collect(manifest, videos, {**job, "missing": missing}, how)
    if kept is not None:
        kept.close(features)
    return features


def _videos(
    ready: Extractor, manifest: Manifest, todo: Sequence[int], how: Extraction
) -> Iterator[tuple[int, VideoRows | str]]:
    """Rows of video after video, or what is wrong with it; the next ones are decoded meanwhile."""
    store = FrameStore(resize=ready.pre.resize, gray=ready.pre.color == "gray")

    def cut(i: int) -> Iterator[_Look | str]:
        item = manifest.items[i]
        yield from (
            _clips(item, ready, how, store)
            if how.windows is None
            else _windows(item, ready, how.windows)
        )

    with in_threads(todo, cut) as lanes:
        for i, looks in lanes:
            wrong: list[str] = []
            rows = _rows(ready, _until_error(looks, wrong), how.mirror)
            if wrong or rows is None:
                yield i, wrong[0] if wrong else "no frame"
            else:
                yield i, rows if how.keeps_clips else _averaged(rows)


def _until_error(looks: Iterator[_Look | str], wrong: list[str]) -> Iterator[_Look | str]:
    """The looks at a video; what is wrong with the video, and no bug, is noted."""
    try:
        yield from looks
    except (Pseudo3dError, OSError) as err:
        wrong.append(str(err))


def _clips(item: Item, ready: Extractor, how: Extraction, store: FrameStore) -> Iterator[_Look]:
    """A video's clips, one look each."""
    frames = store.read(item)
    spec = ClipSpec(preprocessing=ready.pre, canvas=ready.pre.size, views=how.clips)
    indices = view_indices(frames.times, spec)
    for clip, index in zip(frames.clips(indices), indices, strict=True):
        span = (float(frames.times[index[0]]), float(frames.times[index[-1]]))
        yield _Look([center_crop(clip, ready.pre.size)], span)


def _windows(item: Item, ready: Extractor, plan: Windows) -> Iterator[_Look | str]:
    """A video's windows, one look each; last, what is wrong with its end."""
    typical = float(ready.training.get("clip_seconds", 2.0))
    longest = float(ready.training.get("longest_seconds", typical))

    def cutter(fps: float) -> Cutter:
        return Cutter(plan, (typical, longest), ready.pre, fps)

    for window in cut_span(item.fetch(), cutter, (item.start or 0.0, item.end)):
        yield window if isinstance(window, str) else _Look(window.clips, window.span)


def _rows(ready: Extractor, looks: Iterator[_Look | str], mirror: bool) -> VideoRows | None:
    """Pass a video's clips through the network, not many at a time; None if there are none."""
    waiting: list[_Look] = []
    parts: list[dict[str, np.ndarray]] = []
    spans: list[tuple[float, float]] = []
    problem = None

    def flush() -> None:
        clips = torch.stack([clip for look in waiting for clip in look.clips])
        firsts = np.cumsum([0, *(len(look.clips) for look in waiting)])[:-1]
        counts = np.array([len(look.clips) for look in waiting], np.float32)[:, None]
        rows = ready(clips, mirror=mirror)
        parts.append({n: np.add.reduceat(x, firsts, axis=0) / counts for n, x in rows.items()})
        waiting.clear()

    for look in looks:
        if isinstance(look, str):
            problem = look
            continue
        waiting.append(look)
        spans.append(look.span)
        if sum(len(look.clips) for look in waiting) >= _TOGETHER:
            flush()
    if waiting:
        flush()
    if not parts:
        return None
    layers = {name: np.concatenate([part[name] for part in parts]) for name in ready.layers}
    return VideoRows(layers, np.array(spans, np.float64), problem)


def _averaged(rows: VideoRows) -> VideoRows:
    """All clips as one: 20 times less to keep."""
    layers = {name: _mean(x)[None] for name, x in rows.layers.items()}
    return VideoRows(layers, rows.times, rows.problem)


def _collect(
    manifest: Manifest,
    videos: Mapping[int, VideoRows],
    meta: dict[str, Any],
    how: Extraction,
) -> FeatureSet:
    """One set of all the rows, in the order of the list."""
    if not videos:
        first = next(iter(meta["missing"].values()), "the list is empty")
        raise ManifestError(f"none of the {len(manifest.items)} files can be read: {first}")
    order = sorted(videos)
    items = [manifest.items[i] for i in order]
    ends = {entry_of(manifest.items[i]): p for i in order if (p := videos[i].problem)}
    spans = tuple((item.start, item.end) for item in items)
    names = list(videos[order[0]].layers)
    clips: dict[str, Any] = {}
    if how.keeps_clips:
        counts = [len(videos[i].times) for i in order]
        clips = {
            "clip_layers": {n: np.concatenate([videos[i].layers[n] for i in order]) for n in names},
            "clip_video": np.repeat(np.arange(len(order)), counts),
            "clip_times": np.concatenate([videos[i].times for i in order]),
        }
    return FeatureSet(
        layers={n: np.stack([_mean(videos[i].layers[n]) for i in order]) for n in names},
        paths=tuple(map(name_of, items)),
        labels=tuple(item.label or None for item in items),
        groups=tuple(item.group for item in items),
        splits=tuple(item.split for item in items),
        spans=spans if any(span != (None, None) for span in spans) else (),
        meta={**meta, "incomplete": ends, "content": content_of(items)},
        **clips,
    )


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(0, dtype=np.float64).astype(np.float32)


def _job(ready: Extractor, how: Extraction) -> dict[str, Any]:
    """What decides the numbers, as plain values."""
    job = {
        "weights": ready.source,
        "network": ready.name,
        "identity": ready.identity,
        "layers": list(ready.layers),
        "preprocessing": ready.pre.to_dict(),
        "pooling": ready.pooling,
        "precision": ready.precision,
        "protocol": how.describe(),
        **asdict(how),
    }
    if {"res2", "res3", "res4", "res5"} & set(ready.layers):
        job["stages"] = "last block"  # files of 0.1 hold the pool after it
    return json.loads(json.dumps(job))
