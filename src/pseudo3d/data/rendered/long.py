"""Rendered training sessions: long videos in which exercises are repeated, with known truth.

Each of the little people does sets of repetitions with rests between them and pauses between the
sets. They show how a long recording is cut and counted, and test the code that does it.
"""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from pseudo3d.data.annotations import Mark
from pseudo3d.data.rendered import courses, motions
from pseudo3d.data.rendered import figures as fig
from pseudo3d.errors import Pseudo3dError

EXERCISES: dict[str, tuple[str, str]] = {
    "arm_raise": ("open", "close"),
    "squat": ("sit", "stand"),
    "swing": ("wave_left", "wave_right"),
}
"""Each repetition is a motion there and the same way back."""

FPS = 15
_REST = (10, 30)  # frames between two repetitions
_PAUSE = (20, 45)  # frames between two sets

Progress = Callable[[int, int], None]


def render_sessions(
    out_dir: str | Path,
    *,
    people: int = 6,
    sets: int = 3,
    size: int = 72,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Render one session of every person, and say what happens when.

    Args:
        people: each in one split only; a third is for testing, a sixth for validation.
        sets: of three to five repetitions, about 12 s each, in every session.
        size: side of the frames in pixels, an even number of 32 or more.
        progress: called with the videos done and the videos in all.
    Returns:
        Path of `truth.csv` (path, label, start, end, group, split); `truth.json` beside it says the
        same in ActivityNet's form.
    Raises:
        Pseudo3dError: fewer than 3 people, no set, or an odd or tiny size.
        VideoError: a file cannot be written.
    """
    if people < 3 or sets < 1:
        raise Pseudo3dError(f"{people} people, {sets} sets; wanted 3 people, 1 set or more")
    if size < 32 or size % 2:
        raise Pseudo3dError(f"size is {size!r}: wanted an even number of pixels, 32 or more")
    test, val = max(1, round(people / 3)), max(1, round(people / 6))
    splits = ["train"] * (people - test - val) + ["val"] * val + ["test"] * test
    out, text = Path(out_dir), StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "start", "end", "group", "split"])
    database: dict[str, Any] = {}
    for person, split in enumerate(splits):
        name = f"session{person:02d}.mp4"
        marks, seconds = render_session(out / name, person=person, sets=sets, size=size, seed=seed)
        who = f"person{person:02d}"
        rows.writerows([name, m.label, f"{m.start:.3f}", f"{m.end:.3f}", who, split] for m in marks)
        database[Path(name).stem] = _entry(marks, seconds, split)
        if progress is not None:
            progress(person + 1, people)
    _save(
        out / "truth.json", json.dumps({"version": "VERSION 1.3", "database": database}, indent=1)
    )
    return _save(out / "truth.csv", text.getvalue())


def render_session(
    out_path: str | Path, *, person: int = 0, sets: int = 3, size: int = 72, seed: int = 0
) -> tuple[list[Mark], float]:
    """Render one session.

    Returns:
        Its repetitions in order, and its length in seconds.
    Raises:
        VideoError: the file cannot be written.
    """
    rng = np.random.default_rng((seed, 4, person))
    figure = motions._person(seed, person)
    scene = motions._scene(rng, figure, size, stool=True)
    parts = [_still(fig.NEUTRAL, rng, _PAUSE)]
    marks: list[Mark] = []
    names = [str(n) for n in rng.permutation(sorted(EXERCISES))]
    for number in range(sets):
        label = names[number % len(names)]
        for _ in range(int(rng.integers(3, 6))):
            once = _repetition(rng, scene, label)
            parts.append(motions._blend(parts[-1][-1], once[0], 3))
            frame = sum(map(len, parts))
            marks.append(Mark(frame / FPS, (frame + len(once)) / FPS, label))
            parts += [once, _still(once[-1], rng, _REST)]
        parts.append(motions._blend(parts[-1][-1], fig.NEUTRAL, 4))
        parts.append(_still(fig.NEUTRAL, rng, _PAUSE))
    pose = np.concatenate(parts)
    motions._write(Path(out_path), motions._film(rng, figure, scene, pose, FPS), FPS)
    return marks, len(pose) / FPS


def _repetition(rng: np.random.Generator, scene: fig.Scene, label: str) -> np.ndarray:
    """Poses of there and back, 1.3 to 2.1 s."""
    there, back = motions._act(rng, scene, EXERCISES[label])
    whole = np.concatenate([there, back])
    count = int(rng.integers(20, 32))
    return whole[np.rint(np.linspace(0, len(whole) - 1, count)).astype(int)]


def _still(pose: np.ndarray, rng: np.random.Generator, frames: tuple[int, int]) -> np.ndarray:
    """One pose for a while; the camera still moves, and people never stand quite still."""
    count = int(rng.integers(*frames))
    held = np.tile(pose, (count, 1))
    unrest = np.sin(courses.drift(rng, count, fig.LEAN + 1) / FPS)
    held[:, : fig.LEAN + 1] += unrest * rng.uniform(0, 3, fig.LEAN + 1)
    return held


def _entry(marks: list[Mark], seconds: float, split: str) -> dict[str, Any]:
    """A video as ActivityNet lists it."""
    subset = {"train": "training", "val": "validation", "test": "testing"}[split]
    notes = [{"segment": [round(m.start, 3), round(m.end, 3)], "label": m.label} for m in marks]
    return {"subset": subset, "duration": round(seconds, 3), "annotations": notes}


def _save(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)
