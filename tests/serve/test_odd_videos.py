"""Videos that are unlike what the network was trained on, whole and damaged, are answered."""

import pytest

from data.containers import stream_of
from pseudo3d.engine.predict import predict
from serve.serving import assert_same

ODD = (
    "carphone_1frame.mp4", "decord_unordered.mov", "openGOP_longgop_carphone.mp4",
    "tc_animated.gif", "tc_nasa_13013_rotated.mp4", "tc_testsrc2_vp8.webm", "vfr_carphone.mp4",
)  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_videos_are_answered_as_predict_answers(running, weights, shared_data, name):
    path = shared_data / "videos" / "odd" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the shared videos")
    answer = running.post(path, top=4)
    assert answer.status_code == 200, answer.text
    assert_same(answer.json(), predict(weights, path))


def test_a_video_that_is_cut_short_is_answered_as_far_as_it_goes(running, films, tmp_path):
    part = tmp_path / "cut.ts"
    stream_of(films[3], part)
    whole = part.read_bytes()
    part.write_bytes(whole[: int(0.6 * len(whole))])
    found = running.post(part).json()
    assert 2 < found["duration"] < 5.9
    assert found["label"] in ("up", "down", "left", "right")


def test_a_damaged_video_is_answered_with_what_is_wrong(running, films, tmp_path):
    damaged = tmp_path / "damaged.mp4"
    whole = films[3].read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    answer = running.post(damaged)
    assert answer.status_code == 422
    told = answer.json()["error"]
    assert told["code"] == "unreadable"
    assert told["message"].startswith("damaged.mp4 ")
