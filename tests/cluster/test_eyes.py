"""A row of a batch is what the other commands say about that video alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pseudo3d.cluster.eyes import Fetched, look, open_eyes
from pseudo3d.cluster.inputs import COLUMNS
from pseudo3d.data.decode import Blob
from pseudo3d.data.item import Item
from pseudo3d.data.manifest import Manifest
from pseudo3d.engine.predict import predict
from pseudo3d.engine.segments import SegmentRule, segment_windows, segments_of
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.features.extract import Extraction, extract
from pseudo3d.runtime.runner import open_runner


def item(path, **span):
    return Fetched(path=path, label="", source=path, **span)


@pytest.fixture(scope="module")
def video(clips):
    return clips / "v6.mp4"  # 12 frames at 10 Hz


@pytest.mark.parametrize("plan", [{}, {"seconds": 0.5, "hop": 0.2}, {"views": 2}])
def test_predictions_are_those_of_predict(job, weights, video, plan):
    alone = predict(open_runner(weights), video, windows=Windows(**plan))
    row = open_eyes(job(**plan, timeline=True)).look(item(video))
    assert row["label"] == alone.label
    np.testing.assert_allclose(row["probs"], alone.probs, atol=1e-6)
    assert row["timeline"] == alone.to_dict()["timeline"]
    assert row["windows"] == len(alone.starts)
    assert row["problem"] is None
    assert row["prob"] == pytest.approx(row["probs"].max())


def test_bytes_and_spans_are_looked_at_like_files(job, video, clips):
    eyes = open_eyes(job(seconds=0.4))
    whole = eyes.predict(item(video))
    blob = Fetched(path=Path("s3://b/v6.mp4"), label="", source=Blob(video, video.read_bytes()))
    np.testing.assert_array_equal(eyes.predict(blob).window_probs, whole.window_probs)
    part = eyes.predict(item(video, start=0.3, end=0.8))
    assert part.starts[0] == pytest.approx(0.3)
    assert part.ends[-1] == pytest.approx(0.8)
    short = open_eyes(job()).look(item(video, start=0.0, end=0.6))
    np.testing.assert_allclose(
        short["probs"], open_eyes(job()).look(item(clips / "v6.mp4", end=0.6))["probs"]
    )


def test_a_span_in_one_window_is_timed_and_seen_alike_on_both_ways(job, video, monkeypatch):
    quick = open_eyes(job(views=1)).predict(item(video, start=0.3, end=1.0))
    monkeypatch.setattr("pseudo3d.cluster.eyes.index_file", lambda source: None)
    read = open_eyes(job(views=1)).predict(item(video, start=0.3, end=1.0))
    assert (len(quick.starts), quick.starts[0]) == (1, pytest.approx(0.3))
    np.testing.assert_allclose(quick.starts, read.starts, atol=1e-9)
    np.testing.assert_allclose(quick.ends, read.ends, atol=1e-9)
    np.testing.assert_allclose(quick.window_probs, read.window_probs, atol=1e-6)


def test_segments_are_those_of_predict_segments(job, weights, video):
    rule = SegmentRule(threshold=0.2)
    plan = segment_windows(open_runner(weights), seconds=0.4, hop=0.1)
    alone = segments_of(predict(open_runner(weights), video, windows=plan), rule)
    options = {"seconds": 0.4, "hop": 0.1, "rule": rule.to_dict()}
    row = open_eyes(job("segments", **options)).look(item(video))
    assert alone
    assert row["segments"] == [s.to_dict() for s in alone]


def test_features_are_those_of_extract(job, weights, video):
    options = {"layers": ["pool5", "stem"], "clips": 3, "mirror": True, "per_clip": True}
    row = open_eyes(job("features", **options)).look(item(video))
    listed = Manifest((Item(path=video, label=""),), ())
    how = Extraction(clips=3, mirror=True, per_clip=True)
    alone = extract(str(weights), listed, layers=("pool5", "stem"), how=how)
    assert alone.clip_layers is not None
    for name in ("pool5", "stem"):
        np.testing.assert_array_equal(row[f"layer {name}"], alone.layers[name][0])
        np.testing.assert_array_equal(row[f"clips {name}"], alone.clip_layers[name])
    np.testing.assert_array_equal(row["clip_times"], alone.clip_times)
    windows = {"seconds": 0.4, "hop": 0.2}
    cut = open_eyes(job("features", windows=windows)).look(item(video))
    assert len(cut["clips pool5"]) == len(cut["clip_times"]) > 2


def test_what_is_wrong_is_told_apart_from_what_may_pass(job, clips, monkeypatch):
    row = dict.fromkeys(COLUMNS)

    def why(task, name):
        return look(job(task).to_dict(), {**row, "name": str(name)}, str(name))

    for task in ("predict", "features"):
        bad = why(task, clips / "v7.mp4")
        assert not bad["again"]
        assert bad["why"].startswith(f"{clips / 'v7.mp4'} cannot be opened as a video")

    def stale(eyes, item):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("pseudo3d.cluster.eyes.Predict.look", stale)
    assert why("predict", clips / "v1.mp4") == {
        "why": "[Errno 116] Stale file handle",
        "again": True,
    }


def test_weights_that_are_not_fit_are_nobodys_video(job, clips, weights, tmp_path):
    other = replace(job(), identity="0" * 64)
    with pytest.raises(WeightsError, match="another file here"):
        open_eyes(other)
    row = {**dict.fromkeys(COLUMNS), "name": str(clips / "v1.mp4")}
    assert "another file" in look(other.to_dict(), row, "v1")["fault"]
    gone = replace(job(), weights=str(tmp_path / "w.safetensors"))
    assert "every machine" in look(gone.to_dict(), row, "v1")["fault"]
    with pytest.raises(Pseudo3dError, match="layer"):
        open_eyes(job("features", layers=["res9"]))
