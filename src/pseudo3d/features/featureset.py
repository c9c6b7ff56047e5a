"""Features of videos as a data set: one row per video, where wanted one per clip, in one file."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped

from pseudo3d.data.npz import array_in, names_in, opened_npz
from pseudo3d.errors import ManifestError, Pseudo3dError, unknown

Normalize = Literal["ssqrt", "l2", "zscore"]
Names = tuple[str | None, ...]
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Features of labeled videos, and how they were made.

    A row of `layers` is the mean over the clips of a video; `clip_layers` keeps the clips.
    """

    layers: Mapping[str, Float[np.ndarray, "v f"]]
    paths: tuple[str, ...]
    labels: Names
    groups: Names
    splits: Names
    spans: tuple[tuple[float | None, float | None], ...] = ()  # s; empty: whole files
    clip_layers: Mapping[str, Float[np.ndarray, "c f"]] | None = None
    clip_video: Int64[np.ndarray, " c"] | None = None  # row of the clip's video, increasing
    clip_times: Float64[np.ndarray, "c 2"] | None = None  # s; first and last frame, or a window
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(x) for name, x in self.layers.items()}
        lengths |= {name: len(getattr(self, name)) for name in ("labels", "groups", "splits")}
        if self.spans:
            lengths["spans"] = len(self.spans)
        if wrong := {name: n for name, n in lengths.items() if n != len(self.paths)}:
            raise ValueError(f"{len(self.paths)} paths, but rows of {wrong}; wanted as many")
        if (self.clip_layers is None) != (self.clip_video is None):
            raise ValueError("clip_layers and clip_video go together; give both or neither")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels there are, sorted."""
        return tuple(sorted({label for label in self.labels if label is not None}))

    @property
    def kind(self) -> str:
        """What the rows are of: videos or scans."""
        said = self.meta.get("preprocessing", {}).get("kind")
        return "scans" if said == "scan" else "videos"

    def layer(self, name: str | None = None) -> Float[np.ndarray, "v f"]:
        """Rows of one layer; None takes the only one.

        Raises:
            Pseudo3dError: no such layer, or several to choose from.
        """
        if name is None and len(self.layers) == 1:
            return next(iter(self.layers.values()))
        if name is None:
            raise Pseudo3dError(
                f"layers {', '.join(self.layers)} are there; name one of them (--layer NAME)"
            )
        if name not in self.layers:
            raise Pseudo3dError(unknown("layer", name, self.layers))
        return self.layers[name]

    def matrix(
        self,
        layer: str | Sequence[str] = "pool5",
        normalize: Sequence[Normalize] = (),
        train: Shaped[np.ndarray, " t"] | Sequence[int] | None = None,
    ) -> Float[np.ndarray, "v f"]:
        """Rows of one layer, or of several side by side, each normalized by itself.

        Args:
            train: mask or numbers of the rows whose mean and deviation "zscore" takes; never rows
                that are to be tested.
        """
        names = (layer,) if isinstance(layer, str) else tuple(layer)
        parts = [normalized(self.layer(name), normalize, train) for name in names]
        return np.concatenate(parts, axis=1)

    def select(self, keep: Sequence[int] | Sequence[bool] | np.ndarray) -> "FeatureSet":
        """The videos of a mask, or those with these numbers in that order."""
        index = np.asarray(keep)
        if index.dtype == bool:
            if len(index) != len(self):
                raise ValueError(f"the mask has {len(index)} entries for {len(self)} videos")
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        rows: dict[str, Any] = {
            name: tuple(values[i] for i in index)
            for name in ("paths", "labels", "groups", "splits", "spans")
            if (values := getattr(self, name))
        }
        layers = {name: x[index] for name, x in self.layers.items()}
        return replace(self, layers=layers, **rows, **self._clips(index))

    def _clips(self, index: np.ndarray) -> dict[str, Any]:
        if self.clip_layers is None or self.clip_video is None:
            return {}
        found = [np.flatnonzero(self.clip_video == i) for i in index]
        rows = np.concatenate([np.zeros(0, np.int64), *found])
        return {
            "clip_layers": {name: x[rows] for name, x in self.clip_layers.items()},
            "clip_video": np.repeat(np.arange(len(index)), [len(f) for f in found]),
            "clip_times": None if self.clip_times is None else self.clip_times[rows],
        }

    def split(self, name: str) -> "FeatureSet":
        """The videos of one split.

        Raises:
            ManifestError: no video is in it.
        """
        known = sorted({s for s in self.splits if s is not None})
        if name not in known:
            bare = (
                f"no split {name!r}: the list named none. Take features of the manifest.csv that "
                "training left, or score them with --leave-out or --folds"
            )
            raise ManifestError(unknown("split", name, known) if known else bare)
        return self.select([split == name for split in self.splits])

    def save(self, path: str | Path) -> Path:
        """Write .npz, or .parquet with one row per video.

        Raises:
            Pseudo3dError: another suffix, or a disk that refuses.
            ImportError: .parquet without pyarrow.
        """
        path = Path(path)
        check_suffix(path)
        if path.suffix == ".npz":
            arrays = _arrays(self)
            return write(path, lambda file: np.savez(file, **arrays))
        from pseudo3d.features.parquet import to_parquet

        return write(path, lambda file: to_parquet(self, file))

    @classmethod
    def load(cls, path: str | Path) -> "FeatureSet":
        """Read what `save` wrote.

        Raises:
            Pseudo3dError: not such a file, or a damaged one.
        """
        path = Path(path)
        if not path.is_file():
            raise Pseudo3dError(f"{path} does not exist; `p3d features WEIGHTS DATA` makes it")
        check_suffix(path)
        if path.suffix == ".npz":
            return _from_npz(path)
        from pseudo3d.features.parquet import from_parquet

        return from_parquet(path)


def check_suffix(path: Path) -> None:
    """Refuse what is neither .npz nor .parquet, and the latter where pyarrow is missing."""
    if path.suffix not in (".npz", ".parquet"):
        raise Pseudo3dError(f"{path}: unknown suffix {path.suffix!r}; wanted .npz or .parquet")
    if path.suffix == ".parquet":
        from pseudo3d.errors import require

        require("pyarrow", "eval")


def normalized(
    x: Float[np.ndarray, "v f"],
    steps: Sequence[Normalize],
    train: Shaped[np.ndarray, " t"] | Sequence[int] | None = None,
) -> Float[np.ndarray, "v f"]:
    """Signed square root, unit length (L2) and z-score, in the order given."""
    for step in steps:
        if step == "ssqrt":
            x = signed_sqrt(x)
        elif step == "l2":
            x = unit(x)
        elif step == "zscore":
            if train is None:
                raise ValueError("zscore wants the rows of the training part: train=...")
            part = x[np.asarray(train)].astype(np.float64)
            std = part.std(0)
            x = ((x - part.mean(0)) / np.where(std > 0, std, 1.0)).astype(x.dtype)
        else:
            raise TypeError(unknown("normalization", step, get_args(Normalize)))
    return x


def signed_sqrt(x: Float[np.ndarray, "v f"]) -> Float[np.ndarray, "v f"]:
    """sign(x) * sqrt(|x|)."""
    return np.sign(x) * np.sqrt(np.abs(x))


def unit(x: Float[np.ndarray, "v f"]) -> Float[np.ndarray, "v f"]:
    """Every row at length 1; rows of zeros stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0).astype(x.dtype)


def write(path: Path, content: Callable[[IO[bytes]], Any]) -> Path:
    """Write through a temporary name, so that a killed run leaves no half file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            content(file)
        return draft.replace(path)
    except OSError as err:
        raise Pseudo3dError(
            f"{path} cannot be written: {err.strerror or err}; free some space or write elsewhere"
        ) from err
    finally:
        draft.unlink(missing_ok=True)


def describe(features: FeatureSet) -> str:
    """What the arrays do not say, as JSON."""
    clips = None if features.clip_layers is None else list(features.clip_layers)
    about = {"format": FORMAT, "layers": list(features.layers), "clip_layers": clips}
    return json.dumps({**about, "meta": dict(features.meta)})


def described(text: str, path: Path) -> dict[str, Any]:
    """Back from `describe`."""
    about = json.loads(text)
    if about["format"] != FORMAT:
        raise Pseudo3dError(
            f"{path}: written by a newer pseudo3d; update with `pip install -U pseudo3d`"
        )
    return about


def _arrays(features: FeatureSet) -> dict[str, Any]:
    """By name, so that `numpy.load(FILE)["pool5"]` is all another program needs."""
    arrays: dict[str, Any] = {"about": np.array(describe(features))}
    arrays["paths"] = np.array(features.paths, dtype=str)
    for name in ("labels", "groups", "splits"):
        arrays[name] = np.array([value or "" for value in getattr(features, name)], dtype=str)
    if features.spans:
        arrays["spans"] = np.array(features.spans, dtype=np.float64)  # None becomes nan
    if features.clip_layers is not None and features.clip_video is not None:
        arrays["clip_video"] = features.clip_video
        if features.clip_times is not None:
            arrays["clip_times"] = features.clip_times
        arrays |= {f"clips.{name}": x for name, x in features.clip_layers.items()}
    return {**arrays, **features.layers}


def _from_npz(path: Path) -> FeatureSet:
    try:
        with opened_npz(path) as file:
            found = {name: array_in(file, name) for name in names_in(file)}
        about = described(str(found["about"]), path)
        names = {k: tuple(v or None for v in found[k].tolist()) for k in ("labels", "groups")}
        clips = about["clip_layers"]
        return FeatureSet(
            layers={name: found[name] for name in about["layers"]},
            paths=tuple(found["paths"].tolist()),
            **names,
            splits=tuple(v or None for v in found["splits"].tolist()),
            spans=spans_of(found["spans"]) if "spans" in found else (),
            clip_layers=None if clips is None else {n: found[f"clips.{n}"] for n in clips},
            clip_video=found.get("clip_video"),
            clip_times=found.get("clip_times"),
            meta=about["meta"],
        )
    except Pseudo3dError:
        raise
    except Exception as err:  # a damaged archive fails in any way; none of them is ours
        raise Pseudo3dError(
            f"{path}: damaged, or no file of `p3d features` ({err}); make it again"
        ) from err


def spans_of(rows: np.ndarray) -> tuple[tuple[float | None, float | None], ...]:
    """Start and end of each row; nan is None."""
    starts, ends = ([None if np.isnan(v) else float(v) for v in rows[:, i]] for i in (0, 1))
    return tuple(zip(starts, ends, strict=True))
