"""Rows of a partition as Parquet: one schema per task, the same columns in front."""

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from pseudo3d.cluster.inputs import Row
from pseudo3d.errors import require

KEY = b"pseudo3d"  # of the metadata
GIVEN = ("name", "truth", "group", "split", "start", "end")
FRONT = ("row", *GIVEN)  # columns of every table of results


def results(rows: Sequence[tuple[Row, Row]], about: dict[str, Any]) -> bytes:
    """A table of videos (as listed, as seen) that were looked at."""
    pa = require("pyarrow", "cluster")
    listed, seen = [row for row, _ in rows], [found for _, found in rows]
    columns: dict[str, Any] = {
        "row": pa.array([row["row"] for row in listed], pa.int64()),
        **{
            name: pa.array([row["label" if name == "truth" else name] for row in listed], kind)
            for name, kind in zip(GIVEN, [pa.string()] * 4 + [pa.float64()] * 2, strict=True)
        },
    }
    for name in seen[0]:
        columns[name.replace("layer ", "").replace("clips ", "clips.")] = _column(
            pa, name, [found[name] for found in seen]
        )
    return _bytes(pa.table(columns), about)


def quarantine(rows: Sequence[tuple[Row, str, int]], about: dict[str, Any]) -> bytes:
    """A table of videos that could not be looked at: why, and how often it was tried."""
    pa = require("pyarrow", "cluster")
    table = pa.table(
        {
            "row": pa.array([row["row"] for row, _, _ in rows], pa.int64()),
            "name": pa.array([row["name"] for row, _, _ in rows], pa.string()),
            "why": pa.array([why for _, why, _ in rows], pa.string()),
            "attempt": pa.array([attempt for _, _, attempt in rows], pa.int32()),
        }
    )
    return _bytes(table, about)


def _column(pa: Any, name: str, values: list[Any]) -> Any:
    if name in ("label", "problem"):
        return pa.array(values, pa.string())
    if name == "windows":
        return pa.array(values, pa.int32())
    if name == "prob":
        return pa.array(values, pa.float32())
    if name in ("timeline", "segments"):
        last = "prob" if name == "timeline" else "score"
        span = [("start", pa.float64()), ("end", pa.float64()), ("label", pa.string())]
        return pa.array(values, pa.list_(pa.struct([*span, (last, pa.float64())])))
    if name == "probs" or name.startswith("layer "):
        return _fixed(pa, np.stack(values))
    counts = [0, *np.cumsum([len(value) for value in values]).tolist()]  # a list per video
    inner = _fixed(pa, np.concatenate(values))
    return pa.ListArray.from_arrays(pa.array(counts, pa.int32()), inner)


def _fixed(pa: Any, x: np.ndarray) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


def _bytes(table: Any, about: dict[str, Any]) -> bytes:
    parquet = require("pyarrow.parquet", "cluster")
    told = table.replace_schema_metadata({KEY: json.dumps(about, sort_keys=True).encode()})
    buffer = BytesIO()
    parquet.write_table(told, buffer, compression="zstd")
    return buffer.getvalue()


def rows_in(data: bytes) -> np.ndarray:
    """Numbers of the input's rows that a table holds."""
    parquet = require("pyarrow.parquet", "cluster")
    return parquet.read_table(BytesIO(data), columns=["row"]).column("row").to_numpy()
