"""Floors: what they say of real and of made data."""

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.auc import auc
from pseudo3d.scores.floors import (
    SIZE_FEATURES,
    foreground_of,
    majority_floor,
    size_features,
    size_floor,
)


def test_sizes_are_in_millimeters():
    mask = np.zeros((6, 8, 9), dtype=bool)
    mask[1:3, 2:5, 3:7] = True
    mask[4, 0, 0] = True
    found = dict(zip(SIZE_FEATURES, size_features(mask, (5.0, 2.0, 1.0)), strict=True))
    assert found == {
        "volume_mm3": 250.0,
        "extent_d_mm": 20.0,
        "extent_h_mm": 10.0,
        "extent_w_mm": 7.0,
        "largest_slice_d_mm2": 24.0,
        "largest_slice_h_mm2": 40.0,
        "largest_slice_w_mm2": 60.0,
    }
    assert not size_features(np.zeros((2, 2, 2), dtype=bool)).any()


def test_the_foreground_is_found_whatever_the_scale():
    rng = np.random.default_rng(0)
    truth = np.zeros((12, 12, 12), dtype=bool)
    truth[3:8, 3:8, 3:8] = True
    volume = rng.normal(0, 1, truth.shape) + 12 * truth
    for scale, shift in ((1, 0), (1000, -5000), (1e-4, 3)):
        assert (foreground_of(volume * scale + shift) == truth).all()
    assert (foreground_of(truth) == truth).all()
    assert not foreground_of(np.zeros((2, 2, 2))).any()
    assert foreground_of(np.ones((2, 2, 2))).all()


def test_the_most_frequent_class_is_learned_and_scored():
    floor = majority_floor([1, 1, 1, 0], ["a", "b"])
    assert (floor.accuracy, floor.auc) == (0.75, 0.5)
    learned = majority_floor([1, 1, 1, 0], ["a", "b"], learned=[0, 0, 1])
    assert learned.accuracy == 0.25
    assert "'a'" in learned.text


def test_size_tells_large_from_small_and_not_more():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 7)), np.arange(200) % 2
    blind = size_floor((x[:100], y[:100]), (x[100:], y[100:]))
    x[:, 0] += 3 * y
    seeing = size_floor((x[:100], y[:100]), (x[100:], y[100:]))
    assert 0.3 < blind.auc < 0.7 < 0.95 < seeing.auc
    assert seeing.accuracy > 0.85


def test_floors_of_adrenalmnist3d_are_the_known_ones(shared_data):
    """Facts: majority .768, voxel count alone .688, seven sizes about .79 (AUC)."""
    with np.load(shared_data / "volumes/adrenalmnist3d.npz") as stored:
        parts = {
            s: (
                np.stack([size_features(foreground_of(v)) for v in stored[f"{s}_images"]]),
                stored[f"{s}_labels"].ravel().astype(int),
            )
            for s in ("train", "test")
        }
    (_, known), (x, labels) = parts["train"], parts["test"]
    assert majority_floor(labels, ["0", "1"], known).accuracy == pytest.approx(0.768, abs=1e-3)
    assert auc(x[:, 0], labels) == pytest.approx(0.688, abs=1e-3)
    floor = size_floor(parts["train"], parts["test"])
    assert floor.auc == pytest.approx(0.79, abs=5e-3)
    assert floor.accuracy == pytest.approx(0.80, abs=1e-2)


@pytest.mark.parametrize("labels", [[], [0, 0]])
def test_nothing_to_learn_from_is_refused(labels):
    with pytest.raises(Pseudo3dError, match="wanted"):
        majority_floor(labels, ["a"]) if not labels else size_floor(
            (np.zeros((2, 7)), labels), (np.zeros((2, 7)), [0, 1])
        )


def test_a_volume_with_holes_is_refused():
    with pytest.raises(Pseudo3dError, match="finite"):
        foreground_of(np.full((2, 2, 2), np.nan))
