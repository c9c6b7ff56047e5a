"""Train and test lists as C3D and TSN (mmaction) have them."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pseudo3d.data.there import is_dir, is_file
from pseudo3d.errors import ManifestError, VideoError
from pseudo3d.protocols.base import Entry, Listing, Split, some
from pseudo3d.protocols.frames import frames_video, pictures
from pseudo3d.protocols.options import option
from pseudo3d.protocols.reading import find, lines_of, wrong_line
from pseudo3d.protocols.recognition import Recognition

Form = Literal["c3d", "tsn", "plain"]
_WANTED = "`path start_frame label` (C3D), `path num_frames label` (TSN) or `path label`"
Line = tuple[str, int | None, int]  # path, middle number, label


@dataclass(frozen=True, kw_only=True)
class Lists(Recognition):
    """Any set that comes with such lists."""

    name: ClassVar[str] = "lists"
    title: ClassVar[str] = "any train and test lists in the form of C3D or TSN"
    reads: ClassVar[tuple[str, ...]] = (
        "two text files (train=..., test=...) of lines",
        "  `path/ start_frame label` (C3D), `path num_frames label` (TSN) or `path label`",
        "paths start at the root; a path may be a video or a folder of frames",
        "names=...: a file of class names, one in a line, line 0 first",
    )
    samples: ClassVar[str] = "clips of 16 consecutive frames, spread evenly over each video"
    scores: ClassVar[str] = "video hit@1"

    train: str = option("train.txt", "the training list", "silent")
    test: str = option("test.txt", "the test list", "silent")
    names: str | None = option(None, "class names; without it a label is its number", "silent")
    form: Literal["auto", "c3d", "tsn", "plain"] = option(
        "auto", "what the middle number is", "silent"
    )

    def read(self, root: str | Path) -> Listing:
        """Read both lists; see `Benchmark.read`."""
        root = Path(root)
        names = None
        if self.names is not None:
            names = [line for _, line in lines_of(find(root, self.names))]
        files = [find(root, self.train)] if self.task == "svm" else []
        found = [_lines(path) for path in (*files, find(root, self.test))]
        form = self.form
        if form == "auto":
            form = _form([line for lines in found for line in lines])
        notes = [f"the form of the lists is {form}"]
        if form == "tsn":
            notes += _miscounted(root, [line for lines in found for line in lines])
        if form == "c3d":
            notes.append("start frames are not used: clips are placed by the protocol")
        parts = [_entries(root, lines, names) for lines in found]
        split = Split(name="test", train=parts[0] if files else (), test=parts[-1])
        labels = {label for entry in (*split.train, *split.test) for label in entry.labels}
        classes = tuple(names) if names is not None else tuple(sorted(labels, key=int))
        return Listing(root=root, classes=classes, splits=(split,), notes=tuple(notes))


def _lines(path: Path) -> list[Line]:
    out: list[Line] = []
    for number, line in lines_of(path):
        parts = line.rsplit(maxsplit=2)
        if len(parts) == 3 and not _is_number(parts[1]):  # a blank in a path
            parts = line.rsplit(maxsplit=1)
        if len(parts) < 2 or not all(map(_is_number, parts[1:])):
            raise wrong_line(path, number, line, _WANTED)
        out.append((parts[0], int(parts[1]) if len(parts) == 3 else None, int(parts[-1])))
    if not out:
        raise ManifestError(f"{path} is empty; wanted lines {_WANTED}")
    return out


def _is_number(text: str) -> bool:
    """A frame or a label; `isdigit` would take powers, and `int` not thousands of digits."""
    return text.isdecimal() and len(text) < 19


def _form(lines: list[Line]) -> Form:
    """C3D lists name a video once for each clip, or folders by a slash at the end."""
    if all(middle is None for _, middle, _ in lines):
        return "plain"
    times = Counter(path for path, _, _ in lines)
    small = all(middle is not None and middle <= 1 for _, middle, _ in lines)
    if small or max(times.values()) > 1 or any(path.endswith("/") for path, _, _ in lines):
        return "c3d"
    return "tsn"


def _miscounted(root: Path, lines: list[Line]) -> list[str]:
    """A note where folders do not hold as many frames as the list says."""
    counts = {path: count for path, count, _ in lines if is_dir(root / path)}
    wrong = []
    for path, count in counts.items():
        with suppress(VideoError):  # told where it is read
            if len(pictures(root / path)) != count:
                wrong.append(path)
    if not wrong:
        return []
    return [f"{len(wrong)} folders hold another number of frames than the list says: {some(wrong)}"]


def _entries(root: Path, lines: list[Line], names: list[str] | None) -> tuple[Entry, ...]:
    """Each video once.

    Raises:
        ManifestError: two labels for a video, or a label beyond the names.
    """
    labels: dict[str, int] = {}
    for path, _, label in lines:
        if labels.setdefault(path, label) != label:
            raise ManifestError(f"{path} has the labels {labels[path]} and {label}; wanted one")
        if names is not None and label >= len(names):
            raise ManifestError(f"{path}: label {label}, but there are {len(names)} names, from 0")
    return tuple(
        Entry(
            name=path,
            path=_video(root, path),
            labels=(str(label) if names is None else names[label],),
        )
        for path, label in labels.items()
    )


def _video(root: Path, name: str) -> Path | None:
    path = root / name
    if is_dir(path):
        try:
            return frames_video(path, root / "from_frames" / f"{name.strip('/')}.mp4")
        except VideoError:
            return None
    return path if is_file(path) else None
