"""Feature sets as Parquet tables: one row per video, features and clips as lists in it."""

from pathlib import Path
from typing import IO, Any

import numpy as np

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.features.featureset import FeatureSet, describe, described, spans_of

_KEY = b"pseudo3d"


def to_parquet(features: FeatureSet, file: IO[bytes]) -> None:
    """Write a table into an open file.

    Raises:
        ImportError: pyarrow is not installed.
    """
    pa, table = require("pyarrow", "eval"), require("pyarrow.parquet", "eval")
    columns: dict[str, Any] = {
        "path": pa.array(features.paths, pa.string()),
        "label": pa.array(features.labels, pa.string()),
        "group": pa.array(features.groups, pa.string()),
        "split": pa.array(features.splits, pa.string()),
    }
    if features.spans:
        for i, name in enumerate(("start", "end")):
            columns[name] = pa.array([span[i] for span in features.spans], pa.float64())
    columns |= {name: _fixed(pa, x) for name, x in features.layers.items()}
    if features.clip_layers is not None and features.clip_video is not None:
        counts = np.bincount(features.clip_video, minlength=len(features))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        lists = {f"clips.{name}": x for name, x in features.clip_layers.items()}
        if features.clip_times is not None:
            lists["clip_times"] = features.clip_times
        columns |= {
            name: pa.ListArray.from_arrays(offsets, _fixed(pa, x)) for name, x in lists.items()
        }
    made = pa.table(columns).replace_schema_metadata({_KEY: describe(features).encode()})
    table.write_table(made, file)


def _fixed(pa: Any, x: np.ndarray) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


def from_parquet(path: Path) -> FeatureSet:
    """Read what `to_parquet` wrote.

    Raises:
        ImportError: pyarrow is not installed.
        Pseudo3dError: not such a file, or a damaged one.
    """
    reader = require("pyarrow.parquet", "eval")
    try:
        table = reader.read_table(path)
        about = described((table.schema.metadata or {})[_KEY].decode(), path)
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    except Pseudo3dError:
        raise
    except Exception as err:  # a damaged table fails in any way; none of them is ours
        raise Pseudo3dError(
            f"{path}: damaged, or no file of `p3d features` ({err}); make it again"
        ) from err
    rows: dict[str, Any] = {
        f"{name}s": tuple(columns[name].to_pylist()) for name in ("path", "label", "group", "split")
    }
    spans: tuple[tuple[float | None, float | None], ...] = ()
    if "start" in columns:
        both = [np.array(columns[name].to_pylist(), np.float64) for name in ("start", "end")]
        spans = spans_of(np.stack(both, 1))
    return FeatureSet(
        **rows,
        spans=spans,
        layers={name: _rows(columns[name]) for name in about["layers"]},
        **_clips(columns, about["clip_layers"]),
        meta=about["meta"],
    )


def _rows(column: Any) -> np.ndarray:
    width = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def _clips(columns: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    if names is None:
        return {}
    lists = [columns[f"clips.{name}"] for name in names]
    counts = np.diff(lists[0].offsets.to_numpy())
    times = columns.get("clip_times")
    return {
        "clip_layers": {
            name: _rows(column.flatten()) for name, column in zip(names, lists, strict=True)
        },
        "clip_video": np.repeat(np.arange(len(counts)), counts),
        "clip_times": None if times is None else _rows(times.flatten()),
    }
