"""Other people's features beside ours: one row per video, found by its path."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from pseudo3d.data.npz import array_in, names_in, opened_npz
from pseudo3d.data.video import VIDEO_SUFFIXES
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.features.featureset import FeatureSet

Table = Mapping[str, Float[np.ndarray, " f"]]


def fuse(features: FeatureSet, table: Table | FeatureSet | str | Path, name: str) -> FeatureSet:
    """Add a layer of external features, such as improved dense trajectories (IDT).

    A video is found by the longest end of its path that is in the table, with or without the
    file's suffix: `Archery/v_Archery_g01_c01` finds that video wherever it lies.

    Args:
        table: rows by path; or what `read_table` reads.
        name: of the new layer.
    Raises:
        ManifestError: videos without a row, or several that share one.
        Pseudo3dError: the name is taken, or the features are of spans of files.
    """
    if name in features.layers:
        raise Pseudo3dError(f"there is a layer {name!r} already; give another name")
    if features.spans:
        raise Pseudo3dError("external features are of whole files; these are of spans of files")
    if isinstance(table, str | Path):
        table = read_table(table)
    elif isinstance(table, FeatureSet):
        table = dict(zip(table.paths, table.layer(), strict=True))
    rows = {_stem(path): row for path, row in table.items()}
    found = [_find(path, rows) for path in features.paths]
    if lost := [p for p, key in zip(features.paths, found, strict=True) if key is None]:
        raise ManifestError(
            f"{len(lost)} of {len(features)} videos have no row of {name}: {', '.join(lost[:5])}; "
            "add them, or select the videos that have one"
        )
    if len(set(found)) < len(found):
        twice = next(key for key in found if found.count(key) > 1)
        raise ManifestError(f"several videos share the row {'/'.join(twice or ())} of {name}")
    layer = np.stack([rows[key] for key in found if key is not None]).astype(np.float32)
    return replace(features, layers={**features.layers, name: layer})


def _stem(path: str) -> tuple[str, ...]:
    pure = PurePosixPath(path.replace("\\", "/"))
    return (pure.with_suffix("") if pure.suffix.lower() in VIDEO_SUFFIXES else pure).parts


def _find(path: str, rows: Mapping[tuple[str, ...], np.ndarray]) -> tuple[str, ...] | None:
    parts = _stem(path)
    return next((parts[i:] for i in range(len(parts)) if parts[i:] in rows), None)


def read_table(path: str | Path) -> dict[str, Float[np.ndarray, " f"]]:
    """Rows by path: a CSV (path, then numbers), an .npz with `paths` and `features`, or ours.

    Raises:
        Pseudo3dError: not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise Pseudo3dError(f"{path} does not exist; wanted .csv, .npz or .parquet")
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix == ".npz" and (rows := _read_npz(path)) is not None:
        return rows
    ours = FeatureSet.load(path)
    return dict(zip(ours.paths, ours.layer(), strict=True))


def _read_npz(path: Path) -> dict[str, np.ndarray] | None:
    """Rows of another program's file; None where it is one of ours."""
    try:
        with opened_npz(path) as file:
            names = names_in(file)
            if "about" in names:
                return None
            if not {"paths", "features"} <= set(names):
                raise Pseudo3dError(f"it holds {', '.join(names)}")
            paths, rows = array_in(file, "paths"), array_in(file, "features")
    except ValueError as err:
        raise Pseudo3dError(f"{path}: {err}; wanted `paths` and `features`") from err
    if paths.ndim != 1 or rows.ndim < 2 or len(paths) != len(rows):
        raise Pseudo3dError(
            f"{path}: `paths` has shape {paths.shape}, `features` {rows.shape}; wanted a row each"
        )
    return dict(zip(map(str, paths.tolist()), rows, strict=True))


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    rows: dict[str, np.ndarray] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as err:
        raise Pseudo3dError(f"{path} is no CSV in UTF-8: {err}; save it as such") from err
    for number, cells in enumerate(lines, start=1):
        if not cells:
            continue
        name = cells[0].strip()
        if name in rows:
            raise Pseudo3dError(f"{path}, row {number}: {name} is there twice; wanted it once")
        try:
            rows[name] = np.array(cells[1:], dtype=np.float32)
        except ValueError as err:
            if number > 1:  # the first row may be names
                raise Pseudo3dError(f"{path}, row {number}: {err}; wanted numbers") from err
    widths = {len(row) for row in rows.values()}
    if len(widths) != 1 or 0 in widths:
        raise Pseudo3dError(f"{path}: wanted rows of a path and as many numbers each")
    return rows
