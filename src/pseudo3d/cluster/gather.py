"""The features of a finished run as one set, for `p3d linear` and all that takes `FeatureSet`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pseudo3d.cluster.place import Place
from pseudo3d.cluster.proof import RUN
from pseudo3d.cluster.tables import FRONT
from pseudo3d.cluster.worker import QUARANTINE, read_note
from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.features.featureset import FeatureSet, spans_of


def gather(out: str | Path) -> FeatureSet:
    """All features of a run, in the order of its list; they have to fit into memory.

    Raises:
        Pseudo3dError: the run is of another task, or not finished.
    """
    place = Place(out)
    plan = json.loads(place.read(RUN))
    if plan["job"]["task"] != "features":
        raise Pseudo3dError(f"{out} holds {plan['job']['task']}; wanted a run of features")
    seen, missing = list[dict[str, Any]](), dict[str, str]()
    for part in range(plan["partitions"]):
        note = read_note(place, part)
        if note is None:
            raise Pseudo3dError(f"{out}: partition {part} is not done; repeat the run")
        for name in sorted(note["files"]):
            columns = _columns(place, name)
            if name.startswith(QUARANTINE):
                missing |= dict(zip(columns["name"], columns["why"], strict=True))
            else:
                seen.append(columns)
    if not seen:
        raise Pseudo3dError(f"{out} holds no features: all {len(missing)} videos are in quarantine")
    return _joined(seen, {**_meta(plan), "missing": missing})


def _columns(place: Place, name: str) -> dict[str, Any]:
    """A table: numbers of lists as arrays, the rest as lists; lists of clips with their counts."""
    parquet = require("pyarrow.parquet", "cluster")
    with place.stream(name) as file:
        table = parquet.read_table(file)
    found: dict[str, Any] = {}
    for column in table.column_names:
        values = table.column(column).combine_chunks()
        if column in (*FRONT, "problem", "why", "attempt"):
            found[column] = values.to_pylist()
            continue
        if hasattr(values, "offsets"):  # clips: a list of rows per video
            found["counts"] = np.diff(values.offsets.to_numpy())
            values = values.flatten()
        width = values.type.list_size
        found[column] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return found


def _meta(plan: dict[str, Any]) -> dict[str, Any]:
    job, about = plan["job"], dict(plan["about"])
    return {"weights": job["weights"], **about, **job["options"], "layers": about["layers"]}


def _joined(parts: list[dict[str, Any]], meta: dict[str, Any]) -> FeatureSet:
    def all_of(name: str) -> list[Any]:
        return [value for part in parts for value in part[name]]

    names, problems = all_of("name"), all_of("problem")
    spans = spans_of(np.array([all_of("start"), all_of("end")], dtype=np.float64).T)
    clips: dict[str, Any] = {}
    if "counts" in parts[0]:
        counts = np.concatenate([part["counts"] for part in parts])
        clips = {
            "clip_layers": {
                name: np.concatenate([part[f"clips.{name}"] for part in parts])
                for name in meta["layers"]
            },
            "clip_video": np.repeat(np.arange(len(counts)), counts),
            "clip_times": np.concatenate([part["clip_times"] for part in parts]),
        }
    return FeatureSet(
        layers={n: np.concatenate([part[n] for part in parts]) for n in meta["layers"]},
        paths=tuple(names),
        labels=tuple(all_of("truth")),
        groups=tuple(all_of("group")),
        splits=tuple(all_of("split")),
        spans=spans if any(span != (None, None) for span in spans) else (),
        meta={**meta, "incomplete": {n: p for n, p in zip(names, problems, strict=True) if p}},
        **clips,
    )
