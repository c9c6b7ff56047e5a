"""Maps keep together what is together; neighbors are those of plain arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain import embed
from pseudo3d.explain.embed import nearest, plane, rows_of
from pseudo3d.features.featureset import FeatureSet


@pytest.fixture(scope="module")
def blobs():
    """Two far groups of 15 videos in 60 dimensions, and which is which."""
    rng = np.random.default_rng(0)
    side = np.arange(30) % 2
    return rng.normal(size=(30, 60)) + 8 * side[:, None], side


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_groups_stay_apart_and_the_seed_decides(blobs, method):
    x, side = blobs
    made = plane(x, method, perplexity=5)
    again = plane(x, method, perplexity=5)
    assert made.points.shape == (30, 2)
    assert np.array_equal(made.points, again.points)
    gap = np.linalg.norm(made.points[:, None] - made.points, axis=2) + np.diag([np.inf] * 30)
    assert (side[gap.argmin(1)] == side).all()


def test_pca_is_what_the_singular_values_say(blobs):
    x, _ = blobs
    made = plane(x, "pca")
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    assert np.allclose(np.abs(made.points), np.abs(u[:, :2] * s[:2]), atol=1e-6)
    assert made.axes[0] == f"1st component ({s[0] ** 2 / (s**2).sum():.1%})"
    assert plane(x[:, :1], "pca").points[:, 1].tolist() == [0] * 30


def test_the_map_says_how_it_was_made(blobs):
    made = plane(blobs[0][:10], "tsne", perplexity=30, seed=3)
    assert "perplexity 3, seed 3" in made.how
    assert "10 principal components" in made.how
    assert made.axes == ("", "")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4), st.booleans(), st.integers(1, 9))
def test_neighbors_are_those_of_the_largest_cosines(seed, k, apart, chunk):
    rng = np.random.default_rng(seed)
    x, groups = rng.normal(size=(11, 3)), [None, "a", "b", "c"] * 2 + ["a", None, "b"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "_CHUNK", chunk)
        near = nearest(x, k, groups if apart else None)
    for i in range(11):
        others = [
            j
            for j in range(11)
            if j != i and not (apart and groups[i] is not None and groups[i] == groups[j])
        ]
        cosine = {j: x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in others}
        want = sorted(others, key=lambda j: -cosine[j])[:k]
        assert near.index[i].tolist() == want
        assert np.allclose(near.similarity[i], [cosine[j] for j in want], atol=1e-5)


def test_bad_features_and_too_many_neighbors_are_refused(blobs):
    x = blobs[0].copy()
    with pytest.raises(Pseudo3dError, match="3 videos"):
        plane(x[:3])
    with pytest.raises(Pseudo3dError, match="29 others; ask for fewer"):
        nearest(x, 30)
    with pytest.raises(Pseudo3dError, match="15 others outside its group"):
        nearest(x, 16, ["a"] * 15 + ["b"] * 15)
    with pytest.raises(ValueError, match="k is 0"):
        nearest(x, 0)
    x[4, 2] = np.nan
    with pytest.raises(Pseudo3dError, match="number 4"):
        plane(x)


def test_the_layer_is_pool5_or_the_only_one_and_is_normalized():
    def features(*layers):
        rows = {name: np.full((4, 2), 4.0 + i) for i, name in enumerate(layers)}
        return FeatureSet(
            layers=rows, paths=tuple("abcd"), labels=(None,) * 4, groups=(None,) * 4,
            splits=(None,) * 4,
        )  # fmt: skip

    assert rows_of(features("prob", "pool5"), None)[0, 0] == 5
    assert rows_of(features("prob"), None)[0, 0] == 4
    assert rows_of(features("prob"), None, ["ssqrt"])[0, 0] == 2
    with pytest.raises(Pseudo3dError, match="name one"):
        rows_of(features("prob", "res5"), None)
    with pytest.raises(TypeError, match="ssqrt"):
        rows_of(features("prob"), None, ["sqrt"])


def test_neighbors_of_other_groups_want_groups():
    with pytest.raises(Pseudo3dError, match="no video has a group; add the column group"):
        nearest(np.eye(4), 1, (None,) * 4)
