"""Which other files hold the voxels of a scan whose file is only a header."""

import os
import re
from pathlib import Path

_HEAD = 2**16  # bytes in which a header names them
_NAMES = (  # of MetaImage and of NRRD: what follows the key, and the lines after it
    re.compile(rb"(?ims)^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*)(.*)"),
    re.compile(rb"(?ims)^[ \t]*data ?file[ \t]*:[ \t]*([^\r\n]*)(.*)"),
)
_END = re.compile(rb"\r?\n\r?\n")  # of an NRRD header; its voxels may follow
_SERIES = re.compile(r"(.+?)%\d*[du](.*?)(\s+-?\d+)*")  # a pattern, and the numbers to put in
_PAIR = (".hdr", ".img")  # NIfTI and Analyze: the same name, both ways


def partners(path: Path) -> list[Path]:
    """Files beside a header that hold its voxels; none where they are in the file itself.

    A list, or a pattern such as `slice%03d.raw 1 20 1`, gives all files there are of it.
    """
    if path.suffix.lower() in _PAIR:
        same = (p for p in path.parent.iterdir() if p.stem == path.stem and p != path)
        return sorted(p for p in same if p.suffix.lower() in _PAIR)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    is_nrrd = head.startswith(b"NRRD")
    found = _NAMES[is_nrrd].search(_END.split(head, 1)[0] if is_nrrd else head)
    if found is None:
        return []
    named, after = (os.fsdecode(part).strip() for part in found.groups())
    if named.upper() == "LOCAL":
        return []
    names = after.splitlines() if named.upper().startswith("LIST") else [named]
    return [file for name in names for file in _there(path.parent, name.strip())]


def _there(folder: Path, name: str) -> list[Path]:
    """The file of this name, or the files of a pattern."""
    if (series := _SERIES.fullmatch(name)) is None:
        file = folder / name
        return [file] if name and file.is_file() else []
    first, last = Path(folder, series[1]), series[2]
    names = re.compile(re.escape(first.name) + r"\d+" + re.escape(last))
    beside = first.parent.iterdir() if first.parent.is_dir() else ()
    return sorted(p for p in beside if names.fullmatch(p.name))
