"""A rendered demo set: little people doing twelve things, ten of which only time order tells apart.

Each clip of an order pair is drawn along a one-way course; the second class of the pair is the same
drawing, noise and all, played backwards. Person, place, background, speed and noise are drawn
without looking at the class. Every frame is coded on its own with a fixed quantizer, so the codec
does not know which frame came first either: no single frame, and no unordered set of frames, says
which of the two it is.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pseudo3d.data.rendered import courses
from pseudo3d.data.rendered import figures as fig
from pseudo3d.data.writer import VideoWriter
from pseudo3d.errors import Pseudo3dError, unknown

ORDER_PAIRS: tuple[tuple[str, str], ...] = (
    ("approach", "recede"),
    ("open", "close"),
    ("sit", "stand"),
    ("turn_cw", "turn_ccw"),
    ("wave_left", "wave_right"),
)
"""The first class runs its course forwards, the second backwards."""

CLASSES: tuple[str, ...] = tuple(
    sorted([*(name for pair in ORDER_PAIRS for name in pair), "clapping", "waving"])
)

UNSEEN_PERSON = 1000
"""Index of a figure that is in no demo set."""

_COURSE = {second: first for first, second in ORDER_PAIRS}
_LONG_FPS = 15
_MARGIN = 4  # pixels around the frame that the shaking camera may show

Progress = Callable[[int, int], None]
Segment = tuple[float, float, str]  # start and end in seconds, label


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One rendered clip: frames uint8 (T, side, side, 3) and their rate in Hz."""

    frames: np.ndarray
    fps: int


def _person(seed: int, index: int) -> fig.Person:
    return fig.make_person(np.random.default_rng((seed, 1, index)))


def _scene(rng: np.random.Generator, person: fig.Person, size: int, stool: bool) -> fig.Scene:
    """A place in which the person can be seen; a stool always, or in every second one."""
    clothes = np.array([person.shirt, person.trousers, person.skin], dtype=np.float32)
    for _ in range(12):
        background = fig.make_background(rng, size + 2 * _MARGIN)
        gap = np.abs(clothes - background.mean((0, 1))).max(axis=1).min()
        if gap > 70:
            break
    side = -1.0 if rng.uniform() < 0.5 else 1.0
    return fig.Scene(
        background=background,
        margin=_MARGIN,
        height=rng.uniform(0.56, 0.72),
        x=rng.uniform(0.42, 0.58),
        ground=rng.uniform(0.88, 0.96),
        stool=side if stool or rng.uniform() < 0.5 else None,
    )


def _film(
    rng: np.random.Generator, person: fig.Person, scene: fig.Scene, pose: np.ndarray, fps: int
) -> np.ndarray:
    """Draw the poses and add what a camera adds: shake, tint, flicker and noise."""
    shake = np.sin(courses.drift(rng, len(pose), 2) * 2 / fps) * rng.uniform(0, 2)
    shake += rng.uniform(-1, 1, shake.shape) * rng.uniform(0, 0.5)
    frames = fig.draw_frames(person, scene, pose, shake).astype(np.float32)
    flicker = 1 + rng.normal(0, 0.01, (len(pose), 1, 1, 1))
    frames *= (rng.uniform(0.88, 1.12, 3) * rng.uniform(0.85, 1.1) * flicker).astype(np.float32)
    frames += rng.standard_normal(frames.shape, dtype=np.float32) * np.float32(rng.uniform(0, 7))
    return np.rint(frames.clip(0, 255)).astype(np.uint8)


def render_clip(label: str, person: int = 0, seed: tuple[int, ...] = (0,), size: int = 72) -> Clip:
    """Render one clip of 16 to 32 frames at 12 to 16 Hz.

    With one and the same seed, the two classes of an order pair give the same frames in opposite
    order.

    Args:
        person: index of the figure; the first number of `seed` decides what it looks like.
        seed: numbers that decide everything else.
        size: side of the frame in pixels.
    Raises:
        Pseudo3dError: the label is not one of `CLASSES`.
    """
    if label not in CLASSES:
        raise Pseudo3dError(unknown("motion", label, CLASSES))
    course = _COURSE.get(label, label)
    rng = np.random.default_rng((*seed, 2, person))
    figure = _person(seed[0], person)
    count, fps = int(rng.integers(16, 33)), int(rng.integers(12, 17))
    scene = _scene(rng, figure, size, stool=course == "sit")
    frames = _film(rng, figure, scene, courses.poses(rng, course, scene, count, fps), fps)
    return Clip(frames=frames[::-1] if label in _COURSE else frames, fps=fps)


class _Writer(VideoWriter):
    """Codes every frame on its own and equally well: a coded clip does not tell its direction."""

    def _open(self, width: int, height: int) -> None:
        super()._open(width, height)
        self._stream.options = {"qp": "23", "preset": "veryfast"}
        self._stream.codec_context.gop_size = 1


def _write(path: Path, frames: np.ndarray, fps: int) -> None:
    with _Writer(path, fps) as writer:
        writer.write(torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2))


def _splits(persons: int) -> list[str]:
    """Split of each person: about a third for testing, a tenth for validation."""
    if persons < 3:
        raise Pseudo3dError(f"persons is {persons!r}: wanted 3 or more, one for each split")
    test, val = max(1, round(0.3 * persons)), max(1, round(0.1 * persons))
    return ["train"] * (persons - test - val) + ["val"] * val + ["test"] * test


def render_motions(
    out_dir: str | Path,
    *,
    persons: int = 10,
    clips_per_class: int = 40,
    size: int = 72,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Render the demo set as MP4 files and list them.

    Args:
        persons: figures, each in one split only: `train`, `val` or `test`.
        clips_per_class: dealt out evenly over the persons.
        size: side of the frames in pixels, an even number of 32 or more.
        progress: called with the clips done and the clips in all.
    Returns:
        Path of `manifest.csv`: columns path, label, group (the person), split.
    Raises:
        Pseudo3dError: fewer than 3 persons, or not one clip for each, or an odd or tiny size.
        VideoError: a file cannot be written.
    """
    splits, out_dir = _splits(persons), Path(out_dir)
    if clips_per_class < persons:
        raise Pseudo3dError(f"clips_per_class is {clips_per_class!r}: wanted {persons} or more")
    if size < 32 or size % 2:
        raise Pseudo3dError(f"size is {size!r}: wanted an even number of pixels, 32 or more")
    rows = []
    for kind, label in enumerate(CLASSES):
        for number in range(clips_per_class):
            person = number % persons
            clip = render_clip(label, person, (seed, kind, number), size)
            name = f"{label}/person{person:02d}_{number:03d}.mp4"
            _write(out_dir / name, clip.frames, clip.fps)
            rows.append((name, label, f"person{person:02d}", splits[person]))
            if progress is not None:
                progress(len(rows), len(CLASSES) * clips_per_class)
    path = out_dir / "manifest.csv"
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("path", "label", "group", "split"), *rows]
        )
    return part.replace(path)


def _blend(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """Smooth passage (count, 12) between two poses, ends left out."""
    s = np.arange(1, count + 1)[:, None] / (count + 1)
    return start + (end - start) * (3 * s**2 - 2 * s**3)


def _still(pose: np.ndarray) -> np.ndarray:
    """The pose with whole turns taken away."""
    pose = pose.copy()
    pose[fig.SPIN] = 0.0
    return pose


def _act(rng: np.random.Generator, scene: fig.Scene, labels: tuple[str, ...]) -> list[np.ndarray]:
    """Poses of one or two actions in a row; the second goes the first one's way back."""
    count = int(rng.integers(20, 33))
    pose = courses.poses(rng, _COURSE.get(labels[0], labels[0]), scene, count, _LONG_FPS)
    if "turn_cw" in labels:  # once round, from upright to upright
        spin = pose[:, fig.SPIN] - pose[0, fig.SPIN]
        pose[:, fig.SPIN] = 360 * spin / spin[-1]
    if labels[0] in _COURSE:
        pose = pose[::-1]
    back = np.rint(np.linspace(count - 1, 0, int(rng.integers(20, 33)))).astype(int)
    return [pose, pose[back]][: len(labels)]


def _program(rng: np.random.Generator, actions: int) -> list[tuple[str, ...]]:
    """Actions in an order a person can follow: who sits down stands up next."""
    blocks: list[tuple[str, ...]] = []
    while sum(map(len, blocks)) < actions:
        pairs = [p if rng.uniform() < 0.5 else p[::-1] for p in ORDER_PAIRS[3:]]
        todo: list[tuple[str, ...]] = [("clapping",), ("waving",), *pairs]
        todo += [("recede", "approach"), ("open", "close"), ("sit", "stand")]
        blocks += [todo[i] for i in rng.permutation(len(todo))]
    while sum(map(len, blocks)) > actions + 1:
        blocks.pop()
    return blocks


def render_long(
    out_path: str | Path,
    *,
    person: int = UNSEEN_PERSON,
    seconds: float = 25.0,
    size: int = 72,
    seed: int = 0,
) -> list[Segment]:
    """Render one long video of several actions in a row and say what happens when.

    Between the actions the person stands still or changes to the next pose; no segment covers that.

    Args:
        person: index of the figure; the default is in no demo set.
        seconds: about how long; one action and its pause take 3 s.
    Returns:
        (start, end, label) of each action, in seconds, in order.
    Raises:
        VideoError: the file cannot be written.
    """
    rng = np.random.default_rng((seed, 3, person))
    figure = _person(seed, person)
    scene = _scene(rng, figure, size, stool=True)
    last = fig.NEUTRAL
    parts = [np.tile(last, (int(rng.integers(6, 12)), 1))]
    truth: list[Segment] = []
    for labels in _program(rng, max(1, round(seconds / 2.9))):
        for label, action in zip(labels, _act(rng, scene, labels), strict=True):
            parts.append(_blend(last, _still(action[0]), int(rng.integers(4, 8))))
            frame = sum(map(len, parts))
            truth.append((frame / _LONG_FPS, (frame + len(action)) / _LONG_FPS, label))
            last = _still(action[-1])
            parts += [action, np.tile(last, (int(rng.integers(3, 8)), 1))]
        parts.append(_blend(last, fig.NEUTRAL, int(rng.integers(4, 8))))
        last = fig.NEUTRAL
    pose = np.concatenate(parts)
    _write(Path(out_path), _film(rng, figure, scene, pose, _LONG_FPS), _LONG_FPS)
    return truth
