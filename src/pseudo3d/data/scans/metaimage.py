"""What a MetaImage's header must be before ITK sees it.

ITK's parser takes a header as it comes: a damaged one makes it read memory that is not its own, or
never come back.
"""

import math
import re
from pathlib import Path

_HEAD = 2**16  # bytes in which a header ends
_FIELD = re.compile(
    rb"[ \t]*([A-Za-z][A-Za-z0-9_]{0,99})[ \t]*[=:][ \t]*([\t\x20-\x7e\x80-\xff]{0,1000})"
)
_VECTORS = {"DimSize", "ElementSpacing", "ElementSize", "Offset", "Origin", "Position",
            "CenterOfRotation"}  # fmt: skip
_MATRICES = {"TransformMatrix", "Rotation", "Orientation"}
_LAST = "ElementDataFile"
# ITK prints numbers with a pattern as it stands, and divides by the step
_PATTERN = re.compile(r"[^%\s]*%0?\d{0,2}[du][^%\s]*\s+(\d{1,6})\s+(\d{1,6})(\s+0*[1-9]\d{0,5})?")


def header_fault(path: Path) -> str | None:
    """What is wrong with the header of a file, None where nothing is."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    fields: dict[str, str] = {}
    for line in head.split(b"\n"):
        text = line.removesuffix(b"\r")
        if not text.strip():
            continue
        if (field := _FIELD.fullmatch(text)) is None:
            return f"its header has the line {text[:40]!r}; wanted Name = value"
        name, value = field[1].decode(), field[2].decode("latin-1").strip()
        if name in fields:
            return f"{name} is there twice"
        fields[name] = value
        if (fault := _value_fault(name, value, fields)) is not None:
            return fault
        if name == _LAST:
            missing = {"NDims", "DimSize", "ElementType"} - fields.keys()
            return f"its header lacks {', '.join(sorted(missing))}" if missing else None
    return f"its header does not end with {_LAST} in {_HEAD} bytes"


def _value_fault(name: str, value: str, fields: dict[str, str]) -> str | None:
    if name == "NDims" and value not in ("2", "3", "4"):
        return f"NDims is {value!r}; wanted 2, 3 or 4"
    if name == "ElementType" and not re.fullmatch(r"MET_[A-Z0-9_]{1,40}", value):
        return f"ElementType is {value!r}; wanted a name such as MET_SHORT"
    if name == _LAST:
        return _data_fault(value)
    if name not in _VECTORS | _MATRICES:
        return None
    if "NDims" not in fields:
        return f"{name} comes before NDims"
    axes = int(fields["NDims"])
    wanted = axes * axes if name in _MATRICES else axes
    numbers = [_number(word) for word in value.split()]
    if len(numbers) != wanted or not all(map(math.isfinite, numbers)):
        return f"{name} is {value[:60]!r}; wanted {wanted} numbers"
    return None


def _data_fault(value: str) -> str | None:
    """Where the voxels are: LOCAL, LIST, a file, or a pattern with first and last number, step."""
    if value and "%" not in value:
        return None
    pattern = _PATTERN.fullmatch(value)
    if pattern is not None and int(pattern[1]) <= int(pattern[2]):
        return None
    return f"{_LAST} is {value[:60]!r}; wanted LOCAL, a file, or a pattern such as s%03d.raw 1 20 1"


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
