"""Miniature copies of the benchmarks, laid out as the sets are: a few rendered videos, true lists.

They are for trying a protocol before the set is there, and for tests. Their counts are not the
published ones, so a run on them wants `--partial`.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pseudo3d.data.writer import write_video
from pseudo3d.errors import require, unknown

CLASSES = ("Arrow", "Bowling", "Cycling")
FRAMES, SIDE, FPS = 12, 32, 12
_HUES = ((210, 60, 50), (60, 190, 70), (50, 80, 215), (200, 190, 60))


def write_miniature(name: str, root: str | Path) -> Path:
    """Write the miniature copy of a benchmark; gives the folder that is its --root.

    Raises:
        ValueError: no such benchmark.
        ImportError: ASLAN's pairs are a MATLAB file, which scipy writes.
    """
    if name not in _WRITERS:
        raise ValueError(unknown("benchmark", name, _WRITERS))
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    _WRITERS[name](root)
    return root


def film(path: Path, kind: int, seed: int, frames: int = FRAMES) -> Path:
    """A square of the class's color moves on noise, each class in another direction."""
    rng = np.random.default_rng((kind, seed))
    hue = np.array(_HUES[kind % len(_HUES)]) + rng.integers(-25, 26, 3)
    pixels = rng.integers(40, 90, (frames, SIDE, SIDE, 3))
    start, step = rng.integers(4, 12, 2), ((1, 0), (0, 1), (1, 1), (0, 0))[kind % 4]
    for t in range(frames):
        y, x = start + np.array(step) * t * 8 // frames
        pixels[t, y : y + 12, x : x + 12] = hue
    clip = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)).permute(3, 0, 1, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, clip, FPS)
    return path


def _text(path: Path, lines: Iterable[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def _ucf101(root: Path) -> None:
    """Three groups of two clips in each class; split K tests group K. CRLF where the set has it."""
    lists = root / "ucfTrainTestlist"
    _text(lists / "classInd.txt", (f"{k} {c}" for k, c in enumerate(CLASSES, 1)), "\r\n")
    names = [
        (k, group, f"{label}/v_{label}_g{group:02}_c{clip:02}.avi")
        for k, label in enumerate(CLASSES)
        for group in (1, 2, 3)
        for clip in (1, 2)
    ]
    for i, (k, _, name) in enumerate(names):
        film(root / "UCF-101" / name, k, i)
    for split in (1, 2, 3):
        train = (f"{name} {k + 1}" for k, group, name in names if group != split)
        _text(lists / f"trainlist{split:02}.txt", train)
        test = (name for _, group, name in names if group == split)
        _text(lists / f"testlist{split:02}.txt", test, "\r\n")


def _hmdb51(root: Path) -> None:
    """Names with the set's odd signs; one video of each class is in no split."""
    odd = ("a#1_run;2", "b(x)&y!", "c d_med", "plain", "unused")
    for k, label in enumerate(CLASSES):
        label = label.lower()
        for i, stem in enumerate(odd):
            film(root / "hmdb51_org" / label / f"{label}_{stem}.avi", k, i)
        for split in (1, 2, 3):
            marks = [2 if i in (split - 1, split) else 1 for i in range(4)] + [0]
            lines = (f"{label}_{stem}.avi {mark} " for stem, mark in zip(odd, marks, strict=True))
            folder = root / "testTrainMulti_7030_splits"
            _text(folder / f"{label}_test_split{split}.txt", lines)


def _kinetics(root: Path) -> None:
    """Labels with blanks; folders with blanks and with underscores; one clip is gone."""
    labels = ("riding a bike", "playing chess", "arm wrestling")
    header = ["label", "youtube_id", "time_start", "time_end", "split"]
    for part, count in (("train", 3), ("val", 2)):
        rows = []
        for k, label in enumerate(labels):
            for i in range(count):
                key = f"{part[0]}{k}-{i}_abcdefg"
                rows.append([label, key, 10 * i, 10 * i + 10, part])
                folder = label if k else label.replace(" ", "_")
                clip = f"{key}_{10 * i:06}_{10 * i + 10:06}.mp4"
                film(root / part / folder / clip, k, i + 10 * (part == "val"))
        if part == "val":
            rows.append([labels[0], "gone4567890", 5, 15, part])
        with (root / f"kinetics_{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])


def _activitynet(root: Path) -> None:
    """Untrimmed: two labeled segments in a video; one video is gone, one has two classes."""
    database: dict[str, dict[str, Any]] = {}
    for subset, count in (("training", 3), ("validation", 2), ("testing", 1)):
        for k, label in enumerate(CLASSES):
            for i in range(count):
                key = f"{subset[:2]}{k}{i}_abcdef"
                film(root / "videos" / f"v_{key}.mp4", k, i + 10 * len(subset), 2 * FRAMES)
                spans = [] if subset == "testing" else [[0.2, 0.9], [1.0, 1.8]]
                notes = [{"segment": span, "label": label} for span in spans]
                database[key] = {
                    "subset": subset,
                    "duration": 2.0,
                    "resolution": f"{SIDE}x{SIDE}",
                    "url": f"https://www.youtube.com/watch?v={key}",
                    "annotations": notes,
                }
    database["va00_abcdef"]["annotations"][1]["label"] = CLASSES[1]
    gone = {**database["va10_abcdef"], "url": "https://www.youtube.com/watch?v=gone"}
    database["gone5678901"] = gone
    whole = {"version": "VERSION 1.3", "taxonomy": [], "database": database}
    (root / "activity_net.v1-3.min.json").write_text(json.dumps(whole))


def _sports1m(root: Path) -> None:
    """Six sports; videos of two sports, one video in both lists, gzip-ed lists, one dead URL."""
    sports = ("boomerang", "archery", "curling", "judo", "rugby", "sumo")
    _text(root / "labels.txt", sports)
    url = "http://www.youtube.com/watch?v="
    train, test = list[str](), list[str]()
    for i in range(10):
        key = f"sport{i:06}"
        film(root / "videos" / f"{key}.mp4", i % 3, i)
        labels = f"{i % 3},{i % 6}" if i % 4 == 3 else f"{i % 3}"
        (train if i < 4 else test).append(f"{url}{key} {labels}")
    test += [train[3], f"{url}dead0000000 1"]
    for folder, stem in (("original", ""), ("cross-validation", "sports0_")):
        for part, lines in (("train", train), ("test", test)):
            name = f"{stem}{part}.txt" if stem else f"{part}_partition.txt"
            packed = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{name}.gz").write_bytes(packed)


def _aslan(root: Path) -> None:
    """Three folds of six pairs, half of them of one action; no action in two folds."""
    pairs = np.zeros((6, 5, 3))
    for fold in range(3):
        base = 4 * fold + 1
        first, second = (base, base + 1), (base + 2, base + 3)
        rows = [(*first, 1), (*second, 1), (first[1], first[0], 1)]
        rows += [(first[0], second[0], 0), (first[1], second[1], 0), (first[0], second[1], 0)]
        for i, (a, b, same) in enumerate(rows):
            actions = [2 * fold + (number - base) // 2 + 1 for number in (a, b)]
            pairs[i, :, fold] = (a, b, same, *actions)
        for number in range(base, base + 4):
            film(root / "ASLAN_AVI" / f"{number:04}.avi", (number - base) // 2 + fold, number)
    io = require("scipy.io", "eval")
    io.savemat(root / "View2.mat", {"action_splits_pairs": pairs})


def _scenes(home: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for k, label in enumerate(("Avalanche", "Beach", "Elevator")):
            for i in range(3):
                film(root / home / label / f"{label}_{i + 1}.avi", k, i)

    return write


def _lists(root: Path) -> None:
    """TSN lists, and C3D lists of the same videos."""
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for k, label in enumerate(CLASSES):
        for i in range(4):
            name = f"{label}/clip {i}.mp4"
            film(root / name, k, i)
            parts["test" if i == 3 else "train"].append((name, k))
    _text(root / "names.txt", CLASSES)
    for part, lines in parts.items():
        _text(root / f"{part}.txt", (f"{name} {FRAMES} {k}" for name, k in lines))
        c3d = (f"{name} {start} {k}" for name, k in lines for start in (1, 9))
        _text(root / f"c3d_{part}.txt", c3d)


def _folds(root: Path) -> None:
    """A manifest with three groups."""
    rows = [("path", "label", "group", "split")]
    for k, label in enumerate(CLASSES):
        for group in "abc":
            for i in range(2):
                name = f"{label}/{group}{i}.mp4"
                film(root / name, k, 10 * ord(group) + i)
                rows.append((name, label, group, "test" if group == "c" else "train"))
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


_WRITERS: dict[str, Callable[[Path], None]] = {
    "activitynet": _activitynet,
    "aslan": _aslan,
    "dynamic_scene": _scenes("maryland"),
    "folds": _folds,
    "hmdb51": _hmdb51,
    "kinetics": _kinetics,
    "lists": _lists,
    "sports1m": _sports1m,
    "ucf101": _ucf101,
    "yupenn": _scenes("YUPENN_dynamic_scenes_data_set"),
}
