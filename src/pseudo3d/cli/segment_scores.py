"""`p3d evaluate --segments`: scores of what is found from when to when in long videos."""

import json as jsonlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pseudo3d.cli.cards import kept_scores
from pseudo3d.cli.common import note, progress_bar, say, say_json
from pseudo3d.cli.names import unique_names
from pseudo3d.cli.running import Precisions, Runtimes, open_model
from pseudo3d.cli.segments import draw, rule_from, save_found
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.data.annotations import Annotations
    from pseudo3d.engine.segment_evaluate import Seen, SegmentEvaluation
    from pseudo3d.engine.segment_tuning import Choice
    from pseudo3d.engine.segments import SegmentRule
    from pseudo3d.runtime.runner import Runner


@dataclass(frozen=True, kw_only=True)
class SegmentScoring:
    """The options of `p3d evaluate --segments`."""

    split: str = "test"
    rule: tuple[str, ...] = ()  # files and KEY=VALUE
    tune: str | None = None  # split that the rule is chosen on
    aim: Literal["f1", "mAP", "count"] = "f1"
    save_rule: Path | None = None
    videos: Path | None = None  # folder of the videos that a JSON names
    window: float | None = None  # s
    hop: float | None = None  # s
    predictions: Path | None = None  # file for what was found
    timelines: Path | None = None  # folder for a picture of each video
    out: Path | None = None  # folder for the scores and the card


def holds_segments(path: Path) -> bool:
    """Whether a file is one of segments and not of a network."""
    return path.suffix.lower() in (".json", ".csv")


def score_segments(
    weights: Path,
    data: Path,
    how: SegmentScoring,
    running: tuple[Runtimes, Precisions | None, int | None],
    *,
    json: bool,
) -> None:
    """`p3d evaluate --segments`: of a network, or of segments that anything has found (a file)."""
    if holds_segments(weights):
        evaluate_found(weights, data, how, json=json)
        return
    model = open_model(weights, *running)
    with kept_scores(how.out, None, weights=weights, truth=data) as keep:
        scores = evaluate_segments(model, data, how)
        keep(scores.to_dict())
    _tell(scores, json=json)


def evaluate_found(found: Path, data: Path, how: SegmentScoring, *, json: bool) -> None:
    """Score segments from a file; no network runs."""
    from pseudo3d.data.annotation_files import read_annotations, read_found
    from pseudo3d.engine.segment_evaluate import score_found

    truth = read_annotations(data, how.videos, disk=False).split(how.split)
    with kept_scores(how.out, None, found=found, truth=data) as keep:
        scores = score_found(read_found(found), truth, split=how.split)
        keep(scores.to_dict())
    _tell(scores, json=json)


def evaluate_segments(model: "Runner", data: Path, how: SegmentScoring) -> "SegmentEvaluation":
    """Score a network on long videos; the rule may be chosen on another split before.

    Raises:
        Pseudo3dError: the rule would be chosen on videos that are scored.
    """
    from pseudo3d.data.annotation_files import read_annotations
    from pseudo3d.engine import segment_evaluate as engine
    from pseudo3d.engine.segments import segment_windows

    rule = rule_from(list(how.rule))
    every = read_annotations(data, how.videos).without(rule.background)
    truth = every.split(how.split)
    others = None if how.tune is None else _apart(truth, every.split(how.tune), how)
    plan = segment_windows(model, seconds=how.window, hop=how.hop)

    def seen(part: "Annotations", what: str) -> "Seen":
        with progress_bar(what) as progress:
            return engine.look(model, part, plan, progress=progress)

    choice: Choice | None = None
    if others is not None:
        choice = engine.tune(seen(others, "looking at validation"), aim=how.aim, start=rule)
        note(choice.describe())
    if how.save_rule is not None:
        _save_rule(choice, rule, how.save_rule)
    result = seen(truth, "recognizing")
    scores = engine.score_segments(
        result, rule if choice is None else None, split=how.split, choice=choice
    )
    if how.predictions is not None:
        files = {str(v.path): list(scores.segments[v.name]) for v in result.videos}
        save_found(files, how.predictions, scores.made)
        note(f"segments: {how.predictions}")
    if how.timelines is not None:
        _draw_all(result, scores, how.timelines)
    return scores


def _apart(scored: "Annotations", others: "Annotations", how: SegmentScoring) -> "Annotations":
    """The videos to choose on, after a look that none of them is scored."""
    if {v.name for v in scored.videos} & {v.name for v in others.videos}:
        raise Pseudo3dError(
            f"the rule would be chosen on split {how.tune!r} and scored on {how.split!r}, which "
            "share videos; choose on validation videos and score the others"
        )
    return others


def _save_rule(choice: "Choice | None", rule: "SegmentRule", file: Path) -> None:
    from pseudo3d.report.files import save_bytes

    content = {"rule": rule.to_dict()} if choice is None else choice.to_dict()
    save_bytes(file, (jsonlib.dumps(content, indent=2) + "\n").encode())
    note(f"rule: {file}")


def _draw_all(seen: "Seen", scores: "SegmentEvaluation", folder: Path) -> None:
    """One picture per video, truth above."""
    if scores.rule is None:
        return
    names = unique_names([Path(video.name) for video in seen.videos])
    for video, result, name in zip(seen.videos, seen.predictions, names, strict=True):
        found, path = list(scores.segments[video.name]), folder / f"{name}.png"
        draw(result, scores.rule, found, path, truth=video.marks, title=video.name)
    note(f"timelines: {len(seen.videos)} pictures in {folder}")


def _tell(scores: "SegmentEvaluation", *, json: bool) -> None:
    """Print the scores, how they were measured, and what is missing from them."""
    if json:
        say_json(scores.to_dict())
        return
    for name, text in (*scores.detection.rows(), *scores.segmental.rows()):
        say(f"{name}\t{text}")
    for label, area in scores.detection.per_class.items():
        found, true = scores.segmental.counts[label]
        say(f"  {label}\tAP {area:.1%}, {found} found, {true} true")
    say(f"protocol\t{scores.describe()}")
    for name, why in (*scores.missing.items(), *scores.problems.items()):
        say(f"missing\t{name}\t{why}")
