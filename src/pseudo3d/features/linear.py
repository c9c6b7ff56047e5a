"""Linear support vector machines on features: how the paper judges a representation (section 5).

What is learned from the data (z-score, PCA, the machine and its C) is learned from the training
part of each fold alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from pseudo3d.data import parting
from pseudo3d.data.item import Item
from pseudo3d.errors import ManifestError
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.features.svm import Linear, fit, group_folds
from pseudo3d.scores.bootstrap import wilson

Progress = Callable[[int, int], None]
_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class LinearScore:
    """What a linear classifier answered for videos it had not seen."""

    protocol: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    found: tuple[str, ...]
    units: tuple[str, ...]  # what the interval draws: the group of a video, else its file
    folds: tuple[tuple[str, int, int], ...]  # what was left out, its videos, how many are right
    notes: tuple[str, ...] = ()
    kind: str = "videos"  # or scans: what `paths` are of

    @property
    def right(self) -> np.ndarray:
        """Whether each video is recognized."""
        return np.array(self.labels) == np.array(self.found)

    @property
    def accuracy(self) -> float:
        """Share of all videos."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the accuracy."""
        return bootstrap_interval(self.right, self.units)

    def per_class(self) -> dict[str, float]:
        """Accuracy of each class."""
        labels = np.array(self.labels)
        return {name: float(self.right[labels == name].mean()) for name in sorted({*self.labels})}

    def describe(self) -> str:
        """The protocol in words, to stand beside the score."""
        drawn = len(set(self.units))
        what = self.kind if drawn == len(self.units) or drawn < 2 else f"{drawn} groups"
        return f"{self.protocol}; {len(self.paths)} {self.kind}, interval: bootstrap over {what}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.interval
        return {
            "protocol": self.describe(),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
            "videos": len(self.paths),
            "per_class": self.per_class(),
            "folds": [{"left_out": n, "videos": v, "right": r} for n, v, r in self.folds],
            "notes": list(self.notes),
        }


def bootstrap_interval(
    values: Shaped[np.ndarray, " v"],
    units: Sequence[str] | None = None,
    *,
    draws: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a mean, by drawing groups of values (or single ones) with replacement.

    Where no draw differs (everything is right, say) the draws would promise certainty; a share of
    right answers then has Wilson's interval, with the groups as its cases.

    Args:
        values: bools, right or wrong; or numbers, such as differences.
        units: the group of each value; fewer than two groups are no groups.
    """
    rng = np.random.default_rng(seed)
    names = np.arange(len(values)) if units is None or len(set(units)) < 2 else np.array(units)
    _, group = np.unique(names, return_inverse=True)
    sums = np.bincount(group, weights=values.astype(np.float64))
    counts = np.bincount(group)
    means = np.empty(draws)
    for i in range(draws):
        drawn = rng.integers(len(sums), size=len(sums))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    if values.dtype == bool and means.min() == means.max():
        return wilson(float(means[0]), len(sums), _LEVEL)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def train_test(train: FeatureSet, test: FeatureSet, options: Linear | None = None) -> LinearScore:
    """Learn from one set, score on another.

    Raises:
        ManifestError: a video, a group, or a file whose spans have no groups is in both; a label
            is missing, one class to learn.
    """
    options = options or Linear()
    labels, truth = _labels(train), _labels(test)
    _check_apart(train, test)
    x, widths = _matrix(train, options)
    machine = fit(x, labels, options, widths=widths, units=units_of(train))
    found = machine.predict(_matrix(test, options)[0])
    right = int((found == truth).sum())
    return LinearScore(
        protocol=f"{len(train)} training {train.kind}; {options.describe()}",
        paths=test.paths,
        labels=tuple(truth),
        found=tuple(map(str, found)),
        units=units_of(test),
        folds=(("test", len(test), right),),
        notes=(*_missing(train, test), *_strangers("the test part", truth, labels)),
        kind=test.kind,
    )


def leave_out(
    features: FeatureSet,
    what: Literal["group", "video"],
    options: Linear | None = None,
    progress: Progress | None = None,
) -> LinearScore:
    """Score each group (or each video) by what is learned from all the others.

    Raises:
        ManifestError: fewer than two groups, videos without one, one class to learn.
    """
    bare = [p for p, g in zip(features.paths, features.groups, strict=True) if g is None]
    if what == "group" and bare:
        raise ManifestError(
            f"{len(bare)} of {len(features)} videos have no group: {_some(bare)}; add the column "
            "`group` to the list, or leave one video out"
        )
    keys = np.array(units_of(features) if what == "group" else features.paths)
    parts = [(str(name), np.flatnonzero(keys == name)) for name in np.unique(keys)]
    text = f"leave one {what} out ({len(parts)} folds)"
    return _cross(features, parts, text, options or Linear(), progress)


def cross_validate(
    features: FeatureSet,
    folds: int = 5,
    options: Linear | None = None,
    progress: Progress | None = None,
) -> LinearScore:
    """Score each of `folds` parts by what is learned from the others; no group is in two parts.

    Raises:
        ManifestError: fewer groups than parts, one class to learn.
    """
    options = options or Linear()
    labels, units = _labels(features), units_of(features)
    parts = [
        (f"fold {i}", test)
        for i, (_, test) in enumerate(group_folds(labels, units, folds, options.seed), start=1)
    ]
    whole = all(group is None for group in features.groups)
    text = f"{folds} folds, {'videos' if whole else 'groups'} kept whole"
    return _cross(features, parts, text, options, progress)


def units_of(features: FeatureSet) -> tuple[str, ...]:
    """What must not be cut: the group of each video, else its file with all spans of it."""
    rows = zip(features.paths, features.groups, strict=True)
    return tuple(parting.units([_item(path, group) for path, group in rows]))


def _item(path: str, group: str | None) -> Item:
    return Item(path=Path(path), label="", group=group)


def _cross(
    features: FeatureSet,
    parts: Sequence[tuple[str, np.ndarray]],
    text: str,
    options: Linear,
    progress: Progress | None,
) -> LinearScore:
    """Leave out one part after the other."""
    if len(parts) < 2:
        raise ManifestError(f"{text}: {parts[0][0]!r} is all there is; wanted two or more")
    labels, units = _labels(features), np.array(units_of(features))
    x, widths = _matrix(features, options)
    found = np.full(len(labels), "", dtype=object)
    folds: list[tuple[str, int, int]] = []
    notes = list(_missing(features))
    for done, (name, test) in enumerate(parts, start=1):
        rest = np.setdiff1d(np.arange(len(labels)), test)
        notes += _strangers(name, labels[test], labels[rest])
        machine = fit(x[rest], labels[rest], options, widths=widths, units=units[rest].tolist())
        found[test] = machine.predict(x[test])
        folds.append((name, len(test), int((found[test] == labels[test]).sum())))
        if progress is not None:
            progress(done, len(parts))
    return LinearScore(
        protocol=f"{text}; {options.describe()}",
        paths=features.paths,
        labels=tuple(labels),
        found=tuple(map(str, found)),
        units=tuple(units.tolist()),
        folds=tuple(folds),
        notes=tuple(notes),
        kind=features.kind,
    )


def _matrix(features: FeatureSet, options: Linear) -> tuple[np.ndarray, list[int]]:
    """Layers side by side, and their widths."""
    layers = [features.layer(name) for name in options.layers or (None,)]
    return np.concatenate(layers, axis=1), [x.shape[1] for x in layers]


def _labels(features: FeatureSet) -> np.ndarray:
    if bare := [p for p, k in zip(features.paths, features.labels, strict=True) if k is None]:
        raise ManifestError(f"{len(bare)} of {len(features)} videos have no label: {_some(bare)}")
    return np.array(features.labels, dtype=object)


def _check_apart(train: FeatureSet, test: FeatureSet) -> None:
    """Refuse what both parts have: two spans of one file are apart only where both have groups."""
    parts = [[_item(*row) for row in zip(f.paths, f.groups, strict=True)] for f in (train, test)]
    bare = {item.whole for part in parts for item in part if item.group is None}
    files = [{item.whole for item in part} & bare for part in parts]
    groups = [{item.group for item in part} - {None} for part in parts]
    for what, (ours, theirs) in (
        ("videos", map(_keys, (train, test))),
        ("files without a group", files),
        ("groups", groups),
    ):
        if both := sorted(map(str, set(ours) & set(theirs))):
            raise ManifestError(
                f"{len(both)} {what} are in the training and in the test part: {_some(both)}; "
                "give each to one part"
            )


def _keys(features: FeatureSet) -> list[str]:
    """Files, or spans of files."""
    spans = features.spans or [(None, None)] * len(features)
    return [f"{path} {span}" for path, span in zip(features.paths, spans, strict=True)]


def _strangers(part: str, truth: np.ndarray, learned: np.ndarray) -> Iterator[str]:
    """Classes that cannot be found, for nothing was learned of them; they count as wrong."""
    known = set(learned)
    for name, count in sorted(Counter(k for k in truth if k not in known).items()):
        yield f"{name!r} is in {part} ({count} videos) and not among what was learned: all wrong"


def _missing(*sets: FeatureSet) -> Iterator[str]:
    """Files the features lack; a list that is used for both parts counts once."""
    lost = {path for features in sets for path in features.meta.get("missing", ())}
    if lost:
        yield f"{len(lost)} files could not be read and are left out: {_some(sorted(lost))}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
