"""Files of labeled spans: a CSV, or ActivityNet's JSON.

CSV: header `path,label,start,end` with optional `split`, `group` and `score`, as of a manifest; a
row without a label is a video in which nothing happens. JSON: ActivityNet's truth (`database`) or
results (`results`), videos named by `v_<id>` or `<id>` in a folder.
"""

import csv
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from pseudo3d.data.annotations import Annotations, Mark, MarkedVideo, seconds_of
from pseudo3d.data.folders import SPLITS
from pseudo3d.data.table import read_table
from pseudo3d.data.there import is_file
from pseudo3d.data.video import VIDEO_SUFFIXES
from pseudo3d.errors import ManifestError


def read_annotations(
    path: str | Path, videos: str | Path | None = None, *, disk: bool = True
) -> Annotations:
    """Read what happens when.

    Args:
        path: a CSV, a folder with `truth.csv`, or ActivityNet's JSON.
        videos: folder of the videos that a JSON names; None takes the JSON's own. CSV paths start
            at the CSV, or at this folder.
        disk: look for the videos; else no video has a path, and every span needs its end.
    Raises:
        ManifestError: the list contradicts itself or the disk; the message says where.
    """
    path = Path(path)
    table = path / "truth.csv" if path.is_dir() else path
    if not table.is_file():
        raise ManifestError(f"{table} does not exist: give a CSV of spans, or ActivityNet's JSON")
    home = Path(videos) if videos is not None else table.parent
    read = _from_json if table.suffix.lower() == ".json" else _from_csv
    found = read(table, home if disk else None)
    if not found:
        raise ManifestError(f"{table} lists no videos: wanted rows of path,label,start,end")
    _check(table, found)
    return Annotations(tuple(found))


def read_found(path: str | Path) -> dict[str, tuple[Mark, ...]]:
    """Read segments that something has found: by the name of their video.

    Raises:
        ManifestError: the file is no list of segments.
    """
    return {video.name: video.marks for video in read_annotations(path, disk=False).videos}


def _from_csv(table: Path, home: Path | None) -> list[MarkedVideo]:
    header, rows = read_table(table)
    if not {"path", "label", "start", "end"} <= {*header}:
        raise ManifestError(
            f"{table} lacks columns; its header is {','.join(header)!r}, wanted "
            "path,label,start,end[,split][,group][,score]"
        )
    marks: dict[str, list[Mark]] = defaultdict(list)
    facts: dict[str, tuple[str | None, str | None]] = {}
    for where, row in rows:
        name = row["path"]
        if not name:
            raise ManifestError(f"{where}: empty path; fill it in or remove the row")
        split = row.get("split") or None
        fact = (SPLITS.get(split, split) if split else None, row.get("group") or None)
        if facts.setdefault(name, fact) != fact:
            raise ManifestError(f"{where}: {name} has split and group {fact}, before {facts[name]}")
        if row["label"]:
            marks[name].append(_mark(where, row, None if home is None else home / name))
    missing = [name for name in facts if home is not None and not is_file(home / name)]
    if missing:
        raise ManifestError(
            f"{table}: {len(missing)} of {len(facts)} videos are missing: "
            f"{', '.join(missing[:5])}; paths start at {home}; correct them or remove the rows"
        )
    return [
        MarkedVideo(
            name=name,
            path=None if home is None else home / name,
            marks=tuple(sorted(marks[name])),
            split=split,
            group=group,
        )
        for name, (split, group) in facts.items()
    ]


def _mark(where: str, row: Mapping[str, str], file: Path | None) -> Mark:
    start = _number(where, "start", row["start"] or "0")
    end = row["end"]
    if not end and file is not None:
        end = str(seconds_of(file))
    return _checked(where, start, end, row["label"], row.get("score") or 1.0)


def _from_json(table: Path, home: Path | None) -> list[MarkedVideo]:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ManifestError(f"{table} is no JSON in UTF-8: {err}") from err
    there = content if isinstance(content, dict) else {}
    kind = next((k for k in ("database", "results") if k in there), "")
    if not isinstance(there.get(kind), dict):
        raise ManifestError(f"{table} is no ActivityNet list; wanted 'database' or 'results'")
    files = {
        file.stem.removeprefix("v_"): file
        for file in (sorted(home.rglob("*")) if home is not None else ())
        if file.suffix.lower() in VIDEO_SUFFIXES
    }
    found = []
    for name, entry in there[kind].items():
        where = f"{table}, {name}"
        try:
            notes = entry if kind == "results" else entry.get("annotations") or ()
            marks = [_noted(where, note) for note in notes]
            subset = None if kind == "results" else entry.get("subset")
        except (KeyError, TypeError, AttributeError) as err:
            raise ManifestError(
                f"{where}: {type(err).__name__}: {err}; wanted segment: [start, end] and label"
            ) from err
        found.append(
            MarkedVideo(
                name=name,
                path=files.get(name.removeprefix("v_")),
                marks=tuple(sorted(marks)),
                split=SPLITS.get(str(subset), str(subset)) if subset else None,
            )
        )
    return found


def _noted(where: str, note: Mapping[str, Any]) -> Mark:
    segment = note["segment"]
    if not isinstance(segment, list) or len(segment) != 2:
        raise ManifestError(f"{where}: segment is {segment!r}; wanted [start, end] in seconds")
    start, end = segment
    return _checked(where, start, end, note["label"], note.get("score", 1.0))


def _number(where: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ManifestError(f"{where}: {name} is {value!r}; wanted a number")
    return number


def _checked(where: str, start: Any, end: Any, label: Any, score: Any) -> Mark:
    values = [_number(where, n, v) for n, v in (("start", start), ("end", end), ("score", score))]
    if not 0 <= values[0] < values[1]:
        text = f"{label!r} from {values[0]:g} to {values[1]:g} s"
        raise ManifestError(f"{where}: {text}; wanted 0 <= start < end")
    return Mark(values[0], values[1], str(label), values[2])


def _check(table: Path, videos: Sequence[MarkedVideo]) -> None:
    files = Counter(os.path.normpath(v.path) for v in videos if v.path is not None)
    if twice := [name for name, count in files.items() if count > 1]:
        raise ManifestError(
            f"{table}: {len(twice)} videos are listed under two names: {', '.join(twice[:5])}; "
            "give each one name"
        )
    sides: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        if video.split is not None:
            sides[video.group or video.name].add(video.split)
    if torn := [f"{g} ({', '.join(sorted(s))})" for g, s in sorted(sides.items()) if len(s) > 1]:
        raise ManifestError(
            f"{table}: {len(torn)} groups are on both sides of a split: {', '.join(torn[:5])}; "
            "give each group to one split"
        )


def to_activitynet(found: Mapping[str, Sequence[Any]], note: str) -> str:
    """What was found in each video as ActivityNet's results, in JSON.

    Args:
        found: things with start, end, label and score, by the name of their video.
        note: what made them, for the record.
    """
    results = {
        name: [
            {
                "label": s.label,
                "score": round(s.score, 6),
                "segment": [round(s.start, 3), round(s.end, 3)],
            }
            for s in segments
        ]
        for name, segments in found.items()
    }
    content = {"version": "VERSION 1.3", "results": results, "external_data": {"details": note}}
    return json.dumps(content, indent=1)


def to_csv(found: Mapping[str, Sequence[Any]]) -> str:
    """The same as rows of path,label,start,end,score: corrected by hand, they train a network."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "start", "end", "score"])
    for name, segments in found.items():
        if not segments:
            rows.writerow([name, "", "", "", ""])
        for s in segments:
            rows.writerow([name, s.label, f"{s.start:.3f}", f"{s.end:.3f}", f"{s.score:.6f}"])
    return text.getvalue()
