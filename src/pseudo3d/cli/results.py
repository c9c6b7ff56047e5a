"""Which files in a folder of results may be written over."""

import json
from collections.abc import Sequence
from pathlib import Path

from pseudo3d.errors import Pseudo3dError

MARK = {"made_by": "pseudo3d"}  # in the JSON of what does not say its use
PREDICTED = ("_heat.nii.gz", "_planes.png", "_slices.csv", "_slices.png", ".html", ".json")
EXPLAINED = (
    "_heat.nii.gz", "_planes.png", "_importance.csv", "_importance.png", ".html", ".npz", ".json",
)  # fmt: skip
FILMED = (".mp4", ".gif", "_strip.png", "_importance.png", ".npz", ".json")


def refuse_others(out: Path, name: str, endings: Sequence[str]) -> None:
    """Refuse to replace what p3d did not write; call it before anything is computed.

    NAME.json says whose the files of a result are, and is written first: a picture or a table
    cannot say it. A NIfTI file is asked as well, as masks are corrected by hand.

    Args:
        endings: of the files that are to be written, after `name`.
    Raises:
        Pseudo3dError: a file of somebody else's would be lost.
    """
    from pseudo3d.data.scans.write import refuse_theirs

    there = [path for path in (out / f"{name}{end}" for end in endings) if path.exists()]
    if there and not _is_ours(out / f"{name}.json"):
        raise Pseudo3dError(
            f"{there[0]} was not written by p3d, as far as {name}.json tells, and would be "
            "replaced; move it or give another folder"
        )
    for path in there:
        if path.name.endswith(".nii.gz"):
            refuse_theirs(path)


def _is_ours(path: Path) -> bool:
    """Whether a JSON file bears a mark that p3d leaves."""
    from pseudo3d.engine.volumes.predict import NOTE

    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    marks = {"use": NOTE} | MARK
    return isinstance(told, dict) and any(told.get(key) == mark for key, mark in marks.items())
