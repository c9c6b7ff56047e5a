"""What happens when in long videos: labeled spans, and the clips to train on that they are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from pseudo3d.data.manifest import SPLITS, Item, Manifest
from pseudo3d.data.pick import index_file
from pseudo3d.data.video import probe, stream_video
from pseudo3d.errors import ManifestError, unknown

_LEAST_PAUSE = 0.3  # s; shorter ones are no clips
_MOST, _FEW = 0.5, 0.25  # share of a window that makes it one of a span, and of a pause


class Mark(NamedTuple):
    """A labeled span of a video."""

    start: float  # s
    end: float  # s
    label: str
    score: float = 1.0


@dataclass(frozen=True, kw_only=True)
class MarkedVideo:
    """A video and all that is marked in it, in order of time."""

    name: str  # as the list has it
    path: Path | None  # None: not on the disk
    marks: tuple[Mark, ...] = ()
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Annotations:
    """Long videos with what happens in them."""

    videos: tuple[MarkedVideo, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that are marked, sorted."""
        return tuple(sorted({mark.label for video in self.videos for mark in video.marks}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted({v.split for v in self.videos if v.split is not None}))

    @property
    def missing(self) -> dict[str, str]:
        """Listed videos that are not on the disk."""
        return {v.name: "not on the disk" for v in self.videos if v.path is None}

    def split(self, name: str) -> "Annotations":
        """Videos of one split; "all" is every one.

        Raises:
            ManifestError: no video is in it.
        """
        if name == "all":
            return self
        wanted = SPLITS.get(name, name)
        if not self.splits:
            raise ManifestError(f"no split {name!r}: the videos name none; add a `split` column")
        if wanted not in self.splits:
            raise ManifestError(unknown("split", name, self.splits))
        return Annotations(tuple(v for v in self.videos if v.split == wanted))

    def without(self, labels: Iterable[str]) -> "Annotations":
        """The same videos with these labels taken away."""
        away = set(labels)
        return Annotations(
            tuple(
                replace(v, marks=tuple(m for m in v.marks if m.label not in away))
                for v in self.videos
            )
        )

    def manifest(
        self, pauses: str | None = None, *, seconds: float | None = None, hop: float | None = None
    ) -> Manifest:
        """Clips to train on.

        Args:
            pauses: label for what lies between the spans, so that a network can say that nothing
                happens.
            seconds: length of clips laid over the videos as `predict` lays its windows. A clip has
                the label of the span that it shares half of the shorter one's length with; nearly
                empty ones are pauses; what is neither is left out. None takes the spans themselves,
                and the pauses in pieces about as long.
            hop: s from clip to clip; None takes a quarter of one.
        Raises:
            ManifestError: no video with a span is on the disk, or the label is a marked one.
        """
        if pauses is not None and pauses in self.labels:
            raise ManifestError(f"pauses cannot be called {pauses!r}: spans have this label")
        for name, value in (("seconds", seconds), ("hop", hop)):
            if value is not None and value <= 0:
                raise ManifestError(f"{name} is {value!r}; wanted a positive number")
        there = [v for v in self.videos if v.path is not None]
        lengths = [m.end - m.start for v in there for m in v.marks]
        if not lengths:
            raise ManifestError(f"{len(self.videos)} videos without a marked span on the disk")
        items = []
        for video in there:
            whose = Item(path=_file(video), label="", group=video.group, split=video.split)
            duration = seconds_of(whose.path)
            if seconds is None:
                gaps = () if pauses is None else _gaps(video.marks, duration)
                parts = [*video.marks, *_pieces(gaps, median(lengths), pauses or "")]
            else:
                parts = list(_laid(video.marks, duration, seconds, hop or seconds / 4, pauses))
            items += [replace(whose, label=k, start=a, end=b) for a, b, k, _ in sorted(parts)]
        names = tuple(sorted({*self.labels, *([] if pauses is None else [pauses])}))
        return Manifest(tuple(items), names)


def seconds_of(file: Path) -> float:
    """How long a video is, by its frames where the file does not declare it, as live ones do not.

    Raises:
        VideoError: no frame can be read.
    """
    if (declared := probe(file).duration) > 0:
        return declared
    index = index_file(file)
    if index is not None:
        times = index.times
    else:
        times = torch.cat([part.times for part in stream_video(file, size=16)])
    step = float(times.diff().median()) if len(times) > 1 else 0.0
    return float(times[-1]) + step


def _file(video: MarkedVideo) -> Path:
    """Its path, which is known to be there."""
    return video.path or Path(video.name)


def _laid(
    marks: Sequence[Mark], duration: float, seconds: float, hop: float, pauses: str | None
) -> Iterator[Mark]:
    """Windows over a video, each with its label; those that are nothing clear are left out."""
    for number in range(max(1, int((duration - seconds) / hop + 1e-9) + 1)):
        start, end = number * hop, min(number * hop + seconds, duration)
        shares = [_common(start, end, m) / min(end - start, m.end - m.start) for m in marks]
        best = max(range(len(marks)), key=shares.__getitem__, default=-1)
        if best >= 0 and shares[best] >= _MOST:
            yield Mark(start, end, marks[best].label)
        elif pauses is not None and sum(_common(start, end, m) for m in marks) <= _FEW * seconds:
            yield Mark(start, end, pauses)


def _common(start: float, end: float, mark: Mark) -> float:
    return max(0.0, min(end, mark.end) - max(start, mark.start))


def _gaps(marks: Sequence[Mark], duration: float) -> Iterator[tuple[float, float]]:
    """What no span covers."""
    free = 0.0
    for start, end, *_ in sorted(marks):
        if start > free:
            yield free, start
        free = max(free, end)
    if duration > free:
        yield free, duration


def _pieces(gaps: Iterable[tuple[float, float]], length: float, label: str) -> Iterator[Mark]:
    """Gaps cut evenly; the shortest are left out."""
    for start, end in gaps:
        if end - start < _LEAST_PAUSE:
            continue
        count = max(1, round((end - start) / length))
        step = (end - start) / count
        yield from (Mark(start + i * step, start + (i + 1) * step, label) for i in range(count))
