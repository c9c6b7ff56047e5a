"""Kinetics (Kay et al., 2017): lists as CSV, ten-second clips in a folder per class."""

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import ClassVar, Literal

from pseudo3d.errors import ManifestError, unknown
from pseudo3d.protocols.base import Entry, Listing, Published, Split
from pseudo3d.protocols.options import option
from pseudo3d.protocols.reading import Disk, text_of
from pseudo3d.protocols.recognition import Recognition
from pseudo3d.protocols.scoring import Scores, Truth, hit

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_PARTS = {"validate": "val", "validation": "val", "valid": "val"}
_ISSUE = "github.com/ZhaofanQiu/pseudo-3d-residual-networks"


@dataclass(frozen=True, kw_only=True)
class Kinetics(Recognition):
    """Top-1 and top-5 on one part of the lists."""

    name: ClassVar[str] = "kinetics"
    title: ClassVar[str] = "Kinetics, CSV lists"
    reads: ClassVar[tuple[str, ...]] = (
        "*.csv or annotations/*.csv: label,youtube_id,time_start,time_end,split[,is_cc]",
        "<class>/<id>_000010_000020.mp4, also below <split>/ or videos/;",
        "  the folder has the label's blanks or underscores",
    )
    samples: ClassVar[str] = "clips of 16 consecutive frames, spread evenly over each video"
    scores: ClassVar[str] = "top-1 and top-5 of the videos"
    published: ClassVar[tuple[Published, ...]] = (
        Published("P3D-152 RGB; flow, top-1", "72.1 %; 61.2 %", f"author, {_ISSUE}, issue 11"),
        Published(
            "the same RGB network, 25 clips, clip and video top-1",
            "59.5 %; 69.4 %",
            f"a user, {_ISSUE}, issue 27",
        ),
    )

    task: Literal["svm", "end_to_end"] = option(
        "end_to_end", "the network's own classes, or a linear SVM on features", "variant"
    )
    part: Literal["val", "test"] = option("val", "what is scored", "silent")
    clips: int = option(20, "clips per video, spread evenly, one center crop each")

    def measure(self, scores: Scores, truth: Truth) -> dict[str, float]:
        """top1 and top5."""
        return {"top1": hit(scores, truth), "top5": hit(scores, truth, 5)}

    def read(self, root: str | Path) -> Listing:
        """Read every CSV; see `Benchmark.read`."""
        root = Path(root)
        files = [*sorted(root.glob("*.csv*")), *sorted(root.glob("annotations/*.csv*"))]
        if not files:
            raise ManifestError(f"{root} holds no CSV, nor does {root / 'annotations'}")
        rows = [row for path in files for row in _rows(path)]
        disk = Disk(root, "train", "val", "validate", "test", "videos", "")
        parts: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
        for row in rows:
            parts[row["split"]].append(_entry(row, disk))
        # the order of the classes is alphabetical (the author, issue 18)
        classes = tuple(sorted({label for row in rows if (label := plain(row["label"]))}))
        test = parts[self.part]
        if not test:
            raise ManifestError(f"{root}: no row of its {len(files)} CSV is of split {self.part!r}")
        ids = [
            {row["youtube_id"] for row in rows if row["split"] == s} for s in ("train", self.part)
        ]
        both = len(ids[0] & ids[1])
        told = (f"{both} YouTube videos give clips to training and {self.part}",) if both else ()
        split = Split(name=self.part, train=tuple(parts["train"]), test=tuple(test))
        return Listing(root=root, classes=classes, splits=(split,), notes=told)


def plain(label: str) -> str:
    """A label without quotes, underscores and double blanks."""
    return " ".join(label.replace("_", " ").replace('"', "").split())


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows as they are; unknown columns are let be, a test list may lack its labels."""
    reader = csv.DictReader(StringIO(text_of(path), newline=""))
    names = [name.strip() for name in reader.fieldnames or ()]
    if lost := [name for name in COLUMNS[1:] if name not in names]:
        raise ManifestError(
            f"{path} lacks the columns {', '.join(lost)}; its header is {','.join(names)!r}, "
            f"wanted {','.join(COLUMNS)}"
        )
    try:
        lines = list(reader)
    except csv.Error as err:
        raise ManifestError(f"{path} is no CSV: {err}; fetch it again") from err
    out = []
    for number, cells in enumerate(lines, start=2):
        row = {str(k).strip(): str(v or "").strip() for k, v in cells.items()}
        row["split"] = _PARTS.get(row["split"], row["split"])
        row.setdefault("label", "")
        if row["split"] not in ("train", "val", "test"):
            known = ("train", "val", "test", *_PARTS)
            raise ManifestError(f"{path}, row {number}: {unknown('split', row['split'], known)}")
        try:
            row["span"] = "_".join(f"{round(float(row[n])):06}" for n in COLUMNS[2:4])
        except (ValueError, OverflowError):
            raise ManifestError(
                f"{path}, row {number}: time_start {row['time_start']!r}, time_end "
                f"{row['time_end']!r}; wanted seconds"
            ) from None
        out.append(row)
    return out


def _entry(row: dict[str, str], disk: Disk) -> Entry:
    label = plain(row["label"])
    stem = f"{row['youtube_id']}_{row['span']}"
    folders = dict.fromkeys([row["label"].strip('"'), label, label.replace(" ", "_"), ""])
    names = [
        f"{folder}/{stem}{suffix}" for folder in folders for suffix in (".mp4", ".mkv", ".webm")
    ]
    path = disk.at(*(name.lstrip("/") for name in names))
    return Entry(name=stem, path=path, labels=(label,) if label else ())
