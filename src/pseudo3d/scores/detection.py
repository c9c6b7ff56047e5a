"""Are actions found where they happen? Mean average precision of segments, as ActivityNet counts.

The rules are those of the challenge's own script: class by class, segments are taken from the
surest down; each goes to the free true segment of its video that it overlaps most, if their
temporal intersection over union (tIoU) reaches the threshold, and is a false alarm else; each true
segment is found once. Average precision is the area under the interpolated curve, its mean over the
classes that occur is the mAP at this tIoU, and the mean of those over 0.5 to 0.95 the figure that
is published. Segments of equal score enter the curve together, so that their order in a file
changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Integer

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws, Interval, Statistic, interval

TIOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@runtime_checkable
class Span(Protocol):
    """A stretch of a video with a label; anything that has these will do."""

    @property
    def start(self) -> float: ...  # s

    @property
    def end(self) -> float: ...  # s

    @property
    def label(self) -> str: ...


@runtime_checkable
class Found(Span, Protocol):
    """A stretch that a network found."""

    @property
    def score(self) -> float: ...  # the higher, the surer


class Matches(NamedTuple):
    """One class in all videos: what was found, and what it hits at each tIoU."""

    scores: Float[np.ndarray, " p"]
    videos: Integer[np.ndarray, " p"]  # number of the video each was found in
    hit: Bool[np.ndarray, "t p"]
    truths: Integer[np.ndarray, " v"]  # true segments of each video


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well segments were found, with what it was measured on."""

    videos: int
    truths: dict[str, int]  # true segments of each class that has some
    found: int
    tious: tuple[float, ...]
    mean_ap: Interval  # of `at`
    at: tuple[float, ...]  # mAP at each tIoU
    per_class: dict[str, float]  # AP, mean over the tIoUs
    strays: int = 0  # found segments of classes without truth: they change no mAP

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of every score, for a table."""
        shown = [
            (f"mAP at tIoU {t:g}", f"{v:.1%}") for t, v in zip(self.tious, self.at, strict=True)
        ]
        low, high = self.tious[0], self.tious[-1]
        name = f"mAP, mean over tIoU {low:g} to {high:g}"
        return [(name, str(self.mean_ap)), *shown]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "videos": self.videos,
            "truths": self.truths,
            "found": self.found,
            "found_of_classes_without_truth": self.strays,
            "mAP": self.mean_ap.to_dict(),
            "mAP_at": {f"{t:g}": v for t, v in zip(self.tious, self.at, strict=True)},
            "AP": self.per_class,
        }


def detection(
    found: Sequence[Sequence[Found]],
    truth: Sequence[Sequence[Span]],
    *,
    tious: Sequence[float] = TIOUS,
    draws: Draws | None = None,
) -> Detection:
    """Score what was found in each video against the truth, with an interval over videos.

    Args:
        found: segments of each video.
        truth: true segments of each video, in the same order.
        tious: overlaps that count as found; the default is ActivityNet's.
    Raises:
        Pseudo3dError: other numbers of videos, no true segment, or a segment that is none.
    Example:
        >>> detection([[Segment(start=1, end=2, label="jump", score=0.9)]], [[Span(1, 2, "jump")]])
    """
    check_spans(found, truth)
    if not all(0 < t <= 1 for t in tious) or not tious:
        raise Pseudo3dError(f"tIoUs are {tuple(tious)}; wanted one or more above 0 and up to 1")
    counts: dict[str, int] = {}
    for span in (s for spans in truth for s in spans):
        counts[span.label] = counts.get(span.label, 0) + 1
    names = sorted(counts)
    if not names:
        raise Pseudo3dError(f"{len(truth)} videos without a true segment; wanted one or more")
    parts = [matches(found, truth, name, tious) for name in names]
    ones = np.ones((1, len(truth)))
    each = np.array([average_precision(part, ones)[:, 0] for part in parts])  # (K, T)
    statistic = _mean_ap(parts)
    bounds = interval(statistic, np.arange(len(truth)), draws or Draws())
    return Detection(
        videos=len(truth),
        truths={name: counts[name] for name in names},
        found=sum(map(len, found)),
        tious=tuple(tious),
        mean_ap=replace(bounds, method=bounds.method.replace("scans", "videos")),
        at=tuple(each.mean(0).tolist()),
        per_class=dict(zip(names, each.mean(1).tolist(), strict=True)),
        strays=sum(s.label not in counts for spans in found for s in spans),
    )


def matches(
    found: Sequence[Sequence[Found]],
    truth: Sequence[Sequence[Span]],
    label: str,
    tious: Sequence[float] = TIOUS,
) -> Matches:
    """Tell hits from false alarms of one class in all videos."""
    scores, videos, hit, truths = [], [], [], []
    for number, (given, true) in enumerate(zip(found, truth, strict=True)):
        mine = sorted((s for s in given if s.label == label), key=lambda s: -s.score)
        theirs = [s for s in true if s.label == label]
        truths.append(len(theirs))
        scores += [s.score for s in mine]
        videos += [number] * len(mine)
        hit.append(greedy(tiou(as_array(mine), as_array(theirs)), tious))
    return Matches(
        scores=np.array(scores, dtype=np.float64),
        videos=np.array(videos, dtype=np.int64),
        hit=np.concatenate([np.zeros((len(tious), 0), dtype=bool), *hit], axis=1),
        truths=np.array(truths, dtype=np.int64),
    )


def as_array(spans: Sequence[Span]) -> Float[np.ndarray, "n 2"]:
    """Starts and ends, s."""
    return np.array([(s.start, s.end) for s in spans], dtype=np.float64).reshape(-1, 2)


def tiou(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union in time, of every stretch with every other one."""
    inner = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    inner = inner.clip(0)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)


def greedy(overlap: Float[np.ndarray, "n m"], tious: Sequence[float]) -> Bool[np.ndarray, "t n"]:
    """Whether each of n found stretches, the surest first, hits one of m true ones that is free."""
    hit = np.zeros((len(tious), len(overlap)), dtype=bool)
    if overlap.shape[1] == 0:
        return hit
    for t, least in enumerate(tious):
        free = overlap.copy()
        for i in np.flatnonzero(overlap.max(1) >= least):
            # of equals the last, as in the challenge's script
            best = free.shape[1] - 1 - int(free[i, ::-1].argmax())
            if free[i, best] >= least:
                hit[t, i] = True
                free[:, best] = -1.0
    return hit


def average_precision(part: Matches, weights: Float[np.ndarray, "b v"]) -> Float[np.ndarray, "t b"]:
    """Area under the interpolated precision-recall curve; NaN where a draw has no truth.

    Args:
        weights: how often each video is in each draw.
    """
    total = weights @ part.truths
    if not len(part.scores):
        return np.where(total > 0, 0.0, nan)[None].repeat(len(part.hit), 0)
    order = np.argsort(-part.scores, kind="stable")
    ranked = part.scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # of blocks of equal score
    each = weights[:, part.videos[order]]
    seen = each.cumsum(1)[:, ends]
    areas = []
    for hit in part.hit[:, order]:
        good = (each * hit).cumsum(1)[:, ends]
        precision = np.divide(good, seen, out=np.zeros_like(good), where=seen > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        gained = np.diff(good, axis=1, prepend=0)
        area = (gained * best).sum(1)
        areas.append(np.divide(area, total, out=np.full_like(area, nan), where=total > 0))
    return np.array(areas)


def _mean_ap(parts: Sequence[Matches]) -> Statistic:
    """Mean over tIoUs, and over the classes that a draw holds, as of any list of videos."""

    def statistic(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        each = np.stack([average_precision(part, weights).mean(0) for part in parts])
        there = np.isfinite(each)
        count = there.sum(0)
        total = np.where(there, each, 0).sum(0)
        return np.divide(total, count, out=np.full(len(total), nan), where=count > 0)

    return statistic


def check_spans(found: Sequence[Sequence[Span]], truth: Sequence[Sequence[Span]]) -> None:
    """Refuse lists of other lengths, and stretches that are none.

    Raises:
        Pseudo3dError: the message says which.
    """
    if len(found) != len(truth):
        raise Pseudo3dError(f"segments of {len(found)} videos and truth of {len(truth)}")
    for what, lists in (("found", found), ("true", truth)):
        for number, spans in enumerate(lists):
            for span in spans:
                score = getattr(span, "score", 0.0)
                if not (np.isfinite([span.start, span.end, score]).all() and span.start < span.end):
                    raise Pseudo3dError(
                        f"{what} segment of video {number} is {span}; wanted start < end in "
                        "seconds and a score that is a number"
                    )
