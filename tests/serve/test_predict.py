"""Uploads and their answers through a service that runs."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pseudo3d.engine.predict import predict
from serve.serving import assert_same, until


@pytest.mark.parametrize("which", [0, 2, 3])
def test_the_service_says_what_predict_says(running, weights, films, which):
    answer = running.post(films[which], top=4)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert_same(found, predict(weights, films[which]))
    assert found["source"] == films[which].name
    assert (found["kind"], found["problem"]) == ("video", None)
    assert (found["width"], found["height"]) == (44, 36)
    assert found["fps"] == pytest.approx(10)
    assert found["frames"] == (20, 20, 14, 60)[which]
    assert found["duration"] == pytest.approx(found["frames"] / 10, abs=0.01)
    assert (len(found["timeline"]) > 1) is (which == 3)


def test_top_lists_so_many_classes_of_the_whole_and_of_each_window(running, films):
    found = running.post(films[3], top=2).json()
    assert len(found["top"]) == 2
    assert found["top"][0] == {"label": found["label"], "score": found["score"]}
    assert {len(row["top"]) for row in found["timeline"]} == {2}


def test_many_clients_at_once_get_each_their_own_answer(running, weights, films):
    expected = [predict(weights, film) for film in films]
    assert len({round(float(e.probs.max()), 4) for e in expected}) == len(films)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda i: running.post(films[i % 4], top=4), range(24)))
    for i, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        assert_same(answer.json(), expected[i % 4])
    until(running.empty)
