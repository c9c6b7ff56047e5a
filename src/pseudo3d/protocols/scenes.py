"""Dynamic Scene (Shroff et al., CVPR 2010) and YUPENN (Derpanis et al., CVPR 2012).

Neither has lists: every video is tested once, by an SVM that was trained on all the others.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from pseudo3d.data.video import VIDEO_SUFFIXES
from pseudo3d.engine.judge import Model
from pseudo3d.errors import ManifestError
from pseudo3d.features.featureset import Normalize
from pseudo3d.features.sources import Extractor
from pseudo3d.protocols.base import NOTES, Entry, Listing, Published, Split, expect
from pseudo3d.protocols.frames import frames_video, pictures
from pseudo3d.protocols.options import option
from pseudo3d.protocols.reading import class_folders
from pseudo3d.protocols.recognition import Recognition


@dataclass(frozen=True, kw_only=True)
class Scenes(Recognition):
    """Leave one video out, linear SVM: the author's recipe (his repository's issue 6)."""

    homes: ClassVar[tuple[str, ...]]
    expected: ClassVar[tuple[int, int]]  # classes, videos in each
    samples: ClassVar[str] = (
        "clips of 16 consecutive frames, spread evenly, short side 160, center crop, averaged "
        "with their mirror images"
    )
    scores: ClassVar[str] = "share of the videos that an SVM trained on all the others gets right"

    resize: int | None = option(
        160, "pixels of the short side, of which the network's crop is cut; None: the network's own"
    )
    mirror: bool = option(True, "average each clip's features with its mirror image's")
    normalize: tuple[Normalize, ...] = option(("ssqrt", "l2"), "of the features")
    solver: Literal["liblinear", "libsvm"] = option("libsvm", "of the SVM")

    def _extractor(self, weights: Model) -> Extractor:
        found = super()._extractor(weights)
        if self.resize is None:
            return found
        return replace(found, pre=replace(found.pre, resize=self.resize))

    def read(self, root: str | Path) -> Listing:
        """A folder per class, of videos or of folders of frames; see `Benchmark.read`."""
        root = Path(root)
        home = next((h for name in self.homes if (h := root / name).is_dir()), root)
        if not home.is_dir():
            raise ManifestError(f"{home} is no folder; give the one with a folder per class")
        entries = [e for folder in class_folders(home) for e in _entries(folder, root)]
        counts = Counter(entry.labels[0] for entry in entries)
        classes = tuple(sorted(counts))
        if len(entries) < 2:
            raise ManifestError(f"{home} holds {len(entries)} videos in class folders; wanted more")
        wrong = expect("classes", len(classes), self.expected[0])
        for name in classes:
            wrong += expect(f"videos of {name}", counts[name], self.expected[1])
        splits = tuple(
            Split(name=e.name, train=(*entries[:i], *entries[i + 1 :]), test=(e,))
            for i, e in enumerate(entries)
        )
        alone = [name for name, count in counts.items() if count == 1]
        notes = (f"{len(alone)} classes have one video, which nobody can get right",)
        return Listing(
            root=root, classes=classes, splits=splits, wrong=wrong, notes=notes if alone else ()
        )


def _entries(folder: Path, root: Path) -> list[Entry]:
    """Videos of a class; folders of frames become videos below `from_frames`."""
    out = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            video = path
        elif path.is_dir() and pictures(path):
            video = frames_video(path, root / "from_frames" / folder.name / f"{path.name}.mp4")
        else:
            continue
        name = f"{folder.name}/{path.name}"
        out.append(Entry(name=name, path=video, labels=(folder.name,)))
    return out


@dataclass(frozen=True, kw_only=True)
class DynamicScene(Scenes):
    """130 videos."""

    name: ClassVar[str] = "dynamic_scene"
    title: ClassVar[str] = "Dynamic Scene (Maryland), leave one video out"
    reads: ClassVar[tuple[str, ...]] = (
        "<class>/<video>, 13 folders of 10 videos, in the root, maryland/ or dynamic_scenes/",
        "  or frames/<class>/<video>/<frame>",
    )
    homes: ClassVar[tuple[str, ...]] = ("maryland", "dynamic_scenes", "frames")
    expected: ClassVar[tuple[int, int]] = (13, 10)
    published: ClassVar[tuple[Published, ...]] = (
        Published("P3D ResNet", "94.6 %", f"paper, Table 6; {NOTES}"),
        Published("ResNet-152; C3D", "93.6 %; 87.7 %", f"paper, Table 6; {NOTES}"),
    )


@dataclass(frozen=True, kw_only=True)
class Yupenn(Scenes):
    """420 videos."""

    name: ClassVar[str] = "yupenn"
    title: ClassVar[str] = "YUPENN Dynamic Scenes, leave one video out"
    reads: ClassVar[tuple[str, ...]] = (
        "YUPENN_dynamic_scenes_data_set/<class>/<video>, 14 folders of 30 videos",
        "  or frames/<class>/<video>/<frame>",
    )
    homes: ClassVar[tuple[str, ...]] = ("YUPENN_dynamic_scenes_data_set", "frames")
    expected: ClassVar[tuple[int, int]] = (14, 30)
    published: ClassVar[tuple[Published, ...]] = (
        Published("P3D ResNet", "99.5 %", f"paper, Table 6; {NOTES}"),
        Published("ResNet-152; C3D", "99.2 %; 98.1 %", f"paper, Table 6; {NOTES}"),
    )
