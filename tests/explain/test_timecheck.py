"""The verdict is right for networks whose behavior is known."""

import json

import numpy as np
import pytest
import torch

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.engine.evaluate import Protocol, evaluate
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.explain.timecheck import section, timecheck
from pseudo3d.report.html import write_page

VIEWS = Protocol(views=2, batch=5)


def test_a_network_that_minds_order_loses_it_all_when_reversed(films, minds_order):
    found = timecheck(minds_order, films, protocol=VIEWS)
    assert found.verdict == "uses order"
    assert found.sentence.startswith("uses order: 100 % in order, ")
    assert found.sentence.endswith(" shuffled, 0 % reversed")
    assert 0.25 < found.accuracy("shuffled").value < 0.75
    assert found.drop("reversed").value == found.changed("reversed") == 1.0
    assert found.drop("reversed").low > 0.6
    assert found.accuracy("frozen").value == 0.5
    assert found.accuracy("0.5x speed").value == found.accuracy("2x speed").value == 1.0
    assert found.per_class()["up"]["reversed"] == 0.0


def test_a_network_that_knows_the_mean_frame_only_does_not_use_order(films, minds_no_order):
    found = timecheck(minds_no_order, films, protocol=VIEWS)
    assert found.sentence == "does not use order: 50 % in order, 50 % shuffled, 50 % reversed"
    assert found.drop("shuffled").value == found.changed("shuffled") == 0.0
    assert found.guessing == 0.5


def test_frames_in_order_score_as_evaluate_does(films, minds_order):
    found = timecheck(minds_order, films, protocol=VIEWS)
    scores = evaluate(minds_order, films, protocol=VIEWS)
    assert np.allclose(found.probs[0], scores.probs.numpy(), atol=1e-6)
    assert found.paths == scores.paths


def test_differences_are_taken_after_the_frames_are_put_in_order(films, judged):
    def last_minus_first(x):  # the differences add up to it
        return x[:, 3:].sum(2).mean((1, 2, 3))

    found = timecheck(judged(last_minus_first, difference=True), films, protocol=VIEWS)
    assert found.accuracy("in order").value == 1.0
    assert found.accuracy("reversed").value == 0.0


def test_batches_change_nothing_and_the_seed_decides_the_shuffles(films, minds_order):
    one, two = (
        timecheck(minds_order, films, protocol=Protocol(views=3, batch=batch)) for batch in (2, 100)
    )
    assert np.allclose(one.probs, two.probs, atol=1e-6)
    other = timecheck(minds_order, films, protocol=Protocol(views=3), seed=1)
    assert not np.allclose(one.probs[1:4], other.probs[1:4])
    assert np.allclose(one.probs[[0, 4, 5]], other.probs[[0, 4, 5]])


def test_every_video_is_read_once(films, minds_order):
    class Counting(FrameStore):
        reads = 0

        def read(self, item):
            self.reads += 1
            return super().read(item)

    store, told = Counting(resize=18), []
    found = timecheck(
        minds_order,
        films,
        store,
        VIEWS,
        shuffles=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert store.reads == len(films.items)
    assert minds_order.seen == len(films.items) * 2 * len(found.ways)
    assert found.ways.count("shuffled") == 2
    assert told[-1] == (len(told), len(told))


def test_json_and_the_part_of_a_report_say_the_same(films, minds_order, tmp_path):
    found = timecheck(minds_order, films, protocol=VIEWS)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["verdict"] == "uses order"
    assert plain["conditions"]["reversed"]["video_hit@1"]["value"] == 0.0
    assert plain["conditions"]["reversed"]["loss"]["low"] > 0
    assert "24 videos, 2 views" in plain["protocol"]
    part = section(found, tmp_path / "time.png")
    text = write_page(tmp_path / "page.html", "x", [part]).read_text()
    assert f"The network {found.sentence}." in text
    assert (tmp_path / "time.png").read_bytes().startswith(b"\x89PNG")


def test_unreadable_files_are_left_out_and_named(films, minds_order, tmp_path):
    broken = Item(path=tmp_path / "broken.mp4", label="up")
    broken.path.write_bytes(b"no video")
    found = timecheck(minds_order, Manifest((broken, *films.items), films.classes), protocol=VIEWS)
    assert list(found.missing) == [broken.path]
    assert len(found.labels) == 24
    assert "1 unreadable left out" in found.describe()


def test_what_cannot_be_checked_is_refused(films, minds_order, judged):
    with pytest.raises(Pseudo3dError, match="1 frame"):
        timecheck(judged(torch.sum, frames=1), films)
    with pytest.raises(ValueError, match="shuffles"):
        timecheck(minds_order, films, shuffles=0)
    odd = Manifest((Item(path=films.items[0].path, label="sideways"),), ("sideways",))
    with pytest.raises(ManifestError, match="sideways"):
        timecheck(minds_order, odd)
