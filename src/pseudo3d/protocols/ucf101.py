"""UCF101 (Soomro, Zamir, Shah, 2012): 13,320 videos, 101 actions, three splits."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pseudo3d.errors import ManifestError, unknown
from pseudo3d.protocols.base import NOTES, Entry, Listing, Published, Split, expect
from pseudo3d.protocols.options import option
from pseudo3d.protocols.reading import Disk, find, lines_of, wrong_line
from pseudo3d.protocols.recognition import Recognition

COUNTS = {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}  # training, test
CLASSES = 101
_LISTS = "ucfTrainTestlist"


@dataclass(frozen=True, kw_only=True)
class UCF101(Recognition):
    """Three official splits and their mean."""

    name: ClassVar[str] = "ucf101"
    title: ClassVar[str] = "UCF101, three official splits"
    reads: ClassVar[tuple[str, ...]] = (
        "ucfTrainTestlist/classInd.txt: `1 ApplyEyeMakeup`",
        "ucfTrainTestlist/trainlist0K.txt: `Class/v_Class_g08_c01.avi 1`",
        "ucfTrainTestlist/testlist0K.txt: `Class/v_Class_g01_c01.avi`, no label",
        "UCF-101/Class/v_Class_g01_c01.avi (or videos/, or the root)",
    )
    samples: ClassVar[str] = "clips of 16 consecutive frames, spread evenly over each video"
    scores: ClassVar[str] = "video hit@1 of each split, mean over the splits"
    published: ClassVar[tuple[Published, ...]] = (
        Published("P3D-152 (Sports-1M), pool5 + linear SVM", "88.6 %", f"paper, Table 3; {NOTES}"),
        Published("the same with IDT", "93.7 %", f"paper, Table 3; {NOTES}"),
        Published("ResNet-152, linear SVM; with IDT", "83.5 %; 92.0 %", f"Table 3; {NOTES}"),
        Published("C3D, linear SVM; with IDT", "82.3 %; 90.4 %", f"Table 3; {NOTES}"),
        Published("P3D-50 fine-tuned, end to end", "84.2 %", f"paper, Table 1; {NOTES}"),
        Published("ResNet-50 fine-tuned, end to end", "80.8 %", f"paper, Table 1; {NOTES}"),
    )

    splits: tuple[int, ...] = option((1, 2, 3), "official splits, averaged")

    def read(self, root: str | Path) -> Listing:
        """Read class names and lists; see `Benchmark.read`."""
        root = Path(root)
        names = _classes(find(root, f"{_LISTS}/classInd.txt", "classInd.txt"))
        disk = Disk(root, "UCF-101", "videos", "")
        splits, wrong = [], expect("classes", len(names), CLASSES)
        for k in self.splits:
            if k not in COUNTS:
                raise ManifestError(f"split {k} of UCF101: wanted 1, 2 or 3")
            train, test = (
                _entries(find(root, f"{_LISTS}/{part}", part), names, disk)
                for part in (f"trainlist{k:02}.txt", f"testlist{k:02}.txt")
            )
            for part, got, want in zip(("training", "test"), (train, test), COUNTS[k], strict=True):
                wrong += expect(f"{part} videos of split {k}", len(got), want)
            splits.append(Split(name=str(k), train=train, test=test))
        classes = tuple(names[i] for i in sorted(names))
        return Listing(
            root=root, classes=classes, splits=tuple(splits), wrong=wrong, notes=disk.note()
        )


def _classes(path: Path) -> dict[int, str]:
    """Names by number, counted from 1."""
    out: dict[int, str] = {}
    for number, line in lines_of(path):
        index, _, name = line.partition(" ")
        if not index.isdigit() or not name.strip():
            raise wrong_line(path, number, line, "`1 ApplyEyeMakeup`")
        out[int(index)] = name.strip()
    return out


def _entries(path: Path, names: dict[int, str], disk: Disk) -> tuple[Entry, ...]:
    """Lines of a list; the class is the folder, and that of the label where there is one."""
    out = []
    for number, line in lines_of(path):
        name, _, label = line.partition(" ")
        folder, _, file = name.partition("/")
        if not file or (label and not label.strip().isdigit()):
            raise wrong_line(path, number, line, "`Class/v_Class_g01_c01.avi` and maybe a label")
        if folder not in names.values():
            raise ManifestError(
                f"{path}, line {number}: {unknown('class', folder, names.values())}"
            )
        if label and names.get(int(label)) != folder:
            raise ManifestError(
                f"{path}, line {number}: label {label.strip()} is "
                f"{names.get(int(label))!r} in classInd.txt, the folder is {folder!r}"
            )
        out.append(
            Entry(name=name, path=disk.at(name), labels=(folder,), group=_group(folder, file))
        )
    return tuple(out)


def _group(folder: str, file: str) -> str | None:
    """`v_Biking_g08_c01.avi`: clips of group 8 come from one video."""
    found = [part for part in file.split("_") if part[:1] == "g" and part[1:].isdigit()]
    return f"{folder} {found[-1]}" if found else None
