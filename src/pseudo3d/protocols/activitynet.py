"""ActivityNet v1.3 (Heilbron et al., CVPR 2015): untrimmed videos, one JSON."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pseudo3d.errors import ManifestError
from pseudo3d.protocols.base import NOTES, Entry, Listing, Published, Split, expect
from pseudo3d.protocols.options import option
from pseudo3d.protocols.reading import Disk, find, text_of
from pseudo3d.protocols.recognition import Recognition
from pseudo3d.protocols.scoring import Scores, Truth, hit, mean_ap

COUNTS = {"training": 10_024, "validation": 4_926, "testing": 5_044}
_FILE = "activity_net.v1-3.min.json"


@dataclass(frozen=True, kw_only=True)
class ActivityNet(Recognition):
    """Trained on the training subset, scored on the validation subset."""

    name: ClassVar[str] = "activitynet"
    title: ClassVar[str] = "ActivityNet v1.3, classification of untrimmed videos"
    reads: ClassVar[tuple[str, ...]] = (
        f"{_FILE}: database[id] = subset, duration, annotations of segment and label",
        "v_<id>.mp4 or <id>.mp4, in the root or in folders below it",
    )
    samples: ClassVar[str] = "clips of 16 consecutive frames, spread evenly over the whole video"
    scores: ClassVar[str] = "top-1, top-3 and mean average precision on the validation subset"
    published: ClassVar[tuple[Published, ...]] = (
        Published("P3D, top-1/top-3/mAP", "75.12/87.71/78.86 %", f"paper, Table 4; {NOTES}"),
        Published("ResNet-152", "71.43/86.45/76.56 %", f"paper, Table 4; {NOTES}"),
        Published("C3D", "65.80/81.16/67.68 %", f"paper, Table 4; {NOTES}"),
        Published("IDT", "64.70/77.98/68.69 %", f"paper, Table 4; {NOTES}"),
    )

    train_on: Literal["whole", "segments"] = option(
        "whole", "clips of whole training videos, or of their labeled segments", "silent"
    )

    def measure(self, scores: Scores, truth: Truth) -> dict[str, float]:
        """top1, top3 and mAP."""
        top = {"top1": hit(scores, truth), "top3": hit(scores, truth, 3)}
        return top | {"mAP": mean_ap(scores, truth)}

    def read(self, root: str | Path) -> Listing:
        """Read the JSON; see `Benchmark.read`."""
        root = Path(root)
        path = find(root, _FILE, f"annotations/{_FILE}")
        database = _database(path)
        subsets = Counter(str(video.get("subset")) for video in database.values())
        if strange := sorted(subsets.keys() - COUNTS.keys()):
            raise ManifestError(f"{path}: unknown subsets {strange}; wanted {', '.join(COUNTS)}")
        wrong: tuple[str, ...] = ()
        for name, count in COUNTS.items():
            wrong += expect(f"{name} videos", subsets[name], count)
        disk = Disk(root, "")
        train, test, several, told = list[Entry](), list[Entry](), 0, 0
        for key, video in database.items():
            labels = tuple(dict.fromkeys(note["label"] for note in video.get("annotations", ())))
            several += len(labels) > 1
            file = disk.named(f"v_{key}") or disk.named(key)
            if video["subset"] == "training":
                found = self._training(key, video, file, labels)
                train += [e for e in found if e.end is None or 0 <= (e.start or 0.0) < e.end]
                told += len(found)
            elif video["subset"] == "validation":
                test.append(Entry(name=key, path=file, labels=labels))
        notes = disk.note()
        if several:
            notes += (f"{several} videos have segments of several classes; each counts as right",)
        if told > len(train):
            notes += (f"{told - len(train)} segments end before they begin, and are left out",)
        classes = tuple(sorted({label for entry in (*train, *test) for label in entry.labels}))
        split = Split(name="validation", train=tuple(train), test=tuple(test))
        return Listing(root=root, classes=classes, splits=(split,), wrong=wrong, notes=notes)

    def _training(
        self, key: str, video: dict[str, Any], file: Path | None, labels: tuple[str, ...]
    ) -> list[Entry]:
        if self.train_on == "whole":
            return [Entry(name=key, path=file, labels=labels)]
        out = []
        for i, note in enumerate(video.get("annotations", ())):
            start, end = map(float, note["segment"])
            label = (note["label"],)
            out.append(Entry(name=f"{key}#{i}", path=file, labels=label, start=start, end=end))
        return out


def _database(path: Path) -> dict[str, dict[str, Any]]:
    try:
        database = json.loads(text_of(path))["database"]
        return dict(database)
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise ManifestError(
            f"{path} is no ActivityNet list ({type(err).__name__}: {err}); wanted JSON with "
            "'database'"
        ) from err
