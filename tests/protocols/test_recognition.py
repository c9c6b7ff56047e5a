"""Each protocol's score on its miniature copy is that of a few independent lines."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import SVC, LinearSVC

from protocols.byhand import pool5_by_hand, probs_by_hand
from pseudo3d.errors import WeightsError
from pseudo3d.protocols import get
from pseudo3d.protocols.miniature import CLASSES


def ucf(root, split, part):
    """(path, class) of a list, read with nothing but str methods."""
    lines = (root / f"ucfTrainTestlist/{part}list0{split}.txt").read_text().split("\n")
    names = [line.strip().split(" ")[0] for line in lines if line.strip()]
    return [(root / "UCF-101" / name, CLASSES.index(name.split("/")[0])) for name in names]


def svm_share(train, test, rows, machine):
    """Share of the test that a linear SVM gets right."""
    fitted = machine.fit([rows(p) for p, _ in train], [k for _, k in train])
    return np.mean(fitted.predict([rows(p) for p, _ in test]) == [k for _, k in test])


def test_ucf101_features_and_svm(mini, net, tmp_path):
    root, model = mini("ucf101"), net(*CLASSES)
    score = get("ucf101", clips=3).run(root, model, partial=True, keep=tmp_path)
    memo = {}

    def row(path):
        if path not in memo:
            memo[path] = pool5_by_hand(path, model, 3)
        return memo[path]

    machine = LinearSVC(max_iter=100_000, random_state=0)
    by_hand = [
        svm_share(ucf(root, k, "train"), ucf(root, k, "test"), row, machine) for k in (1, 2, 3)
    ]
    assert [score.parts[k]["video_hit@1"] for k in "123"] == pytest.approx(by_hand)
    assert score.figures["video_hit@1"] == pytest.approx(np.mean(by_hand))
    assert score.counts == {"classes": 3, "videos": 18} | {
        f"{k} {part}": count for k in "123" for part, count in (("train", 12), ("test", 6))
    }
    assert score.missing == {}
    assert "clips is 3, the paper's is 20" in score.deviations
    assert "training videos of split 1: 12, published 9,537" in score.deviations
    assert any("cost is 1.0" in text for text in score.choices)
    again = get("ucf101", clips=3).run(root, model, partial=True, keep=tmp_path)
    assert again == score  # from the features that were kept


def test_ucf101_end_to_end(mini, net):
    root, model = mini("ucf101"), net(*CLASSES)
    score = get("ucf101", task="end_to_end", clips=2, splits=(1, 3)).run(root, model, partial=True)
    for split in (1, 3):
        test = ucf(root, split, "test")
        probs = np.stack([probs_by_hand(path, model, 2) for path, _ in test])
        truth = np.array([k for _, k in test])
        part = score.parts[str(split)]
        assert part["clip_hit@1"] == pytest.approx((probs.argmax(2) == truth[:, None]).mean())
        assert part["video_hit@1"] == pytest.approx((probs.mean(1).argmax(1) == truth).mean())
    assert any(text.startswith("one network for all splits") for text in score.deviations)
    assert "splits is (1, 3), the paper's is (1, 2, 3)" in score.deviations


def test_a_network_per_split_and_the_order_of_its_classes(mini, net, weights, tmp_path):
    root = mini("ucf101")
    turned = CLASSES[::-1]
    for split, seed in ((1, 0), (2, 5)):
        (tmp_path / f"{split}.safetensors").write_bytes(weights(*turned, seed=seed).read_bytes())
    score = get("ucf101", task="end_to_end", clips=1, splits=(1, 2)).run(
        root, f"{tmp_path}/{{split}}.safetensors", partial=True
    )
    for split, seed in ((1, 0), (2, 5)):
        test = ucf(root, split, "test")
        probs = np.concatenate([probs_by_hand(p, net(*turned, seed=seed), 1) for p, _ in test])
        right = [
            turned[row.argmax()] == CLASSES[k] for row, (_, k) in zip(probs, test, strict=True)
        ]
        assert score.parts[str(split)]["video_hit@1"] == pytest.approx(np.mean(right))
    assert not any(text.startswith("one network") for text in score.deviations)


def test_a_network_with_other_classes_is_refused(mini, net):
    with pytest.raises(WeightsError, match=r"'Arrow'.* 3 classes, the network 2"):
        get("ucf101", task="end_to_end", clips=1).run(mini("ucf101"), net("a", "b"), partial=True)


def test_pca_and_features_from_elsewhere(mini, net, tmp_path):
    root, model = mini("ucf101"), net(*CLASSES)
    rng = np.random.default_rng(0)
    files = sorted((root / "UCF-101").rglob("*.avi"))
    idt = rng.normal(size=(len(files), 5)).astype(np.float32)
    names = [f"{f.parent.name}/{f.stem}" for f in files]
    np.savez(tmp_path / "idt.npz", paths=names, features=idt)
    other = dict(zip(files, idt / np.linalg.norm(idt, axis=1, keepdims=True), strict=True))
    score = get(
        "ucf101", clips=1, splits=(2,), external=str(tmp_path / "idt.npz"), pca=(500, 4)
    ).run(root, model, partial=True)
    train, test = ucf(root, 2, "train"), ucf(root, 2, "test")
    x, y = (
        np.array([np.concatenate([pool5_by_hand(p, model, 1), other[p]]) for p, _ in part])
        for part in (train, test)
    )
    labels = [k for _, k in train]
    right = LinearSVC(max_iter=100_000).fit(x, labels).predict(y) == [k for _, k in test]
    assert score.figures["video_hit@1"] == pytest.approx(right.mean())
    pca = PCA(4).fit(x)
    small = LinearSVC(max_iter=100_000).fit(pca.transform(x), labels).predict(pca.transform(y))
    assert score.figures["pca4_video_hit@1"] == pytest.approx(
        np.mean(small == [k for _, k in test])
    )
    assert "pca500_video_hit@1" not in score.figures
    assert any(note.startswith("PCA to 500: not with 12 vectors") for note in score.notes)


def test_hmdb51(mini, net):
    root, model = mini("hmdb51"), net("x", "y")
    score = get("hmdb51", clips=2).run(root, model, partial=True)
    by_hand = []
    for k in (1, 2, 3):
        parts = {"1": [], "2": [], "0": []}
        for i, label in enumerate(c.lower() for c in CLASSES):
            lists = root / "testTrainMulti_7030_splits"
            for line in (lists / f"{label}_test_split{k}.txt").read_text().splitlines():
                name, mark = line.rstrip()[:-2], line.rstrip()[-1]
                parts[mark].append((root / "hmdb51_org" / label / name, i))
        machine = LinearSVC(max_iter=100_000)
        rows = lambda path: pool5_by_hand(path, model, 2)  # noqa: E731
        by_hand.append(svm_share(parts["1"], parts["2"], rows, machine))
        assert (score.counts[f"{k} train"], score.counts[f"{k} test"]) == (6, 6)
    assert score.figures["video_hit@1"] == pytest.approx(np.mean(by_hand))
    assert score.notes == ()
    assert score.missing == {}


@pytest.mark.parametrize(
    ("name", "home"), [("yupenn", "YUPENN_dynamic_scenes_data_set"), ("dynamic_scene", "maryland")]
)
def test_scenes_leave_one_video_out(mini, net, name, home):
    root, model = mini(name), net("x", "y")
    score = get(name, clips=2, resize=None).run(root, model, partial=True)
    files = sorted((root / home).rglob("*.avi"))
    x = np.array([pool5_by_hand(f, model, 2, mirror=True) for f in files])
    labels = np.array([f.parent.name for f in files])
    right = []
    for i in range(len(files)):
        rest = np.arange(len(files)) != i
        fitted = SVC(kernel="linear").fit(x[rest], labels[rest])
        right.append(fitted.predict(x[i : i + 1])[0] == labels[i])
    assert score.figures["video_hit@1"] == pytest.approx(np.mean(right))
    assert len(score.parts) == 9
    assert not any("mirror" in text or "normalize" in text for text in score.deviations)
    assert "resize is None, the paper's is 160" in score.deviations


def test_scenes_are_seen_as_the_authors_saw_them(mini, net):
    """Short side 160, center crop 160, whatever the network was trained with."""
    model = copy(net("x", "y"))
    pre = replace(model.card.preprocessing, resize=182, size=(160, 160), frames=16)
    model.card = replace(model.card, preprocessing=pre)
    told = []
    for resize in (160, 182):
        score = get("yupenn", clips=1, resize=resize).run(mini("yupenn"), model, partial=True)
        told.append([text for text in score.deviations if "160" in text])
    assert told[0] == []
    assert "resize is 182, the paper's is 160" in told[1]
    assert "short side 182, center crop 160x160; the paper's 160, 160x160" in told[1]
    own, other = (get("yupenn", resize=side)._extractor(model) for side in (None, 170))
    assert (own.pre, other.pre) == (pre, replace(pre, resize=170))


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "folds"])
def test_end_to_end_the_paper_cuts_160_of_182(mini, net, name):
    model = copy(net(*CLASSES))
    wanted = replace(model.card.preprocessing, resize=182, size=(160, 160), frames=16)
    for pre, differs in ((wanted, False), (replace(wanted, resize=160), True)):
        model.card = replace(model.card, preprocessing=pre)
        how = get(name, task="end_to_end", clips=1)
        told = how.run(mini(name), model, partial=True).deviations
        cut = [text for text in told if text.startswith("short side")]
        assert bool(cut) == differs
        assert all(text.endswith("the paper's 182, 160x160") for text in cut)


def test_kinetics(mini, net):
    labels = ("arm wrestling", "playing chess", "riding a bike")
    root, model = mini("kinetics"), net(*(n.replace(" ", "_") for n in labels))
    score = get("kinetics", clips=2).run(root, model)
    files = sorted((root / "val").rglob("*.mp4"))
    truth = [labels.index(f.parent.name.replace("_", " ")) for f in files]
    probs = np.stack([probs_by_hand(f, model, 2) for f in files])
    assert score.figures["top1"] == pytest.approx(np.mean(probs.mean(1).argmax(1) == truth))
    assert score.figures["top5"] == 1.0
    assert score.missing == {"gone4567890_000005_000015": "not on the disk"}
    assert "1 listed videos left out" in score.deviations


def test_activitynet(mini, net):
    root, model = mini("activitynet"), net("x", "y")
    score = get("activitynet", clips=2).run(root, model, partial=True)
    row = lambda key: pool5_by_hand(root / f"videos/v_{key}_abcdef.mp4", model, 2)  # noqa: E731
    keys = [(k, i) for k in range(3) for i in range(3)]
    fitted = LinearSVC(max_iter=100_000).fit(
        [row(f"tr{k}{i}") for k, i in keys], [k for k, _ in keys]
    )
    tests = [(k, i) for k in range(3) for i in range(2)]
    scores = fitted.decision_function([row(f"va{k}{i}") for k, i in tests])
    truth = np.eye(3, dtype=bool)[[k for k, _ in tests]]
    truth[0, 1] = True  # the video of two classes
    assert score.figures["top1"] == pytest.approx(truth[range(6), scores.argmax(1)].mean())
    assert score.figures["top3"] == 1.0
    precisions = []
    for t, s in zip(truth.T, scores.T, strict=True):
        ranked = t[np.argsort(-s)]
        hits = np.cumsum(ranked)[ranked]
        precisions.append((hits / (np.flatnonzero(ranked) + 1)).mean())
    assert score.figures["mAP"] == pytest.approx(np.mean(precisions))
    assert score.missing == {"gone5678901": "not on the disk"}
    assert any(note.startswith("1 videos have segments of several classes") for note in score.notes)
    spans = get("activitynet", clips=1, train_on="segments").run(root, model, partial=True)
    assert spans.counts["validation train"] == 18
    assert any("train_on is 'segments'" in text for text in spans.choices)


def test_lists_of_c3d_and_tsn(mini, net):
    root, model = mini("lists"), net(*CLASSES)
    tsn = get("lists", names="names.txt", clips=2).run(root, model)
    c3d = get("lists", names="names.txt", clips=2, train="c3d_train.txt", test="c3d_test.txt").run(
        root, model
    )
    assert dict(tsn.figures) == dict(c3d.figures)
    assert "the form of the lists is tsn" in tsn.notes
    assert "the form of the lists is c3d" in c3d.notes
    files = [(root / c / f"clip {i}.mp4", k) for k, c in enumerate(CLASSES) for i in range(4)]
    train = [f for f in files if f[0].stem[-1] != "3"]
    test = [f for f in files if f[0].stem[-1] == "3"]
    rows = lambda path: pool5_by_hand(path, model, 2)  # noqa: E731
    assert tsn.figures["video_hit@1"] == pytest.approx(
        svm_share(train, test, rows, LinearSVC(max_iter=100_000))
    )


def test_folds_leave_one_group_out(mini, net):
    root, model = mini("folds"), net("x", "y")
    score = get("folds", clips=2).run(root, model)
    files = [(f, f.parent.name) for f in sorted(root.rglob("*.mp4"))]
    rows = lambda path: pool5_by_hand(path, model, 2)  # noqa: E731
    by_hand = []
    for group in "abc":
        train = [f for f in files if f[0].stem[0] != group]
        test = [f for f in files if f[0].stem[0] == group]
        by_hand.append(svm_share(train, test, rows, LinearSVC(max_iter=100_000)))
    assert [score.parts[g]["video_hit@1"] for g in "abc"] == pytest.approx(by_hand)
    assert score.figures["video_hit@1_se"] == pytest.approx(np.std(by_hand, ddof=1) / 3**0.5)
    two = get("folds", by="folds", folds=2).read(root)
    assert all(not {e.group for e in s.train} & {e.group for e in s.test} for s in two.splits)
    assert sorted(e.name for s in two.splits for e in s.test) == sorted(
        f.relative_to(root).as_posix() for f, _ in files
    )
    alone = get("folds", clips=2, by="split").run(root, model)
    assert set(alone.figures) == {"video_hit@1"}  # one split has no standard error
    given = get("folds", by="split").read(root)
    assert {e.group for e in given.splits[0].test} == {"c"}
