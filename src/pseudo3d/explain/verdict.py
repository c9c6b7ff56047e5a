"""What a network answers with the frames in several orders, and whether it uses the order."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from pseudo3d.engine.evaluate import Protocol
from pseudo3d.explain.bootstrap import CONFIDENCE, Interval, bootstrap, interval
from pseudo3d.explain.orders import IN_ORDER, REVERSED, SHUFFLED
from pseudo3d.report.html import Media, Section, Table
from pseudo3d.report.maps import timecheck_png

Unit = Literal["video", "scan"]
Verdict = Literal["uses order", "does not use order", "not decided"]
MARGIN = 0.05  # a change of accuracy below this is called none
SAME = 1e-3  # a change of probability below this is the arithmetic's


@dataclass(frozen=True, kw_only=True)
class TimeCheck:
    """Answers of a network to the same videos with their frames in several orders.

    Or to scans (`unit`) with their slices in several orders: what is said of frames holds for them.
    """

    protocol: Protocol
    classes: tuple[str, ...]
    ways: tuple[str, ...]  # condition of each row of `probs`; one row for each shuffle
    probs: Float[np.ndarray, "w v k"]  # mean over the views of a video
    labels: Int64[np.ndarray, " v"]
    paths: tuple[Path, ...]
    seed: int
    missing: dict[Path, str] = field(default_factory=dict)  # left out, and why
    unit: Unit = "video"

    @property
    def conditions(self) -> tuple[str, ...]:
        """What was tried, in order first."""
        return tuple(dict.fromkeys(self.ways))

    @property
    def parts(self) -> str:
        """What was put into another order."""
        return "frames" if self.unit == "video" else "slices"

    @cached_property
    def right(self) -> Float[np.ndarray, "v c"]:
        """Whether each video is recognized in each condition; for shuffled, how often."""
        hits = self.probs.argmax(2) == self.labels
        rows = [hits[self._rows(name)].mean(0) for name in self.conditions]
        return np.stack(rows, axis=1)

    def accuracy(self, condition: str) -> Interval:
        """video_hit@1 in a condition."""
        column = self.conditions.index(condition)
        return interval(self.right[:, column].mean(), self._draws[:, column])

    def drop(self, condition: str) -> Interval:
        """What the condition costs: video_hit@1 in order minus video_hit@1 in it, paired."""
        column = self.conditions.index(condition)
        loss = (self.right[:, 0] - self.right[:, column]).mean()
        return interval(loss, self._draws[:, 0] - self._draws[:, column])

    def changed(self, condition: str) -> float:
        """Share of the videos whose answer is another than in order."""
        answers = self.probs.argmax(2)
        return float((answers[self._rows(condition)] != answers[0]).mean())

    @property
    def verdict(self) -> Verdict:
        """Whether the network uses the order of frames.

        No, if no probability moves by more than 0.1 % when frames are shuffled or reversed. Else
        the intervals of these two losses decide: yes, if one excludes 0; no, if both lie within 5
        points of 0 and the network, in order, is better than guessing, so that there was something
        to lose. Anything else is not decided.
        """
        if self._moved < SAME:
            return "does not use order"
        if any(loss.low > 0 or loss.high < 0 for loss in self._losses):
            return "uses order"
        near = all(loss.low >= -MARGIN and loss.high <= MARGIN for loss in self._losses)
        return "does not use order" if near and self._knows else "not decided"

    @property
    def decided(self) -> bool:
        """Whether the verdict says yes or no."""
        return self.verdict != "not decided"

    @property
    def sentence(self) -> str:
        """The verdict with the figures behind it."""
        shown = (IN_ORDER, SHUFFLED, REVERSED)
        figures = ", ".join(f"{percent(self.accuracy(name).value)} {name}" for name in shown)
        what = self.verdict + (" of slices" if self.unit == "scan" and self.decided else "")
        if self.verdict == "uses order" and not any(loss.low > 0 for loss in self._losses):
            return f"{what}, but not to its advantage: {figures}"
        if self.decided:
            return f"{what}: {figures}"
        if not self._knows:
            guess = percent(self.guessing)
            return f"not decided: {figures}; no better than guessing ({guess}), nothing to lose"
        most = max(abs(end) for loss in self._losses for end in loss[1:])
        videos = f"on {len(self.labels)} {self.unit}s"
        return f"not decided: {figures}; {videos} the loss may be 0 or {100 * most:.0f} points"

    @property
    def _losses(self) -> tuple[Interval, Interval]:
        return self.drop(SHUFFLED), self.drop(REVERSED)

    @property
    def _knows(self) -> bool:
        """Whether the network, in order, is better than guessing."""
        return self.accuracy(IN_ORDER).low > self.guessing

    def per_class(self) -> dict[str, dict[str, float]]:
        """video_hit@1 in each condition, for each class that has videos."""
        return {
            name: dict(zip(self.conditions, self.right[chosen].mean(0).tolist(), strict=True))
            for k, name in enumerate(self.classes)
            if (chosen := self.labels == k).any()
        }

    @property
    def guessing(self) -> float:
        """What always answering the most frequent class scores."""
        return max(Counter(self.labels.tolist()).values()) / len(self.labels)

    def describe(self) -> str:
        """How this was measured, to stand beside every figure."""
        p, left = self.protocol, len(self.missing)
        looked = "slices across the depth axis"
        if self.unit == "video":
            views = f"{p.views} view{'s'[: p.views > 1]}"
            looked = f"{views} (center crop), mean of probabilities"
        text = (
            f"split {p.split}, {len(self.paths)} {self.unit}s, {looked}, "
            f"{self.ways.count(SHUFFLED)} shuffles, seed {self.seed}; "
            f"{CONFIDENCE:.0%} intervals: paired bootstrap over {self.unit}s"
        )
        return text + (f", {left} unreadable left out" if left else "")

    def to_dict(self) -> dict[str, Any]:
        """Everything but the probabilities, for JSON."""
        rows = {
            name: {
                f"{self.unit}_hit@1": self.accuracy(name)._asdict(),
                "loss": self.drop(name)._asdict(),
                "changed_answers": self.changed(name),
            }
            for name in self.conditions
        }
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "conditions": rows,
            "per_class": self.per_class(),
            "most_frequent_class": self.guessing,
            "protocol": self.describe(),
            f"{self.unit}s": len(self.paths),
            "views": self.protocol.views,
            "seed": self.seed,
            "missing": {str(path): why for path, why in self.missing.items()},
        }

    def _rows(self, condition: str) -> list[int]:
        return [i for i, name in enumerate(self.ways) if name == condition]

    @property
    def _moved(self) -> float:
        """Largest change of a probability by another order."""
        rows = self._rows(SHUFFLED) + self._rows(REVERSED)
        return float(np.abs(self.probs[rows] - self.probs[0]).max())

    @cached_property
    def _draws(self) -> Float[np.ndarray, "draws c"]:
        return bootstrap(self.right, self.seed)


def draw(found: TimeCheck, path: str | Path) -> Path:
    """The bars with their intervals, and below them the classes, as PNG."""
    return timecheck_png(
        {name: found.accuracy(name) for name in found.conditions},
        path,
        per_class=found.per_class(),
        guessing=found.guessing,
        title=found.sentence,
    )


def section(found: TimeCheck, picture: str | Path) -> Section:
    """The part of a report that says whether the network uses time; draws `picture`."""
    rows = [
        [name, *(f"{share:.1%}" for share in found.accuracy(name)), f"{found.changed(name):.1%}"]
        for name in found.conditions
    ]
    header = [found.parts, "accuracy", "from", "to", "other answer than in order"]
    return Section(
        title="Does it use time?" if found.unit == "video" else "Does it use the order of slices?",
        text=f"The network {found.sentence}." if found.decided else f"{found.sentence}.",
        media=[Media(draw(found, picture), f"Right answers by order of the {found.parts}.")],
        tables=[Table(header, rows, caption=found.describe())],
    )


def percent(share: float) -> str:
    """As in the verdict: whole percent."""
    return f"{100 * share:.0f} %"
