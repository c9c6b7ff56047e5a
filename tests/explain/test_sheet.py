"""Sheets of neighbors: who is asked about, who is right, and what a video looks like."""

from pathlib import Path

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain import sheet
from pseudo3d.explain.embed import nearest
from pseudo3d.features.featureset import FeatureSet


@pytest.fixture
def features(films):
    """Features of the 24 videos: labels apart, but for one."""
    labels = tuple(item.label for item in films.items)
    rng = np.random.default_rng(0)
    x = np.array([[1.0 if name == "up" else -1.0, 0.0] for name in labels])
    x += 0.1 * rng.normal(size=x.shape)
    x[0] = -1.0, 1.5  # an "up" nearer to "down"
    return FeatureSet(
        layers={"pool5": x},
        paths=tuple(item.path.name for item in films.items),
        labels=labels,
        groups=tuple(item.group for item in films.items),
        splits=(None,) * len(labels),
    )


def test_queries_come_from_every_label_in_turn():
    labels = ["a"] * 9 + ["b"] * 2 + [None]
    chosen = sheet.choose(labels, 5)
    assert [labels[i] for i in chosen[:3]] == [None, "a", "b"]
    assert len(set(chosen)) == 5
    assert chosen == sheet.choose(labels, 5)
    assert chosen != sheet.choose(labels, 5, seed=1)
    assert sorted(sheet.choose(labels, 99)) == list(range(12))


def test_a_video_is_found_by_the_end_of_its_path():
    paths = ["x/a1.mp4", "x/a11.mp4", "y/a1.mp4"]
    assert sheet.find(paths, ["a11.mp4", "x/a1.mp4"]) == [1, 0]
    with pytest.raises(Pseudo3dError, match="2 of 3 videos"):
        sheet.find(paths, ["a1.mp4"])
    with pytest.raises(Pseudo3dError, match="0 of 3 videos"):
        sheet.find(paths, ["b"])


def test_cells_show_the_video_and_whether_the_label_is_right(features, films):
    near = nearest(features.matrix(), 3, features.groups)
    lines = sheet.rows(features, near, [0, 1], root=films.items[0].path.parent, frames=2)
    assert [len(line) for line in lines] == [4, 4]
    for query, line in zip((0, 1), lines, strict=True):
        assert line[0].right is None
        assert line[0].text == features.labels[query]
        for cell, video in zip(line[1:], near.index[query], strict=True):
            assert cell.right is (features.labels[video] == features.labels[query])
            assert cell.small.endswith(features.groups[video])
    first = lines[0][0].image
    assert first.shape == (sheet.HEIGHT, 2 * round(22 / 18 * sheet.HEIGHT) + 2, 3)
    half = first.shape[1] // 2
    darker, brighter = first[:, : half - 2].mean(), first[:, half + 2 :].mean()
    assert features.labels[0] == "up"
    assert brighter > darker + 20


def test_share_of_right_nearest_labels(features):
    share, count = sheet.same_label(features, nearest(features.matrix(), 1))
    assert count == 24
    assert share == pytest.approx(23 / 24)
    nameless = FeatureSet(
        layers=features.layers, paths=features.paths, labels=(None,) * 24, groups=features.groups,
        splits=features.splits,
    )  # fmt: skip
    assert sheet.same_label(nameless, nearest(features.matrix(), 1))[1] == 0


def test_a_video_that_cannot_be_read_is_a_gray_field_that_says_so(features):
    near = nearest(features.matrix(), 1)
    cell = sheet.rows(features, near, [0], root=Path("nowhere"))[0][0]
    assert cell.small.startswith("cannot be read")
    assert (cell.image == 200).all()
