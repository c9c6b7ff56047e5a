"""What every benchmark is made of: entries of its lists, a score that says how it was measured."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.engine.judge import Model
from pseudo3d.errors import ManifestError
from pseudo3d.protocols import options

Progress = Callable[[int, int], None]

NOTES = "second-hand: two public sets of notes on the paper that agree"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a benchmark's list: a video, or a span of it."""

    name: str  # as the list has it
    path: Path | None  # None: not on the disk
    labels: tuple[str, ...]  # none: the list does not tell
    group: str | None = None  # what must not be in training and test
    start: float | None = None  # s
    end: float | None = None  # s

    @property
    def item(self) -> Item:
        """As an item of a manifest.

        Raises:
            ManifestError: the video is not on the disk.
        """
        if self.path is None:
            raise ManifestError(f"{self.name} is not on the disk")
        label = self.labels[0] if self.labels else ""
        return Item(path=self.path, label=label, group=self.group, start=self.start, end=self.end)


@dataclass(frozen=True, kw_only=True)
class Split:
    """What is trained on and what is scored."""

    name: str
    train: tuple[Entry, ...] = ()
    test: tuple[Entry, ...]

    def manifest(self, classes: tuple[str, ...]) -> Manifest:
        """What of it is on the disk and labeled, as a manifest to train on."""
        items = [
            replace(entry.item, split=name)
            for name, part in (("train", self.train), ("test", self.test))
            for entry in part
            if entry.path is not None and entry.labels
        ]
        return Manifest(tuple(items), classes)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A benchmark's lists, as read, beside what is on the disk."""

    root: Path
    classes: tuple[str, ...]
    splits: tuple[Split, ...]
    wrong: tuple[str, ...] = ()  # counts that are not the published ones
    notes: tuple[str, ...] = ()  # oddities that were met, counted

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every entry once, in the order of the lists."""
        found = (e for split in self.splits for part in (split.train, split.test) for e in part)
        return tuple(dict.fromkeys(found))

    @property
    def missing(self) -> dict[str, str]:
        """Listed videos that are not on the disk."""
        return {e.name: "not on the disk" for e in self.entries if e.path is None}


@dataclass(frozen=True)
class Published:
    """A figure somebody has published, and where."""

    what: str
    figures: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures in [0, 1] and everything without which they mean nothing."""

    protocol: str
    figures: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by split or fold
    measured: str  # what was sampled and scored, in words
    counts: Mapping[str, int] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)  # left out -> why
    published: tuple[Published, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "protocol": self.protocol,
            **self.figures,
            "parts": {name: dict(values) for name, values in self.parts.items()},
            "measured": self.measured,
            "counts": dict(self.counts),
            "deviations": list(self.deviations),
            "choices": list(self.choices),
            "notes": list(self.notes),
            "missing": dict(self.missing),
            "published": [vars(p) for p in self.published],
        }

    def lines(self) -> list[str]:
        """Tab-separated lines for a reader, the figures first."""
        out = [f"{name}\t{value:.1%}" for name, value in self.figures.items()]
        if 1 < len(self.parts) <= 10:
            for part, values in self.parts.items():
                told = ", ".join(f"{name} {value:.1%}" for name, value in values.items())
                out.append(f"  {part}\t{told}")
        out.append(f"protocol\t{self.protocol}: {self.measured}")
        out += [f"count\t{name}\t{value}" for name, value in self.counts.items()]
        out += [f"deviation\t{text}" for text in self.deviations or ("none",)]
        out += [f"choice\t{text}" for text in self.choices]
        out += [f"note\t{text}" for text in self.notes]
        out += [f"missing\t{name}\t{why}" for name, why in self.missing.items()]
        return out + [f"published\t{p.what}\t{p.figures}\t{p.source}" for p in self.published]


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A protocol: frozen options, and how its files are read, sampled and scored."""

    name: ClassVar[str]
    title: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]  # files below the root
    samples: ClassVar[str]
    scores: ClassVar[str]
    published: ClassVar[tuple[Published, ...]] = ()
    classified: ClassVar[bool] = False  # the network's own classes are scored

    def __post_init__(self) -> None:
        options.check_options(self)

    @abstractmethod
    def read(self, root: str | Path) -> Listing:
        """Read the lists and look for their videos below `root`.

        Raises:
            ManifestError: a list is missing, damaged, or lets training into the test.
        """

    @abstractmethod
    def run(
        self,
        root: str | Path,
        weights: Model,
        *,
        partial: bool = False,
        keep: Path | None = None,
        progress: Progress | None = None,
    ) -> Score:
        """Score a network.

        Args:
            partial: go on where counts are not the published ones; the score says so.
            keep: folder for features, so that a broken run goes on.
        Raises:
            ManifestError: the lists or the disk do not allow a score.
        """

    def describe(self) -> str:
        """What will be read, sampled and scored, and the published figures."""
        out = [f"{self.name}: {self.title}", "", "reads"]
        out += [f"  {line}" for line in self.reads]
        out += ["", "samples", f"  {self.samples}", "", "scores", f"  {self.scores}", "", "options"]
        out += [f"  {name}={value}  {about}" for name, value, about in options.table(self)]
        out += ["", "published"]
        out += [f"  {p.what}: {p.figures} [{p.source}]" for p in self.published]
        if not self.published:
            out.append("  no P3D figure is known")
        return "\n".join(out)


def admit(listing: Listing, partial: bool) -> list[str]:
    """Let a listing pass, or refuse it; gives the deviations its wrong counts make.

    Raises:
        ManifestError: wrong counts without `partial`, an entry that is listed twice, or a video
            in training and test.
    """
    root = listing.root
    for split in listing.splits:
        refuse_leaks(root, split)
    if listing.wrong and not partial:
        raise ManifestError(
            f"{root}: {'; '.join(listing.wrong)}. A score on other lists is another score; "
            "mend the lists, or go on with --partial"
        )
    return list(listing.wrong)


def refuse_leaks(root: Path, split: Split) -> None:
    """No video twice in a part, no video and no group in training and test.

    Raises:
        ManifestError: naming them.
    """
    for part in (split.train, split.test):
        times = Counter(entry.name for entry in part)
        if twice := [name for name, count in times.items() if count > 1]:
            raise ManifestError(
                f"{root}: {len(twice)} videos are listed twice in split {split.name}: "
                f"{some(twice)}; keep one line of each"
            )
    for what, key in (("videos", _video), ("groups", _group)):
        both = {key(e) for e in split.train} & {key(e) for e in split.test} - {None}
        if both:
            raise ManifestError(
                f"{root}: {len(both)} {what} are in training and test of split {split.name}: "
                f"{some(sorted(map(str, both)))}; the score would count what was learned by heart"
            )


def _video(entry: Entry) -> str:
    return str(entry.path) if entry.path is not None else entry.name


def _group(entry: Entry) -> str | None:
    return entry.group


def expect(what: str, got: int, published: int) -> tuple[str, ...]:
    """A sentence if a count is not the published one."""
    return () if got == published else (f"{what}: {got:,}, published {published:,}",)


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few names."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
