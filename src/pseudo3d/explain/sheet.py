"""Pictures of videos beside those nearest to them."""

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item
from pseudo3d.data.sampling import uniform
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.embed import Neighbors
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.report.maps import Cell

HEIGHT = 96  # pixels of a thumbnail


def choose(labels: Sequence[str | None], count: int, seed: int = 0) -> list[int]:
    """Numbers of `count` videos, one of every label in turn."""
    rng = random.Random(seed)
    by_label: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        by_label[label or ""].append(i)
    for videos in by_label.values():
        rng.shuffle(videos)
    turns = sorted(
        (turn, label, i) for label, videos in by_label.items() for turn, i in enumerate(videos)
    )
    return [i for _, _, i in turns[:count]]


def find(paths: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Numbers of the videos whose paths end like the names given.

    Raises:
        Pseudo3dError: none or several do.
    """
    found = []
    for name in wanted:
        fits = [i for i, path in enumerate(paths) if path.endswith(name)]
        if len(fits) != 1:
            raise Pseudo3dError(
                f"{len(fits)} of {len(paths)} videos end in {name!r}; wanted one: give more of its "
                f"path, like {paths[fits[0] if fits else 0]!r}"
            )
        found += fits
    return found


def same_label(features: FeatureSet, near: Neighbors) -> tuple[float, int]:
    """Share of the labeled videos whose nearest video has their label, and how many they are."""
    pairs = [
        (features.labels[i], features.labels[j])
        for i, j in enumerate(near.index[:, 0])
        if features.labels[i] is not None
    ]
    if not pairs:
        return float("nan"), 0
    return sum(a == b for a, b in pairs) / len(pairs), len(pairs)


def rows(
    features: FeatureSet,
    near: Neighbors,
    queries: Sequence[int],
    *,
    root: Path | None = None,
    frames: int = 3,
) -> list[list[Cell]]:
    """Cells of a sheet: each query, then its neighbors.

    Args:
        root: where relative paths of the feature file start; None takes the current folder.
        frames: of each video, side by side.
    """

    def cell(video: int, right: bool | None, small: str) -> Cell:
        start, end = features.spans[video] if features.spans else (None, None)
        label = features.labels[video]
        path = (root or Path()) / features.paths[video]
        item = Item(path=path, label=label or "", start=start, end=end)
        image, problem = _thumbnail(item, frames)
        return Cell(image=image, text=label or "no label", small=problem or small, right=right)

    out = []
    for query in queries:
        label = features.labels[query]
        line = [cell(query, None, _who(features, query))]
        for video, cosine in zip(near.index[query], near.similarity[query], strict=True):
            right = None if label is None else features.labels[video] == label
            line.append(cell(int(video), right, f"{cosine:.2f} · {_who(features, int(video))}"))
        out.append(line)
    return out


def _who(features: FeatureSet, video: int) -> str:
    return features.groups[video] or Path(features.paths[video]).name


def _thumbnail(item: Item, frames: int) -> tuple[UInt8[np.ndarray, "h w 3"], str | None]:
    """Frames side by side, or a gray field and what is wrong with the file."""
    try:
        shown = FrameStore(resize=HEIGHT).read(item)
        clip = shown.take(uniform(len(shown.times), frames)).permute(1, 2, 3, 0).numpy()
    except (Pseudo3dError, OSError) as err:
        return np.full((HEIGHT, HEIGHT * frames, 3), 200, np.uint8), f"cannot be read: {err}"
    gap = np.full((clip.shape[1], 2, 3), 255, np.uint8)
    parts = [part for image in clip for part in (gap, image)][1:]
    return np.concatenate(parts, axis=1), None
