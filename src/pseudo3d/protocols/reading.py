"""Read a benchmark's text files as they are on disks: gzip or not, any line end, blanks at ends."""

import gzip
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from pseudo3d.data.limits import LARGEST, RATIO, check_unpacked
from pseudo3d.data.there import is_file
from pseudo3d.data.video import VIDEO_SUFFIXES
from pseudo3d.errors import ManifestError

OURS = frozenset({"flow", "from_frames"})  # folders of videos made of other videos or pictures


def find(root: Path, *names: str) -> Path:
    """The first of these files below `root` that exists, plain or as `.gz`.

    Raises:
        ManifestError: none does; the message names the places.
    """
    for name in names:
        for path in (root / name, root / f"{name}.gz"):
            if path.is_file():
                return path
    raise ManifestError(
        f"{root} lacks {names[0]}; searched {', '.join(str(root / n) for n in names)} "
        "(plain or .gz): give the folder that holds it as --root"
    )


def text_of(path: Path) -> str:
    """A text file in UTF-8, unpacked if it is gzip-ed whatever its name says.

    Raises:
        ManifestError: it is no text.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = _unpacked(data)
        return data.decode("utf-8-sig")
    except (OSError, EOFError, ValueError, zlib.error) as err:
        raise ManifestError(f"{path} cannot be read as text: {err}; fetch it again") from err


def _unpacked(data: bytes) -> bytes:
    """What was gzip-ed; a bomb ends long before it has filled the memory."""
    most = max(LARGEST, RATIO * len(data))
    with gzip.open(BytesIO(data)) as file:
        text = file.read(most + 1)
    check_unpacked(len(text), len(data))
    return text


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Lines with their numbers; CRLF, blanks at the ends and empty lines are taken away."""
    numbered = enumerate(text_of(path).splitlines(), start=1)
    return [(number, line.strip()) for number, line in numbered if line.strip()]


def wrong_line(path: Path, number: int, line: str, wanted: str) -> ManifestError:
    """The error for a line that is not as its format says."""
    return ManifestError(f"{path}, line {number}: {line!r}; wanted {wanted}")


class Disk:
    """Videos below a folder, found by their relative path or by their name.

    Args:
        homes: folders below `root` that may hold the videos, the likeliest first.
    """

    def __init__(self, root: Path, *homes: str) -> None:
        self.homes = [home for name in homes if (home := root / name).is_dir()]
        self._stems: dict[str, Path] | None = None
        self._used: set[Path] = set()

    def at(self, *names: str) -> Path | None:
        """The first of the relative paths that is there."""
        for home in self.homes:
            for name in names:
                if is_file(home / name):
                    return self._use(home / name)
        return None

    def named(self, stem: str) -> Path | None:
        """The video of this name without suffix, in whatever folder."""
        if self._stems is None:
            self._stems = {p.stem: p for p in reversed(self.videos(self.homes))}
        path = self._stems.get(stem)
        return None if path is None else self._use(path)

    def videos(self, homes: Iterable[Path]) -> list[Path]:
        """Every video below these folders but those we made."""
        found = ((p, p.relative_to(home)) for home in homes for p in sorted(home.rglob("*")))
        kept = [p for p, name in found if not OURS.intersection(name.parts)]
        return [p for p in kept if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()]

    def note(self) -> tuple[str, ...]:
        """A sentence on videos that lie beside the listed ones and are in no list."""
        homes = [h for h in self.homes if any(p.is_relative_to(h) for p in self._used)]
        extra = [p for p in dict.fromkeys(self.videos(homes[:1])) if p not in self._used]
        if not extra:
            return ()
        return (f"{len(extra)} videos on the disk are in no list, the first {extra[0].name}",)

    def _use(self, path: Path) -> Path:
        self._used.add(path)
        return path


def clean(label: str) -> str:
    """A class name without differences of writing: case, quotes, underscores."""
    return " ".join(label.replace("_", " ").replace('"', "").split()).casefold()


def class_folders(root: Path) -> list[Path]:
    """Folders below `root` that hold something, sorted."""
    found = (p for p in root.iterdir() if p.is_dir() and p.name not in OURS)
    return sorted(p for p in found if not p.name.startswith("."))
