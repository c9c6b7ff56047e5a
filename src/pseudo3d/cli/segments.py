"""`p3d predict --segments`: what happens from when to when; and the options of segments."""

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import key_values, note, say
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.engine.predict import Prediction
    from pseudo3d.engine.segments import Segment, SegmentRule
    from pseudo3d.engine.windows import Windows
    from pseudo3d.runtime.runner import Runner


class Aims(StrEnum):
    """What a rule is chosen for; see `choose_rule`."""

    f1 = "f1"
    mean_ap = "mAP"
    counts = "count"


PRINT = Path("-")  # instead of a file: to stdout
Segments = Annotated[
    Path | None,
    typer.Option(
        help="Save what happens from when to when (.json as ActivityNet's results, or .csv); "
        "'-' prints it."
    ),
]
Rule = Annotated[
    list[str] | None,
    typer.Option(
        help="Segments: a file that `p3d evaluate --segments --save-rule` wrote, or KEY=VALUE "
        "(threshold=0.4, background=rest); repeatable."
    ),
]
Cut = Annotated[
    Path | None, typer.Option(help="Segments: folder for a short video of each one (MP4).")
]
Tune = Annotated[
    str | None,
    typer.Option(
        help="Segments: split whose videos the rule is chosen on, for example val; never the one "
        "that is scored."
    ),
]
Aim = Annotated[Aims, typer.Option(help="Segments: what --tune makes as high as it can be.")]
SaveRule = Annotated[
    Path | None, typer.Option(help="Segments: save the rule for `p3d predict --rule` (JSON).")
]
VideoFolder = Annotated[
    Path | None,
    typer.Option(help="Segments: folder of the videos; default: that of the CSV or JSON."),
]
Pictures = Annotated[
    Path | None,
    typer.Option(help="Segments: folder for a picture of each video, truth above (PNG)."),
]


def rule_from(words: list[str] | None) -> "SegmentRule":
    """The rule of `--rule`: files and KEY=VALUE, each changing what came before.

    Raises:
        Pseudo3dError: a file holds no rule, or a value is none.
    """
    from pseudo3d.engine.segments import SegmentRule, read_rule

    rule = SegmentRule()
    for word in words or []:
        if "=" in word and not Path(word).is_file():
            rule = rule.but(key_values([word]))
        else:
            rule = read_rule(word, rule)
    return rule


@dataclass
class Cutting:
    """`p3d predict --segments`: prints, saves, draws and cuts what was found, video by video."""

    rule: "SegmentRule"
    file: Path | None = None  # JSON or CSV; "-" prints
    folder: Path | None = None  # for a video of each segment
    found: dict[str, list["Segment"]] = field(default_factory=dict)

    @staticmethod
    def of(segments: Path | None, rule: list[str] | None, cut: Path | None) -> "Cutting | None":
        """From the options; None where none of them is given.

        Raises:
            Pseudo3dError: the file is neither JSON nor CSV, or a rule alone is given.
        """
        if segments is None and cut is None:
            if rule:
                raise Pseudo3dError("--rule says how segments are made; add --segments FILE")
            return None
        if segments not in (None, PRINT) and segments.suffix.lower() not in (".json", ".csv"):
            raise Pseudo3dError(f"segments cannot be saved as {segments}; wanted .json or .csv")
        return Cutting(rule_from(rule), segments, cut)

    def windows(self, model: "Runner", plan: "Windows") -> "Windows":
        """How the videos are cut into windows; what the plan leaves open is filled in."""
        from pseudo3d.engine.segments import segment_windows

        full = segment_windows(model, seconds=plan.seconds, hop=plan.hop)
        return replace(full, views=plan.views or full.views)

    def take(
        self,
        file: Path,
        result: "Prediction",
        name: str,
        timeline: Path | None = None,
        *,
        json: bool = False,
    ) -> dict[str, Any]:
        """Find the segments of one video, and do with them what the options want.

        Args:
            name: what the files of the video's segments begin with.
        Returns:
            What is added to the video's JSON.
        """
        from pseudo3d.engine.segments import segments_of

        found = segments_of(result, self.rule)
        self.found[str(file)] = found
        if self.file in (None, PRINT) and not json:
            for s in found:
                say(f"{file}\t{s.start:.2f}\t{s.end:.2f}\t{s.label}\t{s.score:.3f}")
        note(_counted(file, found, result, self.rule))
        if timeline is not None:
            draw(result, self.rule, found, timeline, title=file.name)
            note(f"timeline: {timeline}")
        if self.folder is not None:
            from pseudo3d.report.cut import cut_video

            files = cut_video(file, found, self.folder, name=name)
            note(f"cut: {len(files)} videos in {self.folder}")
        return {"segments": [s.to_dict() for s in found]}

    def save(self) -> None:
        """Write the file, when all videos are seen."""
        if self.file is None or self.file == PRINT:
            return
        save_found(self.found, self.file, f"pseudo3d; {self.rule}")
        note(f"segments: {self.file}")


def _counted(file: Path, found: list["Segment"], result: "Prediction", rule: "SegmentRule") -> str:
    """How many of each label; for none, how near the network came."""
    from pseudo3d.engine.segments import smoothed

    if found:
        counts = sorted(Counter(s.label for s in found).items())
        listed = ", ".join(f"{label} {count}" for label, count in counts)
        return f"{file}: {len(found)} segments: {listed}"
    kept = [k for k, name in enumerate(result.classes) if name not in rule.background]
    highest = float(smoothed(result, rule)[:, kept].max(initial=0.0))
    return (
        f"{file}: no segment; the highest smoothed probability is {highest:.2f}, the threshold "
        f"{rule.threshold:g} (--rule threshold=...)"
    )


def draw(
    result: "Prediction",
    rule: "SegmentRule",
    found: "list[Segment]",
    path: Path,
    *,
    truth: Any = None,
    title: str,
) -> None:
    from pseudo3d.engine.segments import smoothed
    from pseudo3d.report.segments import SegmentPicture, segments_png

    segments_png(
        SegmentPicture(
            times=result.times,
            probs=smoothed(result, rule),
            classes=result.classes,
            found=found,
            truth=truth,
            threshold=rule.threshold,
            background=rule.background,
            title=title,
        ),
        path,
    )


def save_found(found: dict[str, list["Segment"]], file: Path, made: str) -> None:
    """Save segments as ActivityNet's results or as CSV, by the suffix.

    Videos are named by their stem, as ActivityNet does, where that tells them apart; in a CSV by
    their path, from the CSV's folder on.
    """
    from pseudo3d.data.annotation_files import to_activitynet, to_csv
    from pseudo3d.report.files import save_bytes

    if file.suffix.lower() == ".json":
        stems = {name: Path(name).stem.removeprefix("v_") for name in found}
        if len({*stems.values()}) < len(stems):
            stems = {name: name for name in found}
        text = to_activitynet({stems[name]: s for name, s in found.items()}, made)
    else:
        base = file.absolute().parent
        text = to_csv({_from(base, Path(name)): s for name, s in found.items()})
    save_bytes(file, text.encode())


def _from(base: Path, path: Path) -> str:
    """A path as seen from a folder above it, else the whole path."""
    home = path.absolute()
    return (home.relative_to(base) if home.is_relative_to(base) else home).as_posix()
