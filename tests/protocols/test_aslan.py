"""ASLAN: 48 numbers of a pair, folds, both normalizations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from sklearn.metrics import roc_curve
from sklearn.svm import LinearSVC

from protocols.byhand import clips_of
from pseudo3d.errors import ManifestError
from pseudo3d.protocols import get
from pseudo3d.protocols.similarities import CONFIRMED, SIMILARITIES, similarities


def layers_by_hand(path, net, clips):
    """prob, pool5, res5, res4: mean over time, space and clips."""
    x = clips_of(path, net, clips)
    with torch.no_grad():
        y = net.stem(x)
        maps = []
        for stage in net.stages:
            *blocks, pool = stage
            for block in blocks:
                y = block(y)
            maps.append(y.mean((2, 3, 4)))  # res4b35 is what block 35 gives, not the pool after it
            y = pool(y)
        prob = net(x).softmax(1)
    return [v.double().mean(0).numpy() for v in (prob, maps[-1], maps[-1], maps[-2])]


def twelve(a, b):
    """The same numbers, written another way."""
    d, s, m = a - b, a + b, np.sqrt(a) - np.sqrt(b)
    chi = sum(x * x / y for x, y in zip(d, s, strict=True) if y > 0)
    low, high = sum(map(min, a, b)), sum(map(max, a, b))
    dot, root = float(a @ b), float(np.sqrt(a) @ np.sqrt(b))
    return [
        dot, root, dot**0.5, root**0.5, np.linalg.norm(d, 1), np.linalg.norm(d),
        np.linalg.norm(m), chi, chi**0.5, low, high, low / max(high, 1e-12),
    ]  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_the_twelve_similarities(size, seed):
    a, b = np.random.default_rng(seed).random((2, 3, size)) * (np.arange(size) % 3 != 1)
    found = similarities(a, b, tuple(SIMILARITIES))
    assert found == pytest.approx(np.array([twelve(x, y) for x, y in zip(a, b, strict=True)]))
    assert len(SIMILARITIES) == 12
    assert set(CONFIRMED) == {"dot", "sqrt_dot"}


def test_negative_features_are_refused():
    with pytest.raises(ValueError, match="negative values"):
        similarities(np.array([[-1.0]]), np.array([[1.0]]), ("dot",))


@pytest.mark.parametrize("normalization", ["p3d", "c3d"])
def test_score_is_that_of_a_few_plain_lines(mini, net, normalization):
    root, model = mini("aslan"), net("x", "y")
    score = get("aslan", clips=2, normalization=normalization).run(root, model, partial=True)
    pairs = loadmat(root / "View2.mat")["action_splits_pairs"].astype(int)
    files = sorted((root / "ASLAN_AVI").glob("*.avi"))
    rows = {int(f.stem): layers_by_hand(f, model, 2) for f in files}
    if normalization == "c3d":
        rows = {i: [v / np.linalg.norm(v) for v in row] for i, row in rows.items()}
    x = np.array(
        [
            [
                np.concatenate([twelve(a, b) for a, b in zip(rows[p[0]], rows[p[1]], strict=True)])
                for p in pairs[:, :, k]
            ]
            for k in range(3)
        ]
    )
    assert x.shape == (3, 6, 48)
    same, accuracy, curves = pairs[:, 2].T, [], []
    if normalization == "p3d":
        x = x / np.linalg.norm(x, axis=2, keepdims=True)
    for k in range(3):
        rest = [i for i in range(3) if i != k]
        train, test = x[rest].reshape(-1, 48), x[k]
        if normalization == "c3d":
            mean, std = train.mean(0), train.std(0)
            std[std == 0] = 1
            train, test = (train - mean) / std, (test - mean) / std
        machine = LinearSVC(max_iter=100_000, random_state=0).fit(train, same[rest].ravel())
        accuracy.append(machine.score(test, same[k]))
        fpr, tpr, _ = roc_curve(same[k], machine.decision_function(test))
        curves.append(np.interp(np.linspace(0, 1, 1001), fpr, tpr))
    assert score.figures["accuracy"] == pytest.approx(np.mean(accuracy))
    assert score.figures["accuracy_se"] == pytest.approx(np.std(accuracy, ddof=1) / 3**0.5)
    area = np.trapezoid(np.mean(curves, 0), np.linspace(0, 1, 1001))
    assert score.figures["auc"] == pytest.approx(area)
    assert "confirmed as the benchmark's: dot, sqrt_dot; chosen by us" in score.measured
    deviates = any(text.startswith("normalization") for text in score.deviations)
    assert deviates is (normalization == "c3d")
    assert "pairs of fold 1: 6, published 600" in score.deviations


def test_pairs_without_a_video_are_left_out_and_counted(mini, net, tmp_path):
    root = mini("aslan")
    (tmp_path / "ASLAN_AVI").symlink_to(root / "ASLAN_AVI")
    cube = loadmat(root / "View2.mat")["action_splits_pairs"]
    cube[0, 0, 0] = 3697
    savemat(tmp_path / "View2.mat", {"action_splits_pairs": cube})
    score = get("aslan", clips=1, similarities=("dot",)).run(tmp_path, net("x", "y"), partial=True)
    assert score.missing == {"3697.avi": "not on the disk"}
    assert score.counts["pairs"] == 17
    assert "1 pairs left out: 1 of their videos are missing" in score.deviations
    assert any("similarities is ('dot',)" in text for text in score.choices)


def test_the_official_counts_pass_and_others_are_named(tmp_path):
    rng = np.random.default_rng(0)
    cube = np.zeros((600, 5, 10))
    cube[:, :2] = rng.integers(1, 3698, (600, 2, 10))
    cube[:300, 2] = 1
    cube[:, 3:] = np.arange(10)
    savemat(tmp_path / "View2.mat", {"action_splits_pairs": cube})
    listing = get("aslan").read(tmp_path)
    assert listing.wrong == ()
    assert listing.notes == ()
    cube[0, 2, 4] = 0
    cube[0, 3, 4] = 7
    savemat(tmp_path / "View2.mat", {"action_splits_pairs": cube})
    listing = get("aslan").read(tmp_path)
    assert listing.wrong == ("pairs of the same action in fold 5: 299, published 300",)
    assert listing.notes == ("1 actions are in several folds",)


def test_a_fold_of_one_kind_and_a_foreign_file_are_refused(mini, net, tmp_path):
    root = mini("aslan")
    (tmp_path / "ASLAN_AVI").symlink_to(root / "ASLAN_AVI")
    cube = loadmat(root / "View2.mat")["action_splits_pairs"]
    cube[:, 2, 1] = 1
    savemat(tmp_path / "View2.mat", {"action_splits_pairs": cube})
    with pytest.raises(ManifestError, match="fold 2: its 6 pairs are all of one kind"):
        get("aslan", clips=1).run(tmp_path, net("x", "y"), partial=True)
    savemat(tmp_path / "View2.mat", {"pairs": cube})
    with pytest.raises(ManifestError, match="wanted a MATLAB file with action_splits_pairs"):
        get("aslan").read(tmp_path)
