"""Where videos lie by their features: maps in the plane, and who is nearest to whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int64

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.features.featureset import FeatureSet, Normalize, normalized, unit

Method = Literal["tsne", "pca"]
_COMPONENTS = 50  # that t-SNE starts from, as van der Maaten and Hinton (2008) advise
_CHUNK = 512  # rows compared with all others at a time
_FEWEST = 4


class Plane(NamedTuple):
    """Videos as points."""

    points: Float[np.ndarray, "v 2"]
    axes: tuple[str, str]  # what the two directions mean
    how: str  # what was done, in words


@dataclass(frozen=True)
class Neighbors:
    """The nearest videos of each video, nearest first."""

    index: Int64[np.ndarray, "v k"]
    similarity: Float[np.ndarray, "v k"]  # cosine


def rows_of(
    features: FeatureSet, layer: str | None, normalize: Sequence[str] = ()
) -> Float[np.ndarray, "v f"]:
    """One layer of a feature file; without a name pool5, or the only one there is.

    Raises:
        Pseudo3dError: no such layer, or several and none is pool5.
        TypeError: an unknown normalization.
    """
    if layer is None and "pool5" in features.layers:
        layer = "pool5"
    x = features.layer(layer)
    steps = cast(Sequence[Normalize], normalize)  # `normalized` refuses unknown ones
    return normalized(x, steps, train=np.arange(len(x)))  # a map tests nothing: all rows count


def plane(
    features: Float[np.ndarray, "v f"],
    method: Method = "tsne",
    *,
    seed: int = 0,
    perplexity: float = 30.0,
) -> Plane:
    """Put videos into the plane; the same features and seed give the same map.

    PCA comes first in both: as the map itself, or down to 50 directions for t-SNE to start from.

    Args:
        perplexity: of t-SNE, about how many neighbors count; at most a third of the videos.
    Raises:
        Pseudo3dError: too few videos, or features that are not finite.
        ImportError: scikit-learn is not installed.
    """
    _check(features)
    decomposition = require("sklearn.decomposition", "eval")
    kept = min(2 if method == "pca" else _COMPONENTS, *features.shape)
    pca = decomposition.PCA(kept, random_state=seed)
    points = pca.fit_transform(features.astype(np.float64))
    share = pca.explained_variance_ratio_
    if method == "pca":
        points = np.pad(points, ((0, 0), (0, 2 - kept)))
        share = np.pad(share, (0, 2 - kept))
        axes = (f"1st component ({share[0]:.1%})", f"2nd component ({share[1]:.1%})")
        return Plane(points, axes, f"PCA of {features.shape[1]} features")
    near = min(perplexity, (len(points) - 1) / 3)
    tsne = require("sklearn.manifold", "eval").TSNE(
        2, perplexity=near, init="pca", learning_rate="auto", random_state=seed
    )
    how = (
        f"t-SNE (perplexity {near:.3g}, seed {seed}) of {kept} principal components, "
        f"{share.sum():.0%} of the variance"
    )
    return Plane(tsne.fit_transform(points), ("", ""), how)


def nearest(
    features: Float[np.ndarray, "v f"],
    k: int,
    apart: Sequence[str | None] | None = None,
) -> Neighbors:
    """The `k` videos with the largest cosine to each one, itself left out.

    Args:
        apart: groups of the videos; neighbors then come from other groups only, so that the same
            person or source does not answer for the label.
    Raises:
        Pseudo3dError: fewer than `k` others for some video, features that are not finite, or no
            groups at all.
    """
    _check(features)
    if k < 1:
        raise ValueError(f"k is {k}; wanted 1 or more neighbors")
    x = unit(features.astype(np.float32))
    if apart is not None and not any(apart):
        raise Pseudo3dError(
            "neighbors of other groups: no video has a group; add the column group to the list and "
            "extract again, or look among all"
        )
    names = np.array([group or "" for group in apart or [None] * len(x)])
    index, similarity = [], []
    for start in range(0, len(x), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(x)))
        cosine = x[rows] @ x.T
        cosine[(names[rows, None] == names) & (names != "")] = -np.inf
        cosine[np.arange(len(rows)), rows] = -np.inf
        if (others := int(np.isfinite(cosine).sum(1).min())) < k:
            where = "" if apart is None else " outside its group"
            raise Pseudo3dError(
                f"{k} neighbors asked for, and a video has {others} others{where}; ask for fewer"
            )
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        index.append(order)
        similarity.append(np.take_along_axis(cosine, order, axis=1))
    return Neighbors(np.concatenate(index), np.concatenate(similarity))


def _check(features: Float[np.ndarray, "v f"]) -> None:
    if len(features) < _FEWEST:
        raise Pseudo3dError(f"{len(features)} videos are no map; wanted {_FEWEST} or more")
    if not np.isfinite(features).all():
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        raise Pseudo3dError(
            f"{len(bad)} videos have features that are no numbers, the first is number {bad[0]}; "
            "extract them again"
        )
