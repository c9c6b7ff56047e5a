"""Choose the rule that makes segments of windows, on validation videos and never on test ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np

from pseudo3d.engine.predict import Prediction
from pseudo3d.engine.segments import SegmentRule, segments_of
from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.detection import TIOUS, Found, Span, average_precision, matches
from pseudo3d.scores.segmental import count_error, f1

Aim = Literal["f1", "mAP", "count"]
AIMS: dict[Aim, str] = {
    "f1": "F1@50",
    "mAP": "mAP, mean over tIoU 0.5 to 0.95",
    "count": "1 / (1 + count error)",
}
_WORTH = 1e-6  # gain for which the rule leaves its start


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A rule, and how it was found."""

    rule: SegmentRule
    aim: Aim
    score: float
    before: float  # score of the rule that the search started from
    videos: int
    segments: int  # true ones
    tried: int  # rules

    def describe(self) -> str:
        """In words, to stand beside a score."""
        return (
            f"rule chosen among {self.tried} on {self.videos} validation videos with "
            f"{self.segments} segments, {AIMS[self.aim]} {self.score:.1%} "
            f"(before {self.before:.1%})"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `read_rule` takes it."""
        return {
            "rule": self.rule.to_dict(),
            "chosen": {
                "aim": self.aim,
                "score": self.score,
                "before": self.before,
                "videos": self.videos,
                "segments": self.segments,
                "rules_tried": self.tried,
            },
        }


def choose_rule(
    predictions: Sequence[Prediction],
    truth: Sequence[Sequence[Span]],
    *,
    aim: Aim = "f1",
    start: SegmentRule | None = None,
) -> Choice:
    """Find threshold, smoothing, edge, overlap and shortest length that score best.

    All mixes of smoothing, threshold and edge are tried, then the others one by one. Of equal mixes
    the one whose neighbors score best is taken, so that chance has less to choose from.

    Args:
        predictions: of validation videos, in windows. A rule chosen on the videos it is then
            scored on flatters the network.
        truth: true segments of each.
        aim: what is made as high as it can be. "f1" weighs misses against false alarms, "count"
            looks at numbers only, "mAP" does not mind weak false alarms: it takes low thresholds.
        start: rule to start from; `several` and `background` stay as they are there.
    Raises:
        Pseudo3dError: an unknown aim, other numbers of videos, or no true segment.
    """
    if aim not in AIMS:
        raise Pseudo3dError(f"aim is {aim!r}; wanted {', '.join(AIMS)}")
    segments = sum(map(len, truth))
    if len(predictions) != len(truth) or not segments:
        raise Pseudo3dError(
            f"{len(predictions)} predictions, truth of {len(truth)} videos with {segments} "
            "segments; wanted truth for each and a segment at least"
        )
    first = start or SegmentRule()
    best, scores = _search(first, _values(predictions), partial(_score, predictions, truth, aim))
    return Choice(
        rule=best,
        aim=aim,
        score=scores[best],
        before=scores[first],
        videos=len(truth),
        segments=segments,
        tried=len(scores),
    )


def _search(
    first: SegmentRule,
    values: Mapping[str, Sequence[float]],
    score: Callable[[SegmentRule], float],
) -> tuple[SegmentRule, dict[SegmentRule, float]]:
    """Every mix of the first three values, then the others one by one; all scores on the way."""
    scores = {first: score(first)}

    def tried(base: SegmentRule, **changes: float) -> SegmentRule:
        rule = base.but(changes)
        if rule not in scores:
            scores[rule] = score(rule)
        return rule

    mixed, others = list(values)[:3], list(values)[3:]
    mixes = product(*(range(len(values[name])) for name in mixed))
    rules = {
        at: tried(first, **{n: values[n][i] for n, i in zip(mixed, at, strict=True)})
        for at in mixes
    }
    best = first
    if max(scores.values()) > scores[first] + _WORTH:
        best = rules[_middle({at: scores[rule] for at, rule in rules.items()})]
    for name in others:
        for value in values[name]:
            rule = tried(best, **{name: value})
            if scores[rule] > scores[best] + _WORTH:
                best = rule
    return best, scores


def _middle(scores: Mapping[tuple[int, ...], float]) -> tuple[int, ...]:
    """The best place of a grid; of equals the one with the best neighbors, for luck is lonely."""

    def around(at: tuple[int, ...]) -> float:
        near = product(*((i - 1, i, i + 1) for i in at))
        there = [scores[place] for place in near if place in scores]
        return sum(there) / len(there)

    highest = max(scores.values())
    return max((at for at, value in scores.items() if value > highest - _WORTH), key=around)


def _values(predictions: Sequence[Prediction]) -> Mapping[str, Sequence[float]]:
    """Values to try; times in parts of a window."""
    window = float(np.median(np.concatenate([p.ends - p.starts for p in predictions])))

    def parts(*shares: float) -> list[float]:
        return [round(share * window, 3) for share in shares]

    return {
        "smooth": parts(0, 0.15, 0.25, 0.35, 0.5),
        "threshold": [round(0.1 * i, 1) for i in range(1, 10)],
        "edge": [0.4, 0.5, 0.6],
        "overlap": [0.0, 0.25, 0.5, 0.75],
        "shortest": parts(0, 0.25, 0.5, 0.75),
    }


def _score(
    predictions: Sequence[Prediction],
    truth: Sequence[Sequence[Span]],
    aim: Aim,
    rule: SegmentRule,
) -> float:
    found = [segments_of(p, rule) for p in predictions]
    if aim == "f1":
        return f1(found, truth, 0.5)
    if aim == "count":
        return 1 / (1 + count_error(found, truth))
    return mean_ap(found, truth)


def mean_ap(found: Sequence[Sequence[Found]], truth: Sequence[Sequence[Span]]) -> float:
    """ActivityNet's figure without its interval, which a search has no time for."""
    names = sorted({s.label for spans in truth for s in spans})
    ones = np.ones((1, len(truth)))
    each = [average_precision(matches(found, truth, name, TIOUS), ones).mean() for name in names]
    return float(np.mean(each))
