"""Sports-1M (Karpathy et al., CVPR 2014): 487 sports, one or more to a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlparse

import numpy as np
from jaxtyping import Float

from pseudo3d.engine.judge import Model, judge
from pseudo3d.errors import ManifestError
from pseudo3d.protocols.base import (
    NOTES,
    Benchmark,
    Entry,
    Listing,
    Progress,
    Published,
    Score,
    Split,
    admit,
    expect,
)
from pseudo3d.protocols.looking import clip_probs, columns, input_deviations, span_of, usable
from pseudo3d.protocols.options import choices, deviations, option
from pseudo3d.protocols.reading import Disk, find, lines_of, wrong_line
from pseudo3d.protocols.scoring import Truth, hit, truth_of

CLASSES = 487
OWN_SPLIT = (
    "official lists; the paper split the videos itself (70/10/20), so its figures are of other "
    "test videos"
)


@dataclass(frozen=True, kw_only=True)
class Sports1M(Benchmark):
    """Clip and video hits of a network on videos of one or more classes."""

    name: ClassVar[str] = "sports1m"
    title: ClassVar[str] = "Sports-1M, multi-label"
    reads: ClassVar[tuple[str, ...]] = (
        "labels.txt: 487 names, line 0 first",
        "original/{train,test}_partition.txt: `<URL> 168,169`, plain or gzip-ed",
        "cross-validation/sportsX_{train,test}.txt, X from 0 to 9, with lists=cross-validation",
        "<YouTube id>.mp4 (or another suffix) anywhere below the root",
    )
    samples: ClassVar[str] = "20 clips of 16 consecutive frames at random places, center crop"
    scores: ClassVar[str] = (
        "clip hit@1, video hit@1 and hit@5 of the mean probabilities; right is any of a video's "
        "labels"
    )
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "P3D ResNet, clip hit@1/video hit@1/hit@5", "47.9/66.4/87.4 %", f"Table 2; {NOTES}"
        ),
        Published("ResNet-152", "46.5/64.6/86.4 %", f"paper, Table 2; {NOTES}"),
        Published("C3D, from I380K", "46.1/61.1/85.2 %", f"paper, Table 2; {NOTES}"),
        Published("Convolutional pooling", "70.8/72.3/90.8 %", f"paper, Table 2; {NOTES}"),
    )

    clips: int = option(20, "clips per video")
    placed: Literal["random", "even"] = option("random", "where the clips of a video start")
    seed: int = option(0, "of the random places", "silent")
    lists: Literal["original", "cross-validation"] = option("original", "which lists", "silent")
    fold: int = option(0, "of the cross-validation, 0 to 9", "silent")
    shared: Literal["keep", "drop"] = option(
        "keep", "test videos that are in the training list, too", "silent"
    )

    def read(self, root: str | Path) -> Listing:
        """Read labels and lists; videos in both lists are counted, not refused."""
        root = Path(root)
        names = [line for _, line in lines_of(find(root, "labels.txt"))]
        wrong = expect("labels", len(names), CLASSES)
        disk = Disk(root, "")
        train, test = (_entries(find(root, name), names, disk) for name in self._files())
        both = {entry.name for entry in train} & {entry.name for entry in test}
        notes = disk.note()
        if both:
            done = "kept" if self.shared == "keep" else "left out of the test"
            notes += (f"{len(both)} of {len(test)} test videos are in training, too; {done}",)
        several = sum(len(entry.labels) > 1 for entry in test)
        notes += (f"{several} of {len(test)} test videos have several labels",)
        if self.shared == "drop":
            test = tuple(entry for entry in test if entry.name not in both)
        # the network is trained already: the training list only tells what is shared
        split = Split(name=self.lists, test=test)
        return Listing(root=root, classes=tuple(names), splits=(split,), wrong=wrong, notes=notes)

    def _files(self) -> tuple[str, str]:
        if self.lists == "original":
            return "original/train_partition.txt", "original/test_partition.txt"
        if not 0 <= self.fold <= 9:
            raise ValueError(f"fold is {self.fold}; wanted 0 to 9")
        stem = f"cross-validation/sports{self.fold}"
        return f"{stem}_train.txt", f"{stem}_test.txt"

    def run(
        self,
        root: str | Path,
        weights: Model,
        *,
        partial: bool = False,
        keep: Path | None = None,
        progress: Progress | None = None,
    ) -> Score:
        """Score a network; see `Benchmark.run`."""
        listing = self.read(root)
        told = [*admit(listing, partial), OWN_SPLIT, *deviations(self)]
        ready = judge(weights, 1)
        told += input_deviations(ready.pre, resize=182)
        found = usable(listing, span_of(ready.pre), progress)
        if found.missing:
            told.insert(0, f"{len(found.missing)} listed videos left out")
        entries = found.listing.splits[0].test
        order = columns(ready, listing.classes)
        probs = clip_probs(
            ready,
            entries,
            self.clips,
            random=self.placed == "random",
            seed=self.seed,
            progress=progress,
        )[:, :, order]
        truth = truth_of([entry.labels for entry in entries], listing.classes)
        return Score(
            protocol=self.name,
            figures=figures(probs, truth),
            measured=f"{self.clips} clips per video at {self.placed} places; {self.scores}",
            counts={
                "classes": len(listing.classes),
                "videos": len(entries),
                "labels": int(np.count_nonzero(truth)),
            },
            deviations=tuple(told),
            choices=tuple(choices(self)),
            notes=found.notes,
            missing=found.missing,
            published=self.published,
        )


def _entries(path: Path, names: Sequence[str], disk: Disk) -> tuple[Entry, ...]:
    """Lines `<URL> 168,169`."""
    out = []
    for number, line in lines_of(path):
        url, _, text = line.partition(" ")
        ids = [part.strip() for part in text.split(",") if part.strip()]
        if not all(part.isdigit() for part in ids):
            raise wrong_line(path, number, line, "`<URL> 168,169`")
        if far := [part for part in ids if int(part) >= len(names)]:
            raise ManifestError(
                f"{path}, line {number}: label {far[0]}, but labels.txt has {len(names)} lines, "
                "counted from 0"
            )
        name = _id(url)
        labels = tuple(names[int(part)] for part in dict.fromkeys(ids))
        out.append(Entry(name=name, path=disk.named(name), labels=labels))
    return tuple(out)


def _id(url: str) -> str:
    """Of a YouTube URL; what is no such URL is the name itself."""
    parts = urlparse(url)
    return parse_qs(parts.query).get("v", [parts.path.rsplit("/", 1)[-1]])[0]


def figures(probs: Float[np.ndarray, "v c k"], truth: Truth) -> dict[str, float]:
    """Hits of single clips, and of the mean over the clips of a video."""
    per_clip, mean = probs.reshape(-1, probs.shape[2]), probs.mean(1)
    return {
        "clip_hit@1": hit(per_clip, truth.repeat(probs.shape[1], axis=0)),
        "video_hit@1": hit(mean, truth),
        "video_hit@5": hit(mean, truth, 5),
    }
