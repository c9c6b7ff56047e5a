"""From windows to segments: what happens from when to when in a long video.

The probability of each class over time is smoothed; each of its peaks that is high enough is a
candidate, from where the curve rises through a share of the peak to where it falls through it (half
of it: the full width at half maximum). Then the candidates suppress each other, the surest first.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.judge import known
from pseudo3d.engine.predict import Prediction
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.network import Network
from pseudo3d.runtime.runner import Runner
from pseudo3d.values import refuse_text

_SMOOTH = 0.25  # of a window's length
_NEAR = 64  # windows beside a peak that are looked at first
_REACH = 4  # standard deviations after which a Gauss curve is nothing


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One label from `start` to `end`."""

    start: float  # s
    end: float  # s
    label: str
    score: float  # smoothed probability at its peak

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "label": self.label,
            "score": round(self.score, 6),
        }


@dataclass(frozen=True, kw_only=True)
class SegmentRule:
    """How segments are made of windows; `choose_rule` finds one on validation videos.

    Args:
        threshold: probability that the smoothed curve of a class must reach.
        smooth: standard deviation of the smoothing, s; None takes a quarter of a window.
        edge: share of its peak at which a segment begins and ends. A dip below it parts two
            segments of one label.
        overlap: share of the shorter of two segments that they may have in common; else the weaker
            one is dropped.
        shortest: segments shorter than this are left out, s.
        several: labels may overlap, each suppresses its own only; else there is one at a time, and
            the weaker of two segments ends where the surer one begins.
        background: labels that are no segments ("nothing happens"); they suppress like the others.
    """

    threshold: float = 0.5
    smooth: float | None = None
    edge: float = 0.5
    overlap: float = 0.5
    shortest: float = 0.0
    several: bool = False
    background: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("threshold", "edge"):
            if not 0 < getattr(self, name) <= 1:
                raise Pseudo3dError(f"{name} is {getattr(self, name)!r}; wanted above 0, up to 1")
        if not 0 <= self.overlap <= 1:
            raise Pseudo3dError(f"overlap is {self.overlap!r}; wanted a share from 0 to 1")
        for name in ("smooth", "shortest"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise Pseudo3dError(f"{name} is {value!r}; wanted seconds, 0 or more")

    def but(self, changes: Mapping[str, Any]) -> "SegmentRule":
        """The rule with other values.

        Raises:
            Pseudo3dError: an unknown name, or a value that is none.
        """
        names = [f.name for f in fields(self)]
        for name in changes:
            if name not in names:
                raise Pseudo3dError(unknown("value of a rule for segments", name, names))
        new = dict(changes)
        if isinstance(given := new.get("background"), str | list | tuple):
            new["background"] = (given,) if isinstance(given, str) else tuple(map(str, given))
        refuse_text(SegmentRule, new)
        try:
            return replace(self, **new)
        except TypeError as err:
            raise Pseudo3dError(f"rule for segments {new}: {err}; wanted numbers") from err

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `SegmentRule().but(...)` takes it back."""
        return {**asdict(self), "background": list(self.background)}


def read_rule(path: str | Path, base: SegmentRule | None = None) -> SegmentRule:
    """Read a rule from JSON, as `p3d evaluate --segments --tune` writes it.

    Args:
        base: has the values that the file does not name; None takes the usual ones.
    Raises:
        Pseudo3dError: the file cannot be read, or holds no rule.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise Pseudo3dError(f"{path} holds no rule for segments: {err}; wanted JSON") from err
    if isinstance(content, dict):
        content = content.get("rule", content)
    if not isinstance(content, dict):
        raise Pseudo3dError(f"{path} holds no rule for segments: wanted names with values")
    return (base or SegmentRule()).but(content)


def segment_windows(
    model: Runner | Network, *, seconds: float | None = None, hop: float | None = None
) -> Windows:
    """How a video is cut for segments: always in windows, also where `predict` takes it whole.

    Args:
        seconds: length of a window; None takes what the network was trained on.
        hop: seconds from one window to the next; None takes a quarter of a window.
    Raises:
        WeightsError: the network does not know its classes or its preprocessing.
    """
    pre, _ = known(model)
    training = model.card.training if model.card is not None else {}
    return always_windows(pre, float(training.get("clip_seconds", 2.0)), seconds, hop)


def always_windows(
    pre: Preprocessing, trained: float, seconds: float | None, hop: float | None
) -> Windows:
    """`segment_windows` where a network's preprocessing and training (s a clip) are known."""
    if seconds is None and pre.sampling == "uniform":
        seconds = max(trained, 0.2)
    return Windows(seconds=seconds, hop=hop, views=1)


def segments_of(prediction: Prediction, rule: SegmentRule | None = None) -> list[Segment]:
    """Cut a video into segments, in order of time.

    Args:
        prediction: of a long video in windows; see `segment_windows`.
    Raises:
        Pseudo3dError: a background label is no class of the network.
    Example:
        >>> segments_of(predict("weights.safetensors", "match.mp4"), SegmentRule(threshold=0.4))
        [Segment(start=3.1, end=4.6, label='serve', score=0.93), ...]
    """
    rule = rule or SegmentRule()
    for name in rule.background:
        if name not in prediction.classes:
            raise Pseudo3dError(unknown("background label", name, prediction.classes))
    times, table = prediction.times, smoothed(prediction, rule)
    limits = (float(prediction.starts[0]), float(prediction.ends[-1]))
    found = [
        Segment(start=start, end=end, label=name, score=score)
        for name, curve in zip(prediction.classes, table.T, strict=True)
        for start, end, score in _candidates(times, curve, limits, rule)
    ]
    kept = _suppress(sorted(found, key=lambda s: -s.score), rule)
    shown = [s for s in kept if s.label not in rule.background and s.end - s.start >= rule.shortest]
    return sorted(shown, key=lambda s: (s.start, s.end))


def smoothed(prediction: Prediction, rule: SegmentRule) -> Float[np.ndarray, "w k"]:
    """Probability of each class at the middle of each window, smoothed over time."""
    times, table = prediction.times, prediction.window_probs.astype(np.float64)
    width = rule.smooth
    if width is None:
        width = _SMOOTH * float(np.median(prediction.ends - prediction.starts))
    if width == 0 or len(times) == 1:
        return table
    step = float(np.median(np.diff(times)))
    reach = min(int(_REACH * width / step), len(times) - 1)
    total, weight = table.copy(), np.ones(len(times))
    for gap in range(1, reach + 1):
        share = np.exp(-0.5 * ((times[gap:] - times[:-gap]) / width) ** 2)
        total[gap:] += share[:, None] * table[:-gap]
        total[:-gap] += share[:, None] * table[gap:]
        weight[gap:] += share
        weight[:-gap] += share
    return total / weight[:, None]


def curves_at(
    prediction: Prediction, rule: SegmentRule, times: Float[np.ndarray, " f"]
) -> Float[np.ndarray, "f k"]:
    """The smoothed curves at any times; before the first window and after the last they stay."""
    table = smoothed(prediction, rule)
    return np.stack([np.interp(times, prediction.times, curve) for curve in table.T], axis=1)


def _candidates(
    times: Float[np.ndarray, " w"],
    curve: Float[np.ndarray, " w"],
    limits: tuple[float, float],
    rule: SegmentRule,
) -> Iterator[tuple[float, float, float]]:
    """Start, end and height of every peak of a curve."""
    for peak in _peaks(curve, rule.threshold):
        level = rule.edge * curve[peak]
        start = _side(times[peak::-1], curve[peak::-1], level, limits[0])
        end = _side(times[peak:], curve[peak:], level, limits[1])
        if end > start:
            yield start, end, float(curve[peak])


def _peaks(curve: Float[np.ndarray, " w"], least: float) -> Integer[np.ndarray, " p"]:
    """Local maxima of at least this height; of a plateau its first point."""
    padded = np.concatenate([[-np.inf], curve, [-np.inf]])
    return np.flatnonzero((curve >= least) & (curve > padded[:-2]) & (curve >= padded[2:]))


def _side(
    times: Float[np.ndarray, " n"], curve: Float[np.ndarray, " n"], level: float, limit: float
) -> float:
    """Where a curve that begins at its peak falls through `level`, or dips before a higher one.

    To the left of a peak both arrays run backwards.
    """
    reach = _NEAR
    while True:  # the whole rest of a long video is rarely looked at
        near = curve[:reach]
        out = np.flatnonzero((near < level) | (near > curve[0]))
        if len(out) or reach >= len(curve):
            break
        reach *= 8
    if not len(out):
        return limit
    after = int(out[0])
    if curve[after] > curve[0]:
        return float(times[int(curve[:after].argmin())])
    share = (curve[after - 1] - level) / (curve[after - 1] - curve[after])
    return float(times[after - 1] + share * (times[after] - times[after - 1]))


def _suppress(found: list[Segment], rule: SegmentRule) -> list[Segment]:
    """Non-maximum suppression in time; `found` has the surest first."""
    kept: list[Segment] = []
    spans, labels = np.empty((len(found), 2)), np.empty(len(found), dtype=object)
    for new in found:
        rivals, names = spans[: len(kept)], labels[: len(kept)]
        if rule.several:
            rivals = rivals[names == new.label]
        common = np.minimum(rivals[:, 1], new.end) - np.maximum(rivals[:, 0], new.start)
        shorter = np.minimum(rivals[:, 1] - rivals[:, 0], new.end - new.start)
        if (common > rule.overlap * shorter + 1e-9).any():
            continue
        cut = new if rule.several else _beside(new, rivals[common > 0])
        if cut.end - cut.start > 1e-6:
            spans[len(kept)], labels[len(kept)] = (cut.start, cut.end), cut.label
            kept.append(cut)
    return kept


def _beside(new: Segment, rivals: Float[np.ndarray, "n 2"]) -> Segment:
    """What surer segments leave of a new one."""
    start, end = new.start, new.end
    for first, last in rivals:
        if first + last > start + end:
            end = min(end, float(first))
        else:
            start = max(start, float(last))
    return replace(new, start=start, end=end)
