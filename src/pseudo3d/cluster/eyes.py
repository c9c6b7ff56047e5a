"""A network that looks at one video after the other and says what belongs into its row.

Each video is a batch of its own: on a processor that costs nothing, and a row does not depend on
the videos beside it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pseudo3d.cluster.inputs import Row
from pseudo3d.cluster.job import Job, identity_of
from pseudo3d.data.decode import Blob, Source
from pseudo3d.data.item import Item
from pseudo3d.data.manifest import Manifest
from pseudo3d.data.pick import FileFrames, file_frames, index_file
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.judge import judge
from pseudo3d.engine.predict import BATCH, Prediction
from pseudo3d.engine.segments import SegmentRule, segment_windows, segments_of
from pseudo3d.engine.windows import Cutter, Window, Windows, cut_span
from pseudo3d.errors import ManifestError, Pseudo3dError, VideoError, WeightsError
from pseudo3d.features.extract import extract
from pseudo3d.features.looks import Extraction
from pseudo3d.features.sources import open_extractor
from pseudo3d.runtime.runner import open_runner


@dataclass(frozen=True, kw_only=True)
class Fetched(Item):
    """An item whose bytes are here, or whose file is."""

    source: Source

    def fetch(self) -> Source:
        return self.source


class Eyes(Protocol):
    """Gives the columns of a video; `about` is what holds for all rows."""

    about: dict[str, Any]

    def look(self, item: Fetched) -> Row: ...


class Predict:
    """What happens in a video; options: seconds, hop, views (as `Windows`), timeline."""

    def __init__(self, job: Job) -> None:
        plan = {key: job.options.get(key) for key in ("seconds", "hop", "views")}
        self.timeline = bool(job.options.get("timeline"))
        run = open_runner(
            job.weights,
            runtime=job.runtime,  # type: ignore[arg-type]  # checked by it
            precision=job.precision,  # type: ignore[arg-type]
            threads=1,
        )
        if run.card is not None and not isinstance(run.card.preprocessing, Preprocessing | None):
            raise WeightsError(f"{job.weights} takes scans; batches are of videos")
        self.ready, self.plan = judge(run, BATCH), self.plan_of(run, plan)
        training = run.card.training if run.card is not None else {}
        typical = float(training.get("clip_seconds", 2.0))
        self.trained = (typical, float(training.get("longest_seconds", typical)))
        self.about = {
            "network": run.name,
            "classes": list(self.ready.classes),
            "precision": run.precision,
            "preprocessing": self.ready.pre.to_dict(),
        }

    def plan_of(self, run: Any, plan: dict[str, Any]) -> Windows:
        """How videos are cut."""
        return Windows(**plan)

    def look(self, item: Fetched) -> Row:
        """Label, probabilities (mean over the windows), and where wanted the windows."""
        seen = self.predict(item)
        row: Row = {
            "label": seen.label,
            "prob": float(seen.probs.max()),
            "probs": seen.probs.astype(np.float32),
            "windows": len(seen.starts),
            "problem": seen.problem,
        }
        if self.timeline:
            row["timeline"] = seen.to_dict()["timeline"]
        return row

    def predict(self, item: Fetched) -> Prediction:
        """What is seen in a video, window by window."""
        spans, parts, waiting = list[tuple[float, float]](), list[Tensor](), list[Tensor]()
        problem = None
        for window in self._windows(item):
            if isinstance(window, str):
                problem = window
                continue
            spans.append(window.span)
            waiting += window.clips
            if len(waiting) >= BATCH:
                parts.append(self.ready(torch.stack(waiting)))
                waiting = []
        if waiting:
            parts.append(self.ready(torch.stack(waiting)))
        starts, ends = np.array(spans, dtype=np.float64).T
        views = torch.cat(parts).view(len(spans), -1, len(self.ready.classes))
        return Prediction(
            source=str(item.path),
            classes=self.ready.classes,
            starts=starts,
            ends=ends,
            window_probs=views.mean(1).numpy(),
            problem=problem,
        )

    def _windows(self, item: Fetched) -> Iterator[Window | str]:
        """A video in windows; last, what is wrong with its end."""
        pre, gray = self.ready.pre, self.ready.pre.color == "gray"
        begin, span = item.start or 0.0, (item.start, item.end)
        source = item.fetch()
        if pre.sampling == "uniform" and (index := index_file(source)) is not None:
            frames = file_frames(source, index, span, size=pre.resize, gray=gray)
            if frames and (window := self._only(frames)):
                yield window
                return
        yield from cut_span(source, self._cutter, (begin, item.end))

    def _only(self, frames: FileFrames) -> Window | None:
        """`Cutter.only` of a span: its window counts from its first frame."""
        origin = float(frames.times[0])
        window = self._cutter(25.0).only(replace(frames, times=frames.times - origin))
        return window and Window(window.clips, (origin, window.span[1] + origin))

    def _cutter(self, fps: float) -> Cutter:
        return Cutter(self.plan, self.trained, self.ready.pre, fps)


class Segments(Predict):
    """What happens from when to when; options: seconds, hop (as `segment_windows`), rule."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.rule = SegmentRule().but(job.options.get("rule") or {})

    def plan_of(self, run: Any, plan: dict[str, Any]) -> Windows:
        return segment_windows(run, seconds=plan["seconds"], hop=plan["hop"])

    def look(self, item: Fetched) -> Row:
        seen = self.predict(item)
        return {
            "segments": [s.to_dict() for s in segments_of(seen, self.rule)],
            "windows": len(seen.starts),
            "problem": seen.problem,
        }


class Features:
    """What layers say; options: layers, pooling, and those of `Extraction` (windows as a dict)."""

    def __init__(self, job: Job) -> None:
        options = dict(job.options)
        self.ready = open_extractor(
            job.weights,
            options.pop("layers", None),
            pooling=options.pop("pooling", "mean"),
            precision=job.precision or "fp32",  # type: ignore[arg-type]  # checked by it
        )
        if not isinstance(self.ready.pre, Preprocessing):
            raise WeightsError(f"{job.weights} takes scans; batches are of videos")
        windows = options.pop("windows", None)
        self.how = Extraction(windows=None if windows is None else Windows(**windows), **options)
        torch.set_num_threads(1)
        self.about = {
            "network": self.ready.name,
            "layers": list(self.ready.layers),
            "precision": self.ready.precision,
            "preprocessing": self.ready.pre.to_dict(),
            "protocol": self.how.describe(),
            "identity": self.ready.identity,
            "pooling": self.ready.pooling,
        }

    def look(self, item: Fetched) -> Row:
        """Rows of all layers; per clip, too, where wanted."""
        try:
            found = extract(self.ready, Manifest((item,), ()), how=self.how)
        except ManifestError as err:  # of a list of one: why that one cannot be read
            raise VideoError(str(err).partition("can be read: ")[2]) from err
        row: Row = {f"layer {name}": x[0] for name, x in found.layers.items()}
        if found.clip_layers is not None:
            row |= {f"clips {name}": x for name, x in found.clip_layers.items()}
            row["clip_times"] = found.clip_times
        return {**row, "problem": next(iter(found.meta["incomplete"].values()), None)}


def open_eyes(job: Job) -> Eyes:
    """Make the network of a job ready.

    Raises:
        Pseudo3dError: it is not the one the run began with, or not fit for the task.
    """
    if (found := identity_of(job.weights)) != job.identity:
        raise WeightsError(
            f"{job.weights} is another file here (sha256 {found[:12]}...) than where the run was "
            f"begun ({job.identity[:12]}...); copy it again"
        )
    kinds: dict[str, type[Predict] | type[Features]] = {
        "predict": Predict,
        "features": Features,
        "segments": Segments,
    }
    return kinds[job.task](job)


@lru_cache(1)
def _open(told: str) -> Eyes:
    return open_eyes(Job(**json.loads(told)))


def look(job: dict[str, Any], row: Row, path: str, data: bytes | None = None) -> dict[str, Any]:
    """Look at one video: its columns as `found`, or `why` there are none; a task of `Isolated`.

    Args:
        path: of the video, for the messages of `Isolated`, too.
        data: its bytes, where it is no file.
    """
    try:
        eyes = _open(json.dumps(job))
    except (Pseudo3dError, OSError, ImportError, TypeError) as err:
        return {"fault": str(err)}  # not the video's: the run cannot go on
    name = Path(path)
    item = Fetched(
        path=name,
        label=row["label"] or "",
        source=name if data is None else Blob(name, data),
        **{key: row[key] for key in ("group", "split", "start", "end")},
    )
    try:
        return {"found": eyes.look(item)}
    except (Pseudo3dError, FileNotFoundError) as err:
        return {"why": str(err), "again": False}
    except OSError as err:  # a disk may be back in a moment
        return {"why": str(err), "again": True}
