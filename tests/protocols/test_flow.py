"""Flow is stored as video without loss, once; two streams are fused by their scores."""

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from protocols.byhand import pool5_by_hand, probs_by_hand
from pseudo3d.data.video import read_video
from pseudo3d.protocols import flow, get, recognition
from pseudo3d.protocols.miniature import CLASSES, film


def difference(before, after):
    """In place of optical flow: something of its form that depends on both frames."""
    change = after.astype(np.float32) - before
    return np.stack([change / 8, -change / 4], axis=-1)


def test_flow_video_keeps_every_step_and_the_frames_times(tmp_path):
    source = film(tmp_path / "v.avi", 0, 0)
    out = flow.flow_video(source, tmp_path / "flow/v.mp4", 32, difference)
    gray, coded = read_video(source, size=32, gray=True), read_video(out)
    assert coded.times.tolist() == pytest.approx(gray.times.tolist(), abs=1e-4)
    images = gray.frames[0].numpy()
    for t in (0, 5, 10):
        u, v = np.moveaxis(difference(images[t], images[t + 1]), -1, 0)
        for found, want in zip(coded.frames[:2, t].numpy(), (u, v), strict=True):
            assert np.array_equal(found, np.rint(want.clip(-20, 20) * 6.35 + 128))
    assert np.array_equal(coded.frames[:, 11], coded.frames[:, 10])
    assert (coded.frames[2] == 128).all()

    def refuse(before, after):
        raise AssertionError

    assert flow.flow_video(source, out, 32, refuse) == out


@pytest.mark.parametrize("task", ["end_to_end", "svm"])
def test_scores_of_two_streams_are_added(mini, net, monkeypatch, tmp_path, task):
    root = mini("ucf101")
    rgb, other = net(*CLASSES), net(*CLASSES, color="flow", seed=3)
    monkeypatch.setattr(flow, "dis", lambda: difference)
    asked, plain = [], recognition.svm_scores

    def noted(*given, fused):
        asked.append(fused)
        return plain(*given, fused=fused)

    monkeypatch.setattr(recognition, "svm_scores", noted)
    from pseudo3d.weights import save

    path = tmp_path / "flow.safetensors"
    save(other, path, classes=CLASSES, preprocessing=other.card.preprocessing)
    options = {"flow": str(path), "flow_share": 1.5, "flow_folder": str(tmp_path / "kept")}
    score = get("ucf101", task=task, clips=2, splits=(1,), **options).run(root, rgb, partial=True)
    videos = {f.stem.rsplit("-", 1)[0]: f for f in (tmp_path / "kept").iterdir()}
    lists = root / "ucfTrainTestlist"
    train, test = (
        [line.split()[0] for line in (lists / f"{part}list01.txt").read_text().split("\n") if line]
        for part in ("train", "test")
    )
    files = {n: (root / "UCF-101" / n, videos[n.split("/")[1][:-4]]) for n in test}
    truth = np.array([CLASSES.index(n.split("/")[0]) for n in test])
    if task == "end_to_end":
        scores = np.stack(
            [probs_by_hand(a, rgb, 2) + 1.5 * probs_by_hand(b, other, 2) for a, b in files.values()]
        ).mean(1)
    else:
        files |= {n: (root / "UCF-101" / n, videos[n.split("/")[1][:-4]]) for n in train}
        labels = [CLASSES.index(n.split("/")[0]) for n in train]
        scores = 0
        for i, (share, stream) in enumerate(((1.0, rgb), (1.5, other))):
            x, y = (
                np.array([pool5_by_hand(files[n][i], stream, 2) for n in p]) for p in (train, test)
            )
            machine = LinearSVC(max_iter=100_000, random_state=0).fit(x, labels)
            scores = scores + share * machine.decision_function(y)
    assert score.parts["1"]["video_hit@1"] == pytest.approx((scores.argmax(1) == truth).mean())
    assert "flow is OpenCV's DIS; the released flow network took TV-L1" in score.deviations
    assert "RGB + 1.5 x flow" in score.measured
    assert asked == ([True, True] if task == "svm" else [])  # values to add, no answers


def test_without_opencv_the_extra_is_named(tmp_path):
    if find_spec("cv2") is not None:
        move = flow.dis()
        spots = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
        before = spots.repeat(4, 0).repeat(4, 1)  # a texture: a plain square could move anywhere
        after = np.roll(before, 3, axis=1)
        assert np.median(move(before, after)[16:48, 16:48, 0]) == pytest.approx(3, abs=0.5)
        return
    with pytest.raises(ImportError, match=r"pip install 'pseudo3d\[flow\]'"):
        flow.flow_video(film(tmp_path / "v.avi", 0, 0), tmp_path / "f.mp4", 32)
