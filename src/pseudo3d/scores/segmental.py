"""Is a long video cut as a person would cut it? Frames, order and number of its segments.

Three views on one question, as action segmentation reports them (Lea et al., CVPR 2017; Farha and
Gall, CVPR 2019): accuracy frame by frame, which hides cutting into pieces; the edit score, which
sees the order of labels alone; and F1, which wants every segment once, with an overlap. Pauses
between segments are no segments. Figures are shares in [0, 1].
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.detection import Found, Span, as_array, check_spans, tiou

OVERLAPS = (0.1, 0.25, 0.5)
RATE = 10.0  # Hz at which frames are scored, whatever the video's own rate
PAUSE = -1  # label of a frame in no segment


@dataclass(frozen=True, kw_only=True)
class Segmental:
    """How well long videos were cut, with what it was measured on."""

    videos: int
    frames: int
    frame_accuracy: float
    floor: float  # frame accuracy of the commonest label, a pause maybe, everywhere
    frame_map: float | None  # mean over classes of the average precision of frames
    edit: float
    f1: dict[float, float]  # by least overlap
    counts: dict[str, tuple[int, int]]  # label -> segments found, true ones
    count_error: float  # mean over videos and their labels of |found - true|

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of every score, for a table."""
        shown = [(f"F1@{100 * k:g}", f"{v:.1%}") for k, v in self.f1.items()]
        shown.append(("edit score", f"{self.edit:.1%}"))
        accuracy = f"{self.frame_accuracy:.1%} (commonest label everywhere: {self.floor:.1%})"
        shown.append(("frame accuracy", accuracy))
        if self.frame_map is not None:
            shown.append(("frame mAP", f"{self.frame_map:.1%}"))
        shown.append(("count error", f"{self.count_error:.2f} segments per label and video"))
        return shown

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "videos": self.videos,
            "frames": self.frames,
            "frame_rate": RATE,
            "frame_accuracy": self.frame_accuracy,
            "floor": {"frame_accuracy": self.floor},
            "frame_mAP": self.frame_map,
            "edit": self.edit,
            **{f"f1@{100 * k:g}": v for k, v in self.f1.items()},
            "counts": {k: {"found": a, "true": b} for k, (a, b) in self.counts.items()},
            "count_error": self.count_error,
        }


def segmental(
    found: Sequence[Sequence[Found]],
    truth: Sequence[Sequence[Span]],
    seconds: Sequence[float],
    *,
    curves: Sequence[Float[np.ndarray, "f k"]] | None = None,
    classes: Sequence[str] = (),
) -> Segmental:
    """Score how long videos were cut.

    Where found segments overlap, a frame has the label of the surest one.

    Args:
        found: segments of each video.
        truth: true segments of each video, in the same order.
        seconds: length of each video.
        curves: score of each of `classes` at the frames `frame_times` gives, for the frame mAP;
            None takes each frame's best segment of the class.
    Raises:
        Pseudo3dError: other numbers of videos, or a segment that is none.
    """
    check_spans(found, truth)
    names = sorted({s.label for spans in (*found, *truth) for s in spans} | {*classes})
    number = {name: i for i, name in enumerate(names)}
    times = [frame_times(length) for length in seconds]
    if len(times) != len(truth) or not sum(map(len, times)):
        raise Pseudo3dError(f"lengths of {len(times)} videos and truth of {len(truth)}")
    theirs = np.concatenate([labels_at(s, t, number) for s, t in zip(truth, times, strict=True)])
    ours = np.concatenate([labels_at(s, t, number) for s, t in zip(found, times, strict=True)])
    if curves is None:
        parts = zip(found, times, strict=True)
        table, columns = np.concatenate([best_scores(s, t, names) for s, t in parts]), names
    else:
        table, columns = np.concatenate(list(curves)), list(classes)
    counts = {
        name: (_count(found, name), _count(truth, name))
        for name in sorted({s.label for spans in (*found, *truth) for s in spans})
    }
    return Segmental(
        videos=len(truth),
        frames=len(theirs),
        frame_accuracy=float((ours == theirs).mean()),
        floor=max(Counter(theirs.tolist()).values()) / len(theirs),
        frame_map=_frame_map(table, columns, frames_of(truth, times)),
        edit=float(np.mean([edit_score(a, b) for a, b in zip(found, truth, strict=True)])),
        f1={least: f1(found, truth, least) for least in OVERLAPS},
        counts=counts,
        count_error=count_error(found, truth),
    )


def frame_times(seconds: float) -> Float[np.ndarray, " f"]:
    """Middles of the frames of a video of some length at `RATE`, s."""
    return (np.arange(max(1, round(seconds * RATE))) + 0.5) / RATE


def labels_at(
    spans: Sequence[Span], times: Float[np.ndarray, " f"], number: dict[str, int]
) -> Integer[np.ndarray, " f"]:
    """The label shown at each time, that of the surest segment, or `PAUSE`."""
    shown = np.full(len(times), PAUSE)
    for span in sorted(spans, key=lambda s: getattr(s, "score", 0.0)):
        shown[(times >= span.start) & (times < span.end)] = number[span.label]
    return shown


def best_scores(
    found: Sequence[Found], times: Float[np.ndarray, " f"], names: Sequence[str]
) -> Float[np.ndarray, "f k"]:
    """Score of the surest segment of each label at each time; lowest of all where there is none."""
    table = np.full((len(times), len(names)), -np.inf)
    for span in found:
        column = table[:, names.index(span.label)]
        inside = (times >= span.start) & (times < span.end)
        column[inside] = np.maximum(column[inside], span.score)
    return table


def frames_of(
    truth: Sequence[Sequence[Span]], times: Sequence[Float[np.ndarray, " f"]]
) -> dict[str, Bool[np.ndarray, " n"]]:
    """For each true label, whether each frame of all videos is in a segment of it."""
    names = sorted({s.label for spans in truth for s in spans})
    found = {}
    for name in names:
        parts = []
        for spans, when in zip(truth, times, strict=True):
            inside = np.zeros(len(when), dtype=bool)
            for span in (s for s in spans if s.label == name):
                inside |= (when >= span.start) & (when < span.end)
            parts.append(inside)
        found[name] = np.concatenate(parts)
    return found


def _frame_map(
    table: np.ndarray, columns: Sequence[str], truth: dict[str, np.ndarray]
) -> float | None:
    """Mean over the true labels that frames have; a label without a column is never found."""
    areas = []
    for name, inside in truth.items():
        if inside.any():
            known = name in columns
            scores = table[:, columns.index(name)] if known else np.zeros(len(inside))
            areas.append(frame_precision(scores, inside))
    return float(np.mean(areas)) if areas else None


def frame_precision(scores: Float[np.ndarray, " n"], inside: Bool[np.ndarray, " n"]) -> float:
    """Average precision of frames: precision at every threshold, weighted by the recall it adds."""
    order = np.argsort(-scores, kind="stable")
    ranked, good = scores[order], inside[order].cumsum()
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    gained = np.diff(good[ends], prepend=0) / good[-1]
    return float((gained * good[ends] / (ends + 1)).sum())


def edit_score(found: Sequence[Span], truth: Sequence[Span]) -> float:
    """1 less the edits (Levenshtein) between the two orders of labels, as a share of the longer."""
    ours, theirs = ([s.label for s in sorted(x, key=lambda s: s.start)] for x in (found, truth))
    if not ours and not theirs:
        return 1.0
    row = list(range(len(theirs) + 1))
    for i, mine in enumerate(ours, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(theirs, start=1):
            edits = before if mine == other else 1 + min(before, row[j], row[j - 1])
            before, row[j] = row[j], edits
    return 1 - row[-1] / max(len(ours), len(theirs))


def f1(found: Sequence[Sequence[Span]], truth: Sequence[Sequence[Span]], least: float) -> float:
    """F1 of segments: in order of time, each hits the true one of its label it overlaps most.

    It must overlap it by `least` (tIoU), and a second hit of one true segment is a false alarm.
    """
    good = 0
    for ours, theirs in zip(found, truth, strict=True):
        mine = sorted(ours, key=lambda s: s.start)
        overlap = tiou(as_array(mine), as_array(theirs))
        overlap *= np.array([[a.label == b.label for b in theirs] for a in mine]).reshape(
            len(mine), len(theirs)
        )
        taken = set[int]()
        for row in overlap if theirs else ():
            best = int(row.argmax())
            if row[best] >= least:
                taken.add(best)  # a second time it counts nothing
        good += len(taken)
    total = sum(map(len, found)) + sum(map(len, truth))
    return 2 * good / total if total else 1.0


def count_error(found: Sequence[Sequence[Span]], truth: Sequence[Sequence[Span]]) -> float:
    """Mean of |found - true| segments over videos and the labels that are in one of the two."""
    errors = []
    for ours, theirs in zip(found, truth, strict=True):
        a, b = Counter(s.label for s in ours), Counter(s.label for s in theirs)
        errors += [abs(a[name] - b[name]) for name in {*a, *b}]
    return float(np.mean(errors)) if errors else 0.0


def _count(lists: Sequence[Sequence[Span]], name: str) -> int:
    return sum(s.label == name for spans in lists for s in spans)
