"""The page that the demo ends with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pseudo3d.data.rendered.motions import ORDER_PAIRS
from pseudo3d.engine.evaluate import Evaluation
from pseudo3d.explain.timecheck import TimeCheck, section
from pseudo3d.report.html import Media, Section, Table, write_page
from pseudo3d.report.plots import bars_png, confusion_png


@dataclass(frozen=True, kw_only=True)
class Result:
    """One trained network and what it scored on people it has not seen."""

    weights: Path
    seconds: float
    scores: Evaluation
    orders: TimeCheck  # the same videos with their frames in other orders

    def among(self, classes: Sequence[str]) -> float:
        """Share of right answers on the videos of some classes."""
        known = self.scores.classes
        chosen = torch.isin(
            self.scores.labels, torch.tensor([known.index(name) for name in classes])
        )
        right = self.scores.probs.argmax(1) == self.scores.labels
        return float(right[chosen].float().mean())

    @property
    def order_only(self) -> float:
        """Share of right answers on all classes that only time order separates."""
        return self.among([name for pair in ORDER_PAIRS for name in pair])


def write_demo_page(
    out: Path, results: Mapping[str, Result], films: int, people: Mapping[str, int]
) -> Path:
    """Draw the scores and write OUT/report.html around them and the pictures already there.

    Args:
        films: how many were trained on.
        people: how many figures the parts "train" and "test" show.
    """
    names = [" / ".join(pair) for pair in ORDER_PAIRS]
    shares = {title: [r.among(pair) for pair in ORDER_PAIRS] for title, r in results.items()}
    title = "right answers on people not seen in training"
    bars_png(names, shares, out / "pairs.png", chance=0.5, title=title)
    scores = results["P3D"].scores
    confusion_png(scores.confusion().numpy(), scores.classes, out / "confusion.png", title="P3D")
    sections = [
        _order(out, results, films, people),
        _proof(out, results),
        _video(out),
        _all_classes(out, results),
        Section(title="The same with your videos", text=_YOURS, code=_COMMANDS),
    ]
    return write_page(out / "report.html", "pseudo3d: what the demo found", sections)


_YOURS = "A folder with one folder of videos per class is enough."
_COMMANDS = """\
p3d train my_videos --out run
p3d evaluate run/weights.safetensors run/manifest.csv --split test
p3d predict run/weights.safetensors new.mp4 --timeline timeline.png"""


def _order(
    out: Path, results: Mapping[str, Result], films: int, people: Mapping[str, int]
) -> Section:
    p3d, twin = results["P3D"], results["2-D twin"]
    return Section(
        title="Does it see the order of time?",
        text=(
            f"Two networks were trained on the same {films} short films of {people['train']} drawn "
            f"people and tested on {people['test']} others. The classes come in pairs that are the "
            "same frames in reverse order: sitting down and standing up, opening and closing. The "
            "2-D twin looks at frames one by one and averages, so half right is the best it can do "
            "within a pair. P3D adds 3x1x1 convolutions over time."
        ),
        cards=[
            (f"{p3d.order_only:.1%}", "P3D on the order-only pairs"),
            (f"{twin.order_only:.1%}", "2-D twin on the same"),
            (f"{p3d.seconds + twin.seconds:.0f} s", "training time, both networks"),
        ],
        media=[Media(out / "pairs.png", "Right answers by pair; the dashed line is guessing.")],
    )


def _proof(out: Path, results: Mapping[str, Result]) -> Section:
    twin = results["2-D twin"].orders
    proof = section(results["P3D"].orders, out / "timecheck.png")
    text = f"The same videos with their frames put into another order. P3D: {proof.text} "
    return replace(proof, text=f"{text}\n\nThe 2-D twin {twin.sentence}.")


def _video(out: Path) -> Section:
    return Section(
        title="A new, long video",
        text=(
            "Somebody not in the training set does one thing after another. The upper band is what "
            "was drawn, the lower one what the network is fairly sure of, in overlapping windows. "
            "It knows twelve actions and nothing else, standing still between two of them included."
        ),
        media=[
            Media(out / "timeline.png", "Labels over time."),
            Media(out / "annotated.mp4", "The video with its label and probability."),
        ],
    )


def _all_classes(out: Path, results: Mapping[str, Result]) -> Section:
    header = ["", "order-only pairs", "all classes", "one clip", "trained in"]
    rows: list[Sequence[str]] = [
        [
            title,
            f"{r.order_only:.1%}",
            f"{r.scores.hit(1):.1%}",
            f"{r.scores.clip_hit1:.1%}",
            f"{r.seconds:.0f} s",
        ]
        for title, r in results.items()
    ]
    return Section(
        title="All classes",
        text=f"Protocol: {results['P3D'].scores.describe()}.",
        tables=[Table(header, rows)],
        media=[Media(out / "confusion.png", "What P3D took for what.")],
    )
