"""What a decoder does with a scan: read it, look at it, and make the page that shows it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pseudo3d.data.scans.read import peek_scan, read_scan, sniff
from pseudo3d.engine.volumes.predict import ScanPrediction, predict_scan
from pseudo3d.engine.volumes.ready import Ready
from pseudo3d.engine.volumes.sliding import Sliding
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.wire import Message

_VOXELS = 512**3
_HEADER = 64 * 1024  # bytes
# Of each kind: where its header ends, and what in it names another file.
_HEADERS = {
    "mha": (
        re.compile(rb"(?im)^\s*ElementDataFile\s*[=:][^\n]*\n"),
        re.compile(rb"(?im)^\s*ElementDataFile\s*[=:](?!\s*LOCAL\s*$)"),
    ),
    "nrrd": (re.compile(rb"\r?\n\r?\n"), re.compile(rb"(?im)^\s*data ?file\s*:")),
}


def look(path: Path, run: Ready, job: dict[str, Any], memory: int) -> Iterator[Message]:
    """The answer and the page of one scan.

    Raises:
        Problem: the file is no scan, or asks for other files.
        ScanError: it cannot be read, or is not what the network takes.
    """
    kind = sniff(path)
    if kind is None:
        raise Problem(
            "unreadable",
            f"{path} is no scan; this network takes NIfTI, a DICOM file, NRRD, MHA, npy or npz",
        )
    if kind in _HEADERS:
        _check_alone(path, kind)
    series, index = job.get("series"), job.get("index")
    voxels = int(np.prod(peek_scan(path, series=series, index=index).shape))
    if voxels > _VOXELS:
        raise Problem(
            "too_large", f"{path} has {voxels} voxels, this service takes {_VOXELS}; send a part"
        )
    scan = replace(read_scan(path, series=series, index=index), source=Path(job["name"]))
    found = predict_scan(run, scan, how=Sliding(memory=memory // 2))
    answer = _answer(found, int(job["top"]))
    yield Message({"type": "end", "answer": answer}, _viewer(found, path.parent).encode())


def _check_alone(path: Path, kind: str) -> None:
    """Refuse a header whose voxels are in another file: it could name any file of this machine."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    end, elsewhere = _HEADERS[kind]
    over = end.search(head)
    if over is None or elsewhere.search(head[: over.end()]):
        raise Problem(
            "unreadable",
            f"{path} keeps its voxels in another file, or its header does not end; send header "
            "and voxels as one file (.nrrd, .mha)",
        )


def _answer(found: ScanPrediction, top: int) -> dict[str, Any]:
    """As for a video, with a curve over slices in place of the timeline."""
    order = found.probs.argsort()[::-1]
    classify = found.task == "classify"
    best = 0 if found.task == "regress" else found.classes.index(found.label)
    ranked = [
        {"label": found.classes[i], "score": round(float(found.probs[i]), 6)}
        for i in order[:top]
        if classify
    ]
    plain = found.to_dict()
    return {
        **{k: v for k, v in plain.items() if k not in ("source", "label", "curve", "probs")},
        "source": str(found.scan.source),
        "kind": "scan",
        "label": found.label,
        "score": round(float(found.probs[best]), 6) if classify else None,
        "top": ranked,
        "curve": [row[best] for row in plain["curve"]],
        "problem": None,
        "segments": None,
        "importance": None,
        "heat": None,
    }


def _viewer(found: ScanPrediction, folder: Path) -> str:
    """One page of HTML that scrolls the scan."""
    from pseudo3d.report.slices import curve_of
    from pseudo3d.report.view import view_of
    from pseudo3d.report.viewer import Finding, ViewerOptions, write_viewer

    view = view_of(found.scan, found.heat, kind="heat")
    if found.mask is not None:
        labels = dict(enumerate(found.classes))
        view = view_of(found.scan, found.mask, kind="mask", labels=labels)
    best = 0 if found.task == "regress" else found.classes.index(found.label)
    what = "value, per slice" if found.task == "regress" else f"{found.label}, per slice"
    curve = curve_of(view, found.curve[:, best], what, found.depth_axis)
    classify = found.task == "classify"
    order = found.probs.argsort()[::-1] if classify else ()
    finding = Finding(
        label=found.label,
        prob=float(found.probs[best]) if classify else None,
        top=tuple((found.classes[i], float(found.probs[i])) for i in order),
        notes=found.notes,
    )
    with TemporaryDirectory(dir=folder) as place:
        page = Path(place) / "scan.html"
        options = ViewerOptions(at=found.hottest, title=Path(str(found.scan.source)).name)
        write_viewer(view, page, finding=finding, curve=curve, options=options)
        return page.read_text("utf-8")
