"""Linear SVMs score as a plain loop does, and nothing of a test part is ever learned."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.features.linear import (
    Linear,
    bootstrap_interval,
    cross_validate,
    leave_out,
    train_test,
    units_of,
)
from pseudo3d.features.svm import fit, group_folds

CLASSES = ("hop", "run", "sit")


def made(count=54, groups=6, spread=1.3, seed=0, width=8):
    """Three classes of overlapping clouds; every group is shifted a little."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    people = np.arange(count) // 3 % groups
    centers = rng.normal(size=(3, width))
    x = centers[labels] + rng.normal(size=(count, width)) * spread
    x += 0.5 * rng.normal(size=(groups, width))[people]
    return FeatureSet(
        layers={"pool5": x.astype(np.float32)},
        paths=tuple(f"{seed}/{i}.mp4" for i in range(count)),
        labels=tuple(CLASSES[i] for i in labels),
        groups=tuple(f"p{i}" for i in people),
        splits=tuple("test" if i == 0 else "train" for i in people),
    )


def plain(x, labels, rest, test, steps=("ssqrt", "l2"), pca=None, c=1.0):
    """What a machine that has seen `rest` says of `test`, in a few lines of numpy and libsvm."""
    if "ssqrt" in steps:
        x = np.sign(x) * np.abs(x) ** 0.5
    if "l2" in steps:
        x = x / np.linalg.norm(x, axis=1)[:, None]
    if "zscore" in steps:
        x = (x - x[rest].mean(0)) / x[rest].std(0)
    if pca:
        space = PCA(pca).fit(x[rest])
        x = space.transform(x)
    return SVC(kernel="linear", C=c).fit(x[rest], labels[rest]).predict(x[test])


CASES = [
    (("ssqrt", "l2"), None, 1.0),
    ((), None, 0.1),
    (("zscore",), None, 1.0),
    (("l2", "zscore"), 4, 10.0),
]


@pytest.mark.parametrize(("steps", "pca", "c"), CASES)
def test_leave_one_out_is_a_plain_loop(steps, pca, c):
    features, options = made(), Linear(normalize=steps, pca=pca, c=c)
    x, labels = features.layers["pool5"].astype(np.float64), np.array(features.labels)
    for what in ("group", "video"):
        keys = np.array(features.groups if what == "group" else features.paths)
        want = np.empty(len(keys), dtype=object)
        for key in set(keys):
            rest, test = np.flatnonzero(keys != key), np.flatnonzero(keys == key)
            want[test] = plain(x, labels, rest, test, steps, pca, c)
        found = leave_out(features, what, options)
        assert found.found == tuple(want)
        assert found.accuracy == pytest.approx((want == labels).mean())
        assert 1 / 3 < found.accuracy < 1
        assert len(found.folds) == len(set(keys))
        assert sum(v for _, v, _ in found.folds) == 54
        assert sum(r for _, _, r in found.folds) == found.right.sum()
        assert found.per_class()["run"] == pytest.approx((want == labels)[labels == "run"].mean())


def test_training_and_test_part_score_as_a_plain_loop():
    features = made()
    train, test = features.split("train"), features.split("test")
    found = train_test(train, test, Linear(pca=3))
    x, labels = features.layers["pool5"].astype(np.float64), np.array(features.labels)
    sides = [np.flatnonzero(np.array(features.splits) == s) for s in ("train", "test")]
    assert found.found == tuple(plain(x, labels, *sides, pca=3))
    assert found.paths == test.paths
    assert found.protocol.startswith("45 training videos; ssqrt, l2, PCA to 3 fitted on the tr")
    assert found.to_dict()["accuracy"] == found.accuracy


@pytest.mark.parametrize("options", [Linear(normalize=("zscore",), pca=3, c="auto"), Linear()])
def test_a_test_video_is_judged_without_the_others(options):
    features = made()
    train, test = features.split("train"), features.split("test")
    whole = train_test(train, test, options)
    x = test.layers["pool5"].copy()
    x[1:] *= 50
    moved = train_test(train, replace(test, layers={"pool5": x}), options)
    assert moved.found[0] == whole.found[0]
    single = train_test(train, test.select([5]), options)
    assert single.found[0] == whole.found[5]


def test_folds_keep_groups_whole_and_are_repeatable():
    features = made(count=60, groups=10)
    found = cross_validate(features, 5, Linear(seed=3))
    again = cross_validate(features, 5, Linear(seed=3))
    assert found == again
    assert cross_validate(features, 5, Linear(seed=4)).found != found.found
    assert [v for _, v, _ in found.folds] == [12] * 5
    units = np.array(features.groups)
    labels = np.array(features.labels)
    seen = []
    for rest, test in group_folds(labels, units, 5, 3):
        assert not set(units[rest]) & set(units[test])
        seen += test.tolist()
        want = plain(features.layers["pool5"].astype(np.float64), labels, rest, test)
        assert [found.found[i] for i in test] == want.tolist()
    assert sorted(seen) == list(range(60))
    alone = replace(features, groups=(None,) * 60)
    assert cross_validate(alone, 5).protocol.startswith("5 folds, videos kept whole")
    assert len(set(units_of(alone))) == 60


def test_layers_side_by_side_are_normalized_each_by_itself():
    features = made()
    other = np.random.default_rng(5).normal(size=(54, 4)).astype(np.float32)
    both = replace(features, layers={**features.layers, "idt": other})
    loud = replace(features, layers={**features.layers, "idt": 1000 * other})
    options = Linear(layers=("pool5", "idt"))
    found = leave_out(both, "group", options)
    assert leave_out(loud, "group", options).found == found.found
    assert found.found != leave_out(both, "group", Linear(layers=("pool5",))).found
    with pytest.raises(Pseudo3dError, match="name one of them"):
        leave_out(both, "group", Linear())


def test_the_penalty_is_chosen_only_when_asked_and_by_whole_groups():
    features = made(spread=0.4)
    x, labels = features.layers["pool5"], np.array(features.labels)
    fixed = fit(x, labels, Linear(c=0.5), units=features.groups)
    assert fixed.named_steps["svm"].C == 0.5
    search = fit(x, labels, Linear(c="auto"), units=features.groups)
    units = np.array(features.groups)
    assert len(search.cv) == 5
    assert all(not set(units[a]) & set(units[b]) for a, b in search.cv)
    best = search.cv_results_["mean_test_score"]
    assert search.best_score_ == best.max() > best.min()
    assert (
        "C from (0.01, 0.1, 1.0, 10.0, 100.0) within the training part"
        in Linear(c="auto").describe()
    )


def test_liblinear_fits_another_machine_for_many_videos():
    found = leave_out(made(spread=0.5), "group", Linear(solver="liblinear"))
    assert found.accuracy > 0.6
    assert "liblinear" in found.protocol
    x = np.random.default_rng(0).normal(size=(40, 3))
    kinds = [
        type(fit(x, np.repeat(["a", "b"], 20), Linear(solver=solver))["svm"]).__name__
        for solver in ("libsvm", "liblinear")
    ]
    assert kinds == ["SVC", "LinearSVC"]


def test_the_interval_is_that_of_the_binomial_and_wider_for_groups():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.8
    low, high = bootstrap_interval(right)
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert low == pytest.approx(right.mean() - half, abs=0.01)
    assert high == pytest.approx(right.mean() + half, abs=0.01)
    assert bootstrap_interval(right) == (low, high)
    blocks = [str(i // 40) for i in range(400)]
    together = np.sort(right)  # whole groups are wrong
    wide = bootstrap_interval(together, blocks)
    assert wide[1] - wide[0] > 2 * (high - low)
    assert bootstrap_interval(right, ["one"] * 400) == (low, high)
    difference = right.astype(float) - right  # of two equal scores, and no share of anything
    assert bootstrap_interval(difference) == (0.0, 0.0)
    score = leave_out(made(), "group")
    assert score.interval == bootstrap_interval(score.right, score.units)
    assert score.interval[0] < score.accuracy < score.interval[1]
    assert "bootstrap over 6 groups" in score.describe()


def test_all_right_is_no_certainty():
    assert bootstrap_interval(np.ones(8, bool)) == (pytest.approx(0.676, abs=1e-3), 1.0)
    assert bootstrap_interval(np.zeros(8, bool)) == (0.0, pytest.approx(0.324, abs=1e-3))
    two = bootstrap_interval(np.ones(8, bool), ["a"] * 4 + ["b"] * 4)
    assert two == (pytest.approx(0.342, abs=1e-3), 1.0)  # two cases, not eight
    features = made()
    plain = np.eye(3, dtype=np.float32)[[CLASSES.index(k) for k in features.labels]]
    score = leave_out(replace(features, layers={"pool5": plain}), "group")
    assert score.accuracy == 1.0
    assert 0.5 < score.interval[0] < 0.7


def spans_of_one_file(features, rows, groups=(None, None)):
    """The set with these two rows as spans of one file."""
    paths, named = list(features.paths), list(features.groups)
    spans = [(None, None)] * len(features)
    for i, (row, group) in enumerate(zip(rows, groups, strict=True)):
        paths[row], named[row], spans[row] = ("a/../v.mp4", "v.mp4")[i], group, (i, i + 1.0)
    return replace(features, paths=tuple(paths), groups=tuple(named), spans=tuple(spans))


def parts_of(features, rows):
    """All but these rows without the test part; the test part and the second of the rows."""
    test = [i for i, split in enumerate(features.splits) if split == "test" and i not in rows]
    rest = [i for i in range(len(features)) if i not in test and i != rows[1]]
    return features.select(rest), features.select([*test, rows[1]])


@pytest.mark.parametrize("groups", [(None, None), ("p1", None), (None, "p0")])
def test_spans_of_one_file_without_groups_are_not_parted(groups):
    rows = (5, 0)  # of p1 and p0
    features = spans_of_one_file(made(), rows, groups)
    with pytest.raises(ManifestError, match=r"1 files without a group are in .*: v\.mp4"):
        train_test(*parts_of(features, rows))
    units = units_of(features)
    assert units[5] == units[0]
    assert len(set(units)) == 6 + (groups == (None, None))


def test_spans_of_one_file_are_parted_where_their_groups_differ():
    rows = (5, 0)
    features = spans_of_one_file(made(), rows, ("p1", "p0"))
    assert len(train_test(*parts_of(features, rows)).paths) == 9
    assert units_of(features) == features.groups


def test_classes_that_cannot_be_found_are_counted_as_wrong_and_named():
    features = made()
    labels = tuple("new" if g == "p0" and k == "run" else k
                   for g, k in zip(features.groups, features.labels, strict=True))  # fmt: skip
    odd = replace(features, labels=labels, meta={"missing": {"x.mp4": "broken"}})
    for found in (leave_out(odd, "group"), train_test(odd.split("train"), odd.split("test"))):
        assert found.per_class()["new"] == 0.0
        assert any("'new' is in" in note and "all wrong" in note for note in found.notes)
        assert any("1 files could not be read" in note and "x.mp4" in note for note in found.notes)


def test_what_cannot_be_scored_is_refused():
    features = made()
    train, test = features.split("train"), features.split("test")
    with pytest.raises(ManifestError, match=r"54 videos are in the training and .*0/0.mp4"):
        train_test(features, features)
    cut = replace(test, paths=tuple(f"x{i}" for i in range(9)), groups=("p1",) * 9)
    with pytest.raises(ManifestError, match="1 groups are in the training and in the test part"):
        train_test(train, cut)
    with pytest.raises(ManifestError, match="9 of 9 videos have no label"):
        train_test(train, replace(test, labels=(None,) * 9))
    bare = replace(features, groups=(None, *features.groups[1:]))
    with pytest.raises(ManifestError, match=r"1 of 54 videos have no group: 0/0\.mp4"):
        leave_out(bare, "group")
    with pytest.raises(ManifestError, match="'p1' is all there is"):
        leave_out(replace(features, groups=("p1",) * 54), "group")
    with pytest.raises(ManifestError, match=r"of one class, \['run'\]"):
        train_test(replace(train, labels=("run",) * 45), test)
    with pytest.raises(Pseudo3dError, match=r"PCA to 9 dimensions: 45 .* give 8 at most"):
        train_test(train, test, Linear(pca=9))
    with pytest.raises(ManifestError, match="7 folds of 6 groups"):
        cross_validate(features, 7)
    with pytest.raises(ManifestError, match="no class has more than 2"):
        cross_validate(replace(features.select(range(6)), groups=(None,) * 6), 3)


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(TypeError, match="'l1'"):
        Linear(normalize=("l1",))
    with pytest.raises(TypeError, match=r"'libsv'. Did you mean libsvm"):
        Linear(solver="libsv")
    for wrong in ({"pca": 0}, {"c": 0}, {"c": "best"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            Linear(**wrong)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.pipeline", None)
    with pytest.raises(ImportError, match=r"pseudo3d\[eval\]"):
        leave_out(made(), "group")


def test_scans_are_called_scans():
    scans = replace(made(), meta={"preprocessing": {"kind": "scan"}})
    parts = [scans.split(name) for name in ("train", "test")]
    assert "training scans" in train_test(*parts).describe()
    assert "9 scans, interval" in train_test(*parts).describe()
    assert "videos" not in leave_out(scans, "group").describe()
