"""What an answer holds beside classes: explanations, segments, features."""

import base64

import numpy as np
import pytest
import torch

from pseudo3d.data.cache import Frames
from pseudo3d.data.video import read_video
from pseudo3d.engine.predict import predict
from pseudo3d.engine.segments import SegmentRule, segment_windows, segments_of
from pseudo3d.engine.windows import Cutter, Piece, Windows
from pseudo3d.features.sources import open_extractor
from pseudo3d.weights import load
from serve.serving import assert_same


def test_an_explanation_covers_every_frame_and_the_whole_picture(running, films):
    pytest.importorskip("captum", reason="captum of the extra `explain` is absent")
    found = running.post(films[0], explain=True).json()
    heat, importance = found["heat"], found["importance"]
    assert heat["times"] == importance["times"] == sorted(heat["times"])
    assert len(heat["times"]) == 6
    assert sum(importance["values"]) == pytest.approx(1, abs=1e-4)
    assert importance["target"] == found["label"]
    values = np.frombuffer(base64.b64decode(heat["values"]), np.uint8)
    values = values.reshape(6, heat["rows"], heat["cols"])
    assert (heat["rows"], heat["cols"]) == (30, 37)  # 36 x 44, the shorter side scaled to 30
    assert values.max() == 255
    assert not values[:, :3].any()  # outside of the crop of 24 the network sees nothing
    assert not values[:, :, :6].any()


def test_a_long_video_is_explained_in_order_of_time(running, films):
    pytest.importorskip("captum", reason="captum of the extra `explain` is absent")
    found = running.post(films[3], explain=True).json()
    times = found["heat"]["times"]
    assert len(times) > 6
    assert times == sorted(times)
    assert times[-1] < found["duration"]
    assert sum(found["importance"]["values"]) == pytest.approx(1, abs=1e-4)


def test_segments_come_with_the_prediction(running, films):
    found = running.post(films[3], segments=True).json()
    for part in found["segments"]:
        assert set(part) == {"start", "end", "label", "score"}
        assert 0 <= part["start"] < part["end"] <= found["duration"] + 0.1


@pytest.mark.parametrize("which", [0, 3])
def test_segments_alone_are_those_of_the_library_also_of_a_short_video(
    running, weights, films, which
):
    net = load(weights)
    whole = predict(net, films[which], windows=segment_windows(net))
    assert len(whole.starts) > 1
    found = running.post(films[which], "/segments").json()["segments"]
    expected = segments_of(whole, SegmentRule())
    assert [part["label"] for part in found] == [part.label for part in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["start"] == pytest.approx(theirs.start, abs=2e-3)
        assert ours["end"] == pytest.approx(theirs.end, abs=2e-3)
        assert ours["score"] == pytest.approx(theirs.score, abs=1e-4)


@pytest.mark.parametrize("which", [0, 3])
def test_segments_with_a_prediction_are_those_asked_for_alone(
    running, weights, films, which, monkeypatch
):
    low = SegmentRule(threshold=0.25, shortest=0.0)  # of four classes: there is always one
    monkeypatch.setattr("pseudo3d.engine.segments.SegmentRule", lambda: low)
    found = running.post(films[which], segments=True, top=4).json()
    assert found["segments"]
    assert found["segments"] == running.post(films[which], "/segments").json()["segments"]
    net = load(weights)  # and the rest is what `p3d predict --segments` says
    assert_same(found, predict(net, films[which], windows=segment_windows(net)))


def test_without_segments_a_short_video_is_one_window(running, films):
    found = running.post(films[0]).json()
    assert len(found["timeline"]) == 1
    assert found["segments"] is None


def test_features_are_those_of_the_library(running, weights, films):
    found = running.post(films[0], "/features", layer="pool5").json()
    extractor = open_extractor(weights, ["pool5"])
    video = read_video(films[0], size=30)
    frames = Frames(pixels=video.frames.numpy(), times=video.times)
    (window,) = Cutter(Windows(), (1.5, 2.0), extractor.pre, 10.0).cut(iter([Piece(frames, None)]))
    expected = extractor(torch.stack(window.clips))["pool5"].mean(0)
    assert found["shape"] == [len(expected)]
    assert found["values"] == pytest.approx(expected.tolist(), abs=1e-4)


def test_features_of_windows_and_of_inner_layers(running, films):
    found = running.post(films[3], "/features", layer="res3", windows=True).json()
    assert found["shape"] == [len(found["windows"]), 8]
    assert np.asarray(found["values"]).shape == tuple(found["shape"])
    wrong = running.post(films[0], "/features", layer="res9")
    assert wrong.status_code == 400
    assert "res9" in wrong.json()["error"]["message"]
