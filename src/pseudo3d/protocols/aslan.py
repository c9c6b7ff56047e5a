"""ASLAN (Kliper-Gross, Hassner, Wolf, PAMI 2012): do two videos show the same action?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int64

from pseudo3d.engine.judge import Model
from pseudo3d.errors import ManifestError
from pseudo3d.features.featureset import unit
from pseudo3d.features.sources import open_extractor
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
from pseudo3d.protocols.classify import svm_scores
from pseudo3d.protocols.looking import Vectors, input_deviations, span_of, usable, vectors
from pseudo3d.protocols.matfile import read_mat
from pseudo3d.protocols.options import choices, deviations, option
from pseudo3d.protocols.reading import Disk, find
from pseudo3d.protocols.scoring import area_of_mean_roc, standard_error
from pseudo3d.protocols.similarities import SIMILARITIES, told
from pseudo3d.protocols.similarities import similarities as alike

PAIRS, FOLDS = 600, 10  # pairs in a fold: 300 of the same action, 300 not
Pairs = Int64[np.ndarray, "n 5"]  # id1, id2, same, action1, action2
_VARIABLE = "action_splits_pairs"


@dataclass(frozen=True, kw_only=True)
class Aslan(Benchmark):
    """View 2: test on each of ten folds, train on the other nine."""

    name: ClassVar[str] = "aslan"
    title: ClassVar[str] = "ASLAN, action similarity, view 2"
    reads: ClassVar[tuple[str, ...]] = (
        "View2.mat: action_splits_pairs, 600 x 5 x 10 (id1, id2, same, action1, action2)",
        "ASLAN_AVI/0001.avi ... 3697.avi",
    )
    samples: ClassVar[str] = (
        "clips of 16 consecutive frames, spread evenly; four layers, each the mean over the clips"
    )
    scores: ClassVar[str] = (
        "linear SVM on 4 layers x 12 similarities = 48 numbers of a pair; mean accuracy of ten "
        "folds +- standard error, area under the mean ROC curve"
    )
    published: ClassVar[tuple[Published, ...]] = (
        Published("P3D ResNet, accuracy/AUC", "80.8/87.9 %", f"paper, Table 5; {NOTES}"),
        Published("C3D", "78.3/86.5 %", f"paper, Table 5; {NOTES}"),
        Published("ResNet-152", "70.4/77.4 %", f"paper, Table 5; {NOTES}"),
        Published("IDT + Fisher vector", "68.7/75.4 %", f"paper, Table 5; {NOTES}"),
    )

    layers: tuple[str, ...] = option(
        ("prob", "pool5", "res5", "res4"), "what the stages end with: the paper's res5c, res4b35"
    )
    clips: int = option(20, "clips per video, spread evenly, one center crop each")
    pooling: Literal["mean", "none"] = option(
        "mean", "res5 and res4: averaged over time and space, or as they are", "silent"
    )
    similarities: tuple[str, ...] = option(tuple(SIMILARITIES), "of two vectors", "silent")
    normalization: Literal["p3d", "c3d"] = option(
        "p3d", "p3d: the 48 numbers at length 1; c3d: features at length 1, numbers z-scored"
    )
    cost: float = option(1.0, "C of the SVM", "silent")
    solver: Literal["liblinear", "libsvm"] = option("liblinear", "of the SVM", "silent")

    def read(self, root: str | Path) -> Listing:
        """The videos of all pairs as the test of ten splits; see `Benchmark.read`."""
        root = Path(root)
        folds = self.pairs(root)
        disk = Disk(root, "ASLAN_AVI", "videos", "")
        wrong = expect("folds", len(folds), FOLDS)
        splits = []
        for k, fold in enumerate(folds, start=1):
            wrong += expect(f"pairs of fold {k}", len(fold), PAIRS)
            wrong += expect(f"pairs of the same action in fold {k}", int(fold[:, 2].sum()), 300)
            ids = sorted({*fold[:, 0].tolist(), *fold[:, 1].tolist()})
            splits.append(Split(name=str(k), test=tuple(_entry(i, disk) for i in ids)))
        notes = (*_shared_actions(folds), *disk.note())
        classes = ("different", "same")
        return Listing(root=root, classes=classes, splits=tuple(splits), wrong=wrong, notes=notes)

    def pairs(self, root: Path) -> list[Pairs]:
        """Pairs of each fold.

        Raises:
            ManifestError: no such array, or one of another form.
        """
        path = find(root, "View2.mat", "Splits/View2.mat", "ASLAN_AVI/View2.mat")
        found = read_mat(path, _VARIABLE)
        if found.ndim != 3 or found.shape[1] != 5 or not np.isin(found[:, 2], (0, 1)).all():
            raise ManifestError(
                f"{path}: {_VARIABLE} is {found.shape}; wanted (600, 5, 10), its third column "
                "0 or 1"
            )
        return [found[:, :, k].astype(np.int64) for k in range(found.shape[2])]

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
        notes = [*admit(listing, partial), *deviations(self)]
        extractor = open_extractor(weights, self.layers, pooling=self.pooling)
        notes += input_deviations(extractor.pre)
        found = usable(listing, span_of(extractor.pre), progress)
        out = keep / "aslan.npz" if keep is not None else None
        rows = vectors(extractor, found.entries, self.clips, out=out, progress=progress)
        missing = found.missing | rows.missing
        all_pairs = self.pairs(Path(root))
        folds = [_present(fold, rows) for fold in all_pairs]
        lost = sum(map(len, all_pairs)) - sum(map(len, folds))
        if lost:
            notes.insert(0, f"{lost} pairs left out: {len(missing)} of their videos are missing")
        parts, curves = self._folds(folds, rows)
        accuracy = [part["accuracy"] for part in parts.values()]
        return Score(
            protocol=self.name,
            figures={
                "accuracy": float(np.mean(accuracy)),
                "accuracy_se": standard_error(accuracy),
                "auc": area_of_mean_roc(curves),
            },
            parts=parts,
            measured=f"{self.scores}; {told(self.similarities)}",
            counts={
                "folds": len(folds),
                "videos": len(rows.entries),
                "pairs": sum(map(len, folds)),
            },
            deviations=tuple(notes),
            choices=tuple(choices(self)),
            notes=found.notes,
            missing=missing,
            published=self.published,
        )

    def _folds(
        self, folds: Sequence[Pairs], rows: Vectors
    ) -> tuple[dict[str, dict[str, float]], list[tuple[np.ndarray, np.ndarray]]]:
        """Accuracy of each fold; truth and score of its pairs."""
        x = [self.compare(fold, rows) for fold in folds]
        same = [fold[:, 2] for fold in folds]
        for k, truth in enumerate(same, start=1):
            if len(set(truth.tolist())) < 2:
                raise ManifestError(
                    f"fold {k}: its {len(truth)} pairs are all of one kind; wanted same and not"
                )
        parts, curves = {}, []
        for k in range(len(folds)):
            others = [i for i in range(len(folds)) if i != k]
            train, test = np.concatenate([x[i] for i in others]), x[k]
            if self.normalization == "c3d":
                mean, std = train.mean(0), train.std(0)
                std = np.where(std > 0, std, 1.0)
                train, test = (train - mean) / std, (test - mean) / std
            kinds = np.eye(2, dtype=bool)[np.concatenate([same[i] for i in others])]
            score = svm_scores(train, kinds, test, self.cost, self.solver)[:, 1]
            parts[str(k + 1)] = {"accuracy": float(((score > 0) == same[k]).mean())}
            curves.append((same[k], score))
        return parts, curves

    def compare(self, pairs: Pairs, rows: Vectors) -> Float[np.ndarray, "n s"]:
        """Numbers of each pair: similarities of layer after layer."""
        index = {entry.name: i for i, entry in enumerate(rows.entries)}
        a, b = ([index[_name(i)] for i in pairs[:, side].tolist()] for side in (0, 1))
        columns = []
        for layer in self.layers:
            x = rows.layers[layer].astype(np.float64)
            x = unit(x) if self.normalization == "c3d" else x
            columns.append(alike(x[a], x[b], self.similarities))
        numbers = np.concatenate(columns, axis=1)
        return unit(numbers) if self.normalization == "p3d" else numbers


def _name(number: int) -> str:
    return f"{number:04}.avi"


def _entry(number: int, disk: Disk) -> Entry:
    return Entry(name=_name(number), path=disk.at(_name(number)), labels=("video",))


def _present(fold: Pairs, rows: Vectors) -> Int64[np.ndarray, "m 5"]:
    """Pairs both of whose videos gave features."""
    have = {entry.name for entry in rows.entries}
    keep = [_name(a) in have and _name(b) in have for a, b in fold[:, :2].tolist()]
    return fold[np.array(keep, dtype=bool)]


def _shared_actions(folds: Sequence[Pairs]) -> tuple[str, ...]:
    """A sentence on actions that are in several folds; the official folds have none."""
    seen: dict[Any, int] = {}
    both = set()
    for k, fold in enumerate(folds):
        for action in {*fold[:, 3].tolist(), *fold[:, 4].tolist()}:
            if seen.setdefault(action, k) != k:
                both.add(action)
    return (f"{len(both)} actions are in several folds",) if both else ()
