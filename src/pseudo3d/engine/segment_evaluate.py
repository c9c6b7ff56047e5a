"""Score the segments a network finds in long videos, with the protocol beside every figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pseudo3d.data.annotations import Annotations, MarkedVideo
from pseudo3d.data.video import VIDEO_SUFFIXES
from pseudo3d.engine.judge import Model, known
from pseudo3d.engine.predict import Prediction, predict_many
from pseudo3d.engine.segment_tuning import Aim, Choice, choose_rule
from pseudo3d.engine.segments import SegmentRule, curves_at, segments_of
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import ManifestError, unknown
from pseudo3d.runtime.runner import open_runner
from pseudo3d.scores.bootstrap import Draws
from pseudo3d.scores.detection import TIOUS, Detection, Found, detection
from pseudo3d.scores.segmental import RATE, Segmental, frame_times, segmental

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a network sees in long videos, before any rule."""

    videos: tuple[MarkedVideo, ...]
    predictions: tuple[Prediction, ...]  # of each
    missing: Mapping[str, str] = field(default_factory=dict)  # left out, and why
    problems: Mapping[str, str] = field(default_factory=dict)  # scored as far as they can be read


@dataclass(frozen=True, kw_only=True)
class SegmentEvaluation:
    """Scores in [0, 1], what they were measured on, and how."""

    split: str
    detection: Detection
    segmental: Segmental
    made: str  # how segments were made, in words
    segments: Mapping[str, Sequence[Any]]  # found in each video
    rule: SegmentRule | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The protocol in words, to stand beside every score."""
        d = self.detection
        text = (
            f"split {self.split}, {d.videos} videos with {sum(d.truths.values())} segments of "
            f"{len(d.truths)} labels; {self.made}; frames at {RATE:g} Hz; {d.mean_ap.method}"
        )
        if d.strays:
            text += f"; {d.strays} segments of labels without truth change no mAP"
        return text + (f"; {len(self.missing)} videos left out" if self.missing else "")

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "protocol": self.describe(),
            "split": self.split,
            "rule": None if self.rule is None else self.rule.to_dict(),
            "detection": self.detection.to_dict(),
            "segmentation": self.segmental.to_dict(),
            "segments": {
                name: [
                    {"start": s.start, "end": s.end, "label": s.label, "score": s.score}
                    for s in found
                ]
                for name, found in self.segments.items()
            },
            "missing": dict(self.missing),
            "problems": dict(self.problems),
        }


def look(
    model: Model,
    annotations: Annotations,
    windows: Windows,
    *,
    progress: Progress | None = None,
) -> Seen:
    """Run a network over long videos; what cannot be read is noted.

    Args:
        windows: see `segment_windows`.
    Raises:
        ManifestError: a label is no class of the network, or no video can be read.
    """
    run = open_runner(model) if isinstance(model, str | Path) else model
    classes = known(run)[1]
    for label in annotations.labels:
        if label not in classes:
            raise ManifestError(unknown("class of this network", label, classes))
    there = {v.path: v for v in annotations.videos if v.path is not None}
    missing, problems = dict(annotations.missing), dict[str, str]()
    videos, predictions = list[MarkedVideo](), list[Prediction]()
    answers = predict_many(run, list(there), windows=windows)
    for done, (path, answer) in enumerate(answers, start=1):
        video = there[path]
        if isinstance(answer, Exception):
            missing[video.name] = str(answer)
        else:
            videos.append(video)
            predictions.append(answer)
            if answer.problem is not None:
                problems[video.name] = answer.problem
        if progress is not None:
            progress(done, len(there))
    if not videos:
        raise ManifestError(f"none of the {len(annotations.videos)} videos can be read")
    return Seen(
        videos=tuple(videos), predictions=tuple(predictions), missing=missing, problems=problems
    )


def tune(
    seen: Seen,
    *,
    aim: Aim = "f1",
    start: SegmentRule | None = None,
) -> Choice:
    """`choose_rule` on what a network saw in validation videos."""
    truth = [video.marks for video in seen.videos]
    return choose_rule(seen.predictions, truth, aim=aim, start=start)


def score_segments(
    seen: Seen,
    rule: SegmentRule | None = None,
    *,
    split: str = "all",
    choice: Choice | None = None,
    tious: Sequence[float] = TIOUS,
    draws: Draws | None = None,
) -> SegmentEvaluation:
    """Cut the videos and compare with the truth.

    Args:
        rule: how segments are made; None takes that of `choice`, or the default.
        split: name, for the record.
        choice: how the rule was found, for the record.
    Raises:
        Pseudo3dError: no true segment, or the rule does not fit the network.
    """
    if rule is None:
        rule = choice.rule if choice is not None else SegmentRule()
    truth = [video.marks for video in seen.videos]
    found = [segments_of(p, rule) for p in seen.predictions]
    seconds = [_length(p, v) for p, v in zip(seen.predictions, seen.videos, strict=True)]
    classes = seen.predictions[0].classes
    curves = [
        curves_at(p, rule, frame_times(s)) for p, s in zip(seen.predictions, seconds, strict=True)
    ]
    return SegmentEvaluation(
        split=split,
        detection=detection(found, truth, tious=tious, draws=draws),
        segmental=segmental(found, truth, seconds, curves=curves, classes=classes),
        made=_made(seen.predictions, rule, choice),
        segments={v.name: s for v, s in zip(seen.videos, found, strict=True)},
        rule=rule,
        missing=seen.missing,
        problems=seen.problems,
    )


def score_found(
    found: Mapping[str, Sequence[Found]],
    truth: Annotations,
    *,
    split: str = "all",
    tious: Sequence[float] = TIOUS,
    draws: Draws | None = None,
) -> SegmentEvaluation:
    """Score segments that anything has found, against the truth; no network runs.

    A video without an entry is one in which nothing was found; it counts, and is named.
    """
    keys, names = _keys([video.name for video in truth.videos], list(found))
    given = dict(zip(names, found.values(), strict=True))
    ours = [list(given.get(key, ())) for key in keys]
    theirs = [video.marks for video in truth.videos]
    ends = [max((s.end for s in (*a, *b)), default=1.0) for a, b in zip(ours, theirs, strict=True)]
    return SegmentEvaluation(
        split=split,
        detection=detection(ours, theirs, tious=tious, draws=draws),
        segmental=segmental(ours, theirs, ends),
        made="segments read from a file; a video ends with its last segment",
        segments={v.name: s for v, s in zip(truth.videos, ours, strict=True)},
        problems={
            **{
                v.name: "nothing was found in it"
                for v, key in zip(truth.videos, keys, strict=True)
                if key not in given
            },
            **{
                name: "left out: not among the videos that are scored"
                for name, key in zip(found, names, strict=True)
                if key not in keys
            },
        },
    )


def _keys(*lists: Sequence[str]) -> list[list[str]]:
    """Names without folder, suffix and ActivityNet's `v_`, where these still tell them apart."""
    short = [
        [
            (p.stem if p.suffix.lower() in VIDEO_SUFFIXES else p.name).removeprefix("v_")
            for p in map(Path, names)
        ]
        for names in lists
    ]
    unique = all(len({*keys}) == len(keys) for keys in short)
    return short if unique else [list(names) for names in lists]


def _length(prediction: Prediction, video: MarkedVideo) -> float:
    """Of a video, s: a truth that reaches beyond what could be read belongs to it."""
    return max([float(prediction.ends[-1]), *(m.end for m in video.marks)])


def _made(predictions: Sequence[Prediction], rule: SegmentRule, choice: Choice | None) -> str:
    length = float(np.median(np.concatenate([p.ends - p.starts for p in predictions])))
    steps = np.concatenate([np.diff(p.starts) for p in predictions])
    every = f" every {np.median(steps):.3g} s" if len(steps) else ""
    smooth = "a quarter of a window" if rule.smooth is None else f"{rule.smooth:g} s"
    text = (
        f"windows of {length:.3g} s{every}, threshold {rule.threshold:g}, smoothed over {smooth}, "
        f"edge {rule.edge:g}, overlap {rule.overlap:g}"
    )
    text += f", shortest {rule.shortest:g} s" if rule.shortest else ""
    text += f", without {', '.join(rule.background)}" if rule.background else ""
    return f"{text}; {choice.describe() if choice is not None else 'rule given, not chosen'}"
