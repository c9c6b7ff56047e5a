"""Recognition with train and test lists: the network's own answers, or a linear SVM on features.

Shared by UCF101, HMDB51, Kinetics, ActivityNet, the scene sets, list files and folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float

from pseudo3d.engine.judge import Judge, Model, judge
from pseudo3d.features.featureset import Normalize, normalized, unit
from pseudo3d.features.sources import Extractor, open_extractor
from pseudo3d.protocols.base import Benchmark, Entry, Listing, Progress, Score, Split, admit
from pseudo3d.protocols.classify import reduced, svm_scores
from pseudo3d.protocols.flow import flow_entries
from pseudo3d.protocols.looking import (
    EXTERNAL,
    Vectors,
    check_classes,
    clip_probs,
    columns,
    input_deviations,
    span_of,
    usable,
    vectors,
    without,
)
from pseudo3d.protocols.options import choices, deviations, option
from pseudo3d.protocols.scoring import Scores, Truth, hit, standard_error, truth_of

Probs = Float[np.ndarray, "v c k"]


@dataclass
class Work:
    """What a run is given, and what it learns on its way."""

    weights: Model
    keep: Path | None
    progress: Progress | None
    listing: Listing
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)

    def drop(self, missing: dict[str, str]) -> None:
        """Leave entries out and count them."""
        self.missing |= missing
        self.listing = without(self.listing, self.missing)


@dataclass(frozen=True, kw_only=True)
class Recognition(Benchmark):
    """Options and run of a recognition protocol."""

    task: Literal["svm", "end_to_end"] = option(
        "svm", "linear SVM on features, or the network's own classes", "variant"
    )
    clips: int = option(20, "clips per video, spread evenly, one center crop each")
    layer: str = option("pool5", "features: mean over the clips of this layer")
    mirror: bool = option(False, "average each clip's features with its mirror image's", "silent")
    normalize: tuple[Normalize, ...] = option(("ssqrt", "l2"), "of the features", "silent")
    cost: float = option(1.0, "C of the SVM", "silent")
    solver: Literal["liblinear", "libsvm"] = option("liblinear", "of the SVM", "silent")
    flow: str | None = option(
        None, "weights of a flow network, fused with RGB by scores", "variant"
    )
    flow_share: float = option(1.0, "weight of the flow scores; RGB has 1", "silent")
    flow_folder: str = option("flow", "where flow videos are kept, from the root", "silent")
    external: str | None = option(None, "file of other features, e.g. IDT, side by side", "variant")
    pca: tuple[int, ...] = option((), "also score features reduced to these sizes", "variant")

    input: ClassVar[tuple[int, int]] = (182, 160)  # short side and crop, end to end
    with_error: ClassVar[bool] = False  # tell the standard error over the splits

    def measure(self, scores: Scores, truth: Truth) -> dict[str, float]:
        """Figures of a split, video by video."""
        out = {"video_hit@1": hit(scores, truth)}
        return out | ({"video_hit@5": hit(scores, truth, 5)} if truth.shape[1] > 5 else {})

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
        wrong = admit(listing, partial)
        work = Work(weights, keep, progress, listing)
        work.deviations = wrong + deviations(self)
        parts = self._own(work) if self.task == "end_to_end" else self._svm(work)
        return self._score(work, parts)

    def _prepare(self, work: Work, needed: int) -> None:
        found = usable(work.listing, needed, work.progress)
        work.notes += found.notes
        work.missing, work.listing = found.missing, found.listing

    # A linear SVM on features

    def _svm(self, work: Work) -> dict[str, dict[str, float]]:
        extractor = self._extractor(work.weights)
        work.deviations += input_deviations(extractor.pre)
        self._prepare(work, span_of(extractor.pre))
        streams = [(1.0, self._vectors(work, extractor, work.listing.entries, "rgb"))]
        if self.flow is not None:
            flow = self._extractor(self.flow)
            entries = self._flow(work, flow.pre.resize)
            streams.append((self.flow_share, self._vectors(work, flow, entries, "flow")))
        return {split.name: self._fit(work, split, streams) for split in work.listing.splits}

    def _extractor(self, weights: Model) -> Extractor:
        return open_extractor(weights, (self.layer,))

    def _vectors(
        self, work: Work, extractor: Extractor, entries: Sequence[Entry], stream: str
    ) -> Vectors:
        found = vectors(
            extractor,
            entries,
            self.clips,
            mirror=self.mirror,
            external=self.external if stream == "rgb" else None,
            out=work.keep / f"{self.name}-{stream}.npz" if work.keep is not None else None,
            progress=work.progress,
        )
        work.drop(found.missing)
        return found

    def _flow(self, work: Work, size: int) -> tuple[Entry, ...]:
        folder = work.listing.root / self.flow_folder
        entries = flow_entries(work.listing.entries, folder, size, progress=work.progress)
        work.deviations.append("flow is OpenCV's DIS; the released flow network took TV-L1")
        return entries

    def _fit(
        self, work: Work, split: Split, streams: Sequence[tuple[float, Vectors]]
    ) -> dict[str, float]:
        check_classes(split)
        classes = work.listing.classes
        train = truth_of([e.labels for e in split.train], classes)
        truth = truth_of([e.labels for e in split.test], classes)
        total: Scores | float = 0.0
        figures: dict[str, float] = {}
        cut, fused = len(split.train), len(streams) > 1
        for i, (share, stream) in enumerate(streams):
            x = self._rows(stream, split)
            scores = svm_scores(x[:cut], train, x[cut:], self.cost, self.solver, fused=fused)
            total = total + share * scores
            if i == 0 and self.pca:
                figures = self._reduced(work, x, train, truth)
        return self.measure(np.asarray(total), truth) | figures

    def _rows(self, stream: Vectors, split: Split) -> Float[np.ndarray, "v f"]:
        """Training rows, then test rows."""
        rows = stream.rows((*split.train, *split.test))
        x = normalized(stream.layers[self.layer][rows], self.normalize, range(len(split.train)))
        if EXTERNAL not in stream.layers:
            return x
        return np.concatenate([x, unit(stream.layers[EXTERNAL][rows])], axis=1)

    def _reduced(
        self,
        work: Work,
        x: Float[np.ndarray, "n f"],
        train: Bool[np.ndarray, "v k"],
        truth: Bool[np.ndarray, "t k"],
    ) -> dict[str, float]:
        cut = len(train)
        found, notes = reduced(x, range(cut), self.pca)
        work.notes += [note for note in notes if note not in work.notes]
        return {
            f"pca{size}_video_hit@1": hit(
                svm_scores(y[:cut], train, y[cut:], self.cost, self.solver), truth
            )
            for size, y in found.items()
        }

    # The network's own answers

    def _own(self, work: Work) -> dict[str, dict[str, float]]:
        splits = tuple(replace(split, train=()) for split in work.listing.splits)
        work.listing = replace(work.listing, splits=splits)  # nothing is trained here
        several = "{split}" in str(work.weights)
        if len(splits) > 1 and not several:
            work.deviations.append(
                "one network for all splits; wanted one trained on each split's training list "
                "(--weights 'run{split}/weights.safetensors')"
            )
        ready = judge(_of_split(work.weights, splits[0].name), 1)
        work.deviations += input_deviations(
            ready.pre, resize=self.input[0], size=(self.input[1],) * 2
        )
        self._prepare(work, span_of(ready.pre))
        parts: dict[str, dict[str, float]] = {}
        for split in work.listing.splits:
            if several:
                ready = judge(_of_split(work.weights, split.name), 1)
            parts[split.name] = self._answers(work, ready, split)
        return parts

    def _answers(self, work: Work, ready: Judge, split: Split) -> dict[str, float]:
        classes = work.listing.classes
        probs = self._probs(work, ready, split.test)
        if self.flow is not None:
            flow = judge(_of_split(self.flow, split.name), 1)
            only = replace(work, listing=replace(work.listing, splits=(replace(split, train=()),)))
            entries = self._flow(only, flow.pre.resize)
            probs = probs + self.flow_share * self._probs(work, flow, entries)
        truth = truth_of([e.labels for e in split.test], classes)
        clip = hit(probs.reshape(-1, len(classes)), truth.repeat(self.clips, axis=0))
        return {"clip_hit@1": clip} | self.measure(probs.mean(1), truth)

    def _probs(self, work: Work, ready: Judge, entries: Sequence[Entry]) -> Probs:
        order = columns(ready, work.listing.classes)
        return clip_probs(ready, entries, self.clips, progress=work.progress)[:, :, order]

    def _score(self, work: Work, parts: dict[str, dict[str, float]]) -> Score:
        names = next(iter(parts.values()))
        figures = {n: float(np.mean([p[n] for p in parts.values() if n in p])) for n in names}
        if self.with_error and len(parts) > 1:
            first = next(n for n in names if n != "clip_hit@1")
            figures[f"{first}_se"] = standard_error([p[first] for p in parts.values()])
        told = [f"{len(work.missing)} listed videos left out"] if work.missing else []
        return Score(
            protocol=self.name,
            figures=figures,
            parts=parts,
            measured=self.words(),
            counts=_counts(work.listing),
            deviations=tuple(dict.fromkeys([*told, *work.deviations])),
            choices=tuple(choices(self)),
            notes=tuple(work.notes),
            missing=work.missing,
            published=self.published,
        )

    def words(self) -> str:
        """What was sampled and scored, in words."""
        how = (
            f"linear SVM on the mean {self.layer} of {self.clips} clips"
            if self.task == "svm"
            else f"mean of the probabilities of {self.clips} clips, center crop"
        )
        more = [how]
        if self.flow is not None:
            more.append(f"RGB + {self.flow_share:g} x flow, fused by scores")
        if self.external is not None:
            more.append("with external features side by side")
        return "; ".join([*more, self.scores])


def _of_split(weights: Model, split: str) -> Model:
    """`run{split}/weights` -> `run1/weights`."""
    if isinstance(weights, str | Path) and "{split}" in str(weights):
        return str(weights).replace("{split}", split)
    return weights


def _counts(listing: Listing) -> dict[str, int]:
    out = {"classes": len(listing.classes), "videos": len(listing.entries)}
    if len(listing.splits) > 10:
        return out | {"folds": len(listing.splits)}
    for split in listing.splits:
        if split.train:
            out[f"{split.name} train"] = len(split.train)
        out[f"{split.name} test"] = len(split.test)
    return out
