"""What a classifier said about every scan, as a file: scores and comparisons start from it.

CSV, one row per scan and seed: `scan,unit,label,seed` and a column `prob:CLASS` for each class.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.scores.auc import rest_statistic
from pseudo3d.scores.bootstrap import Statistic
from pseudo3d.scores.classify import share_statistic
from pseudo3d.scores.compare import value_statistic

SCORES = {"auc": 1, "accuracy": 1, "brier": -1}  # 1: higher is better
_FIXED = ("scan", "unit", "label", "seed")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Probabilities of several seeds for the same scans."""

    classes: tuple[str, ...]
    scans: tuple[str, ...]
    units: tuple[str, ...]  # patient of each scan; the scan itself where nobody said
    labels: Integer[np.ndarray, " n"]
    seeds: tuple[int, ...]
    probs: Float[np.ndarray, "s n k"]

    def to_csv(self) -> str:
        """As `read_predictions` takes it."""
        text = StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow([*_FIXED, *(f"prob:{name}" for name in self.classes)])
        for seed, table in zip(self.seeds, self.probs, strict=True):
            rows = zip(self.scans, self.units, self.labels.tolist(), table, strict=True)
            for scan, unit, label, row in rows:
                # nine digits give a float32 back exactly: ties stay ties
                shown = [f"{p:.9g}" for p in row]
                out.writerow([scan, unit, self.classes[label], seed, *shown])
        return text.getvalue()


def read_predictions(path: str | Path) -> Predictions:
    """Read what `Predictions.to_csv` wrote.

    Raises:
        Pseudo3dError: the file is none of this kind, or its seeds saw different scans.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as err:
        raise Pseudo3dError(f"{path} cannot be read: {err}") from err
    names = [*rows[0]] if rows else []
    classes = [n.removeprefix("prob:") for n in names if n and n.startswith("prob:")]
    if not {"scan", "label"} <= {*names} or len(classes) < 2:
        raise Pseudo3dError(
            f"{path} has columns {names}; wanted scan, label and prob:CLASS for two classes or "
            "more, as `p3d evaluate --predictions FILE` writes them"
        )
    by_seed = _by_seed(path, rows, classes)
    first = _ordered(path, next(iter(by_seed.values())))
    probs = []
    for seed, part in by_seed.items():
        ordered = _ordered(path, part)
        if [(r["scan"], r["label"]) for r in ordered] != [(r["scan"], r["label"]) for r in first]:
            raise Pseudo3dError(f"{path}: seed {seed} has other scans or labels than the first")
        probs.append([[float(r[f"prob:{name}"]) for name in classes] for r in ordered])
    return Predictions(
        classes=tuple(classes),
        scans=tuple(r["scan"] for r in first),
        units=tuple(r.get("unit") or r["scan"] for r in first),
        labels=np.array([classes.index(r["label"]) for r in first]),
        seeds=tuple(by_seed),
        probs=np.array(probs, dtype=np.float64),
    )


def _by_seed(
    path: str | Path, rows: Sequence[Mapping[str, str]], classes: Sequence[str]
) -> dict[int, list[Mapping[str, str]]]:
    """Rows of each seed, after a look at every label and number."""
    found: dict[int, list[Mapping[str, str]]] = {}
    for number, row in enumerate(rows, start=2):
        if row["label"] not in classes:
            raise Pseudo3dError(f"{path}, line {number}: label {row['label']!r} is no class of it")
        try:
            found.setdefault(int(row.get("seed") or 0), []).append(row)
            if not all(math.isfinite(float(row[f"prob:{name}"])) for name in classes):
                raise ValueError("a probability that is not finite")
        except (TypeError, ValueError) as err:
            raise Pseudo3dError(f"{path}, line {number}: {err}; wanted numbers") from err
    return found


def read_all(pattern: str | Path) -> Predictions:
    """Predictions of several seeds: one file, every `*.csv` of a folder, or of a pattern.

    Raises:
        Pseudo3dError: there is no such file, a seed is there twice, or the scans differ.
    """
    given = Path(pattern)
    if given.is_dir():
        paths = sorted(given.glob("*.csv"))
    else:
        paths = [given] if given.is_file() else sorted(given.parent.glob(given.name))
    if not paths:
        raise Pseudo3dError(f"no predictions at {str(pattern)!r}: no such file, folder or pattern")
    first, *rest = parts = [read_predictions(path) for path in paths]
    for path, other in zip(paths[1:], rest, strict=True):
        try:
            check_same(first, other)
        except Pseudo3dError as err:
            raise Pseudo3dError(f"{paths[0]} and {path}: {err}") from err
    seeds = tuple(seed for part in parts for seed in part.seeds)
    if len({*seeds}) < len(seeds):
        raise Pseudo3dError(f"{pattern}: seeds {sorted(seeds)}; wanted each once")
    return replace(first, seeds=seeds, probs=np.concatenate([part.probs for part in parts]))


def statistics_of(found: Predictions, score: str) -> list[Statistic]:
    """One score of every seed, as `compare` takes it.

    Raises:
        Pseudo3dError: the score is unknown.
    """
    if score not in SCORES:
        raise Pseudo3dError(unknown("score", score, SCORES))
    if score == "auc":
        return [rest_statistic(table, found.labels) for table in found.probs]
    if score == "accuracy":
        return [share_statistic(table.argmax(1) == found.labels) for table in found.probs]
    true = np.eye(len(found.classes))[found.labels]
    return [value_statistic(((table - true) ** 2).sum(1)) for table in found.probs]


def check_same(first: Predictions, second: Predictions) -> None:
    """Refuse to compare what was not scored on the same scans.

    Raises:
        Pseudo3dError: classes, scans or labels differ.
    """
    for what, a, b in (
        ("classes", first.classes, second.classes),
        ("scans", first.scans, second.scans),
        ("labels", tuple(first.labels.tolist()), tuple(second.labels.tolist())),
        ("units", first.units, second.units),
    ):
        if a != b:
            odd: Sequence[object] = sorted({*map(str, a)} ^ {*map(str, b)})[:5]
            raise Pseudo3dError(f"the two files have different {what}: {odd or 'other order'}")


def _ordered(path: str | Path, rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Rows by scan; each scan once."""
    found = {row["scan"]: row for row in rows}
    if len(found) != len(rows):
        raise Pseudo3dError(f"{path}: {len(rows) - len(found)} scans are there twice for one seed")
    return [found[name] for name in sorted(found)]
