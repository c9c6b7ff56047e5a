"""What the files written for each of several inputs are called."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from unicodedata import normalize

import typer

from pseudo3d.errors import Pseudo3dError

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+')  # on some file system or other
_LONGEST = 180  # bytes; 255 are allowed, and an ending follows

Tail = tuple[str, ...]  # folders that lead to an input, and last its name without the suffix


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for the files of each input: its stem, after the folders that tell it from others.

    No two are equal, not even where upper and lower case are the same. Inputs that no folder
    tells apart are numbered.

    Example:
        >>> unique_names([Path("p0/ct.nii.gz"), Path("p1/ct.nii.gz"), Path("p1/mr.nii.gz")])
        ['p0_ct', 'p1_ct', 'mr']
    """
    tails = [_tail(path) for path in paths]
    apart = _apart({*tails})
    taken, used, names = {_key(name) for name in apart.values()}, set[Tail](), list[str]()
    for tail in tails:
        name = apart.get(tail, tail[-1])
        if tail not in apart or tail in used:
            name = next(n for n in _numbered(name) if _key(n) not in taken)
            taken.add(_key(name))
        used.add(tail)
        names.append(name)
    return names


def check_suffix(option: str, path: Path | None, *wanted: str) -> None:
    """Refuse to write a result over something else, a video or weights named by mistake.

    Raises:
        BadParameter: another suffix.
    """
    if path is not None and path.suffix.lower() not in wanted:
        raise typer.BadParameter(
            f"{option} is {path}; wanted a file called *{' or *'.join(wanted)}"
        )


def refuse_over(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write where an input lies.

    Raises:
        Pseudo3dError: it would be lost.
    """
    if any(out.exists() and path.exists() and out.samefile(path) for path in inputs):
        raise Pseudo3dError(f"{out} is an input and would be written over; give another place")


def _apart(tails: set[Tail]) -> dict[Tail, str]:
    """Names by the fewest folders; a tail that no number of folders sets apart has none."""
    found: dict[Tail, str] = {}
    taken: set[str] = set()
    for depth in range(1, max(map(len, tails), default=0) + 1):
        tried = {tail: _joined(tail[-depth:]) for tail in tails if tail not in found}
        times = Counter(map(_key, tried.values()))
        new = {t: n for t, n in tried.items() if times[_key(n)] == 1 and _key(n) not in taken}
        found |= new
        taken |= {_key(name) for name in new.values()}
    return found


def _tail(path: Path) -> Tail:
    """Parts that may stand in a file name; what only leads around is none."""
    from pseudo3d.data.scans.names import stem
    from pseudo3d.data.video import VIDEO_SUFFIXES

    name = path.stem if path.suffix.lower() in VIDEO_SUFFIXES else stem(path)
    parts = (_safe(part) for part in path.parent.parts[bool(path.anchor) :])
    return (*(part for part in parts if part), _safe(name) or "input")


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text).strip(" .")


def _joined(parts: Sequence[str]) -> str:
    whole = "_".join(parts).encode()
    return whole[-_LONGEST:].decode(errors="ignore").strip(" .") or "input"


def _numbered(name: str) -> Iterator[str]:
    name = _joined([name])
    return chain([name], (f"{name}_{number}" for number in count(2)))


def _key(name: str) -> str:
    """The same for names that are one file somewhere: by case, by how accents are written."""
    return normalize("NFC", name.casefold())
