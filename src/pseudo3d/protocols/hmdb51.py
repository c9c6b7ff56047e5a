"""HMDB51 (Kuehne et al., ICCV 2011): 51 actions, three splits of 70 + 30 videos a class."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pseudo3d.errors import ManifestError
from pseudo3d.protocols.base import Entry, Listing, Published, Split, expect, some
from pseudo3d.protocols.options import option
from pseudo3d.protocols.reading import Disk, lines_of, wrong_line
from pseudo3d.protocols.recognition import Recognition

COUNTS = (3_570, 1_530)  # training, test
CLASSES = 51
_MARK = "_test_split"


@dataclass(frozen=True, kw_only=True)
class HMDB51(Recognition):
    """Three official splits and their mean."""

    name: ClassVar[str] = "hmdb51"
    title: ClassVar[str] = "HMDB51, three official splits"
    reads: ClassVar[tuple[str, ...]] = (
        "<class>_test_split<K>.txt, 51 x 3 files in any folder: `name.avi 1`",
        "  (1: training, 2: test, 0: unused)",
        "hmdb51_org/<class>/name.avi (or videos/, or the root)",
    )
    samples: ClassVar[str] = "clips of 16 consecutive frames, spread evenly over each video"
    scores: ClassVar[str] = "video hit@1 of each split, mean over the splits"
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "the released Kinetics network, fine-tuned by a user, split 1",
            "54.8 to 60.1 %",
            "github.com/li-haoran, experiments/total_loss.txt; the paper has no HMDB51 figure",
        ),
    )

    splits: tuple[int, ...] = option((1, 2, 3), "official splits, averaged")

    def read(self, root: str | Path) -> Listing:
        """Read the lists of all classes; see `Benchmark.read`."""
        root = Path(root)
        files = _files(root)
        classes = tuple(sorted(files))
        disk = Disk(root, "hmdb51_org", "videos", "")
        wrong, splits = expect("classes", len(classes), CLASSES), []
        for k in self.splits:
            if lost := [name for name in classes if k not in files[name]]:
                raise ManifestError(
                    f"{root}: {len(lost)} classes have no list of split {k}: "
                    f"{some(f'{name}{_MARK}{k}.txt' for name in lost)}"
                )
            parts: dict[str, list[Entry]] = {"1": [], "2": []}
            for name in classes:
                for mark, entry in _entries(files[name][k], name, disk):
                    if mark in parts:
                        parts[mark].append(entry)
            train, test = tuple(parts["1"]), tuple(parts["2"])
            wrong += expect(f"training videos of split {k}", len(train), COUNTS[0])
            wrong += expect(f"test videos of split {k}", len(test), COUNTS[1])
            splits.append(Split(name=str(k), train=train, test=test))
        return Listing(
            root=root, classes=classes, splits=tuple(splits), wrong=wrong, notes=disk.note()
        )


def _files(root: Path) -> dict[str, dict[int, Path]]:
    """Lists by class and split."""
    out: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in sorted(root.rglob(f"*{_MARK}[0-9].txt*")):
        name, _, rest = path.name.rpartition(_MARK)
        out[name][int(rest[0])] = path
    if not out:
        raise ManifestError(
            f"{root} holds no list of the form <class>{_MARK}<K>.txt; unpack them below --root"
        )
    return out


def _entries(path: Path, label: str, disk: Disk) -> list[tuple[str, Entry]]:
    """(mark, video) of each line; names may hold any sign, so the mark is what stands last."""
    out = []
    for number, line in lines_of(path):
        name, _, mark = line.rpartition(" ")
        if not name or mark not in ("0", "1", "2"):
            raise wrong_line(path, number, line, "`name.avi 1`, with 1, 2 or 0")
        name = f"{label}/{name.strip()}"
        # an unused video is listed, too: it is asked for, so that nobody calls it unlisted
        out.append((mark, Entry(name=name, path=disk.at(name), labels=(label,))))
    return out
