"""Scores are those of a few plain lines of arithmetic, whatever the batches."""

import json
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.data import pick
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.video import read_video, write_video
from pseudo3d.engine.evaluate import Evaluation, Protocol, evaluate
from pseudo3d.errors import ManifestError, WeightsError
from pseudo3d.runtime.lower import optimize
from pseudo3d.weights import load

LIGHTS = {name: 30.0 + 25 * i for i, name in enumerate("abcdefgh")}


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Eight videos that get brighter; the label is right for some of their views only."""
    home, items = tmp_path_factory.mktemp("ramps"), []
    ends = [(30, 60), (60, 20), (90, 200), (55, 55), (200, 30), (205, 180), (90, 130), (20, 210)]
    for i, ((first, last), label) in enumerate(zip(ends, "abecagda", strict=True)):
        ramp = torch.linspace(first, last, 13).view(1, 13, 1, 1).expand(3, 13, 16, 16)
        write_video(home / f"{i}.mp4", ramp.round().byte(), fps=10)
        items.append(Item(path=home / f"{i}.mp4", label=label))
    return Manifest(tuple(items), tuple(LIGHTS))


def by_hand(manifest, views):
    """Probabilities (V, views, K) and labels, frame by frame."""
    lights, out = np.array(list(LIGHTS.values())), []
    for item in manifest.items:
        frames = read_video(item.path).frames.double().mean((0, 2, 3)).numpy()
        middle = [int((view + 0.5) / views * 13) for view in range(views)]
        logits = -(((frames[middle][:, None] - lights) / 20) ** 2)
        out.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    return np.stack(out), np.array([list(LIGHTS).index(i.label) for i in manifest.items])


@pytest.mark.parametrize(("views", "batch"), [(4, 3), (4, 100), (1, 16)])
def test_scores_are_those_computed_by_hand(ramps, meter, views, batch):
    net, told = meter(LIGHTS).train(), []
    protocol = Protocol(views=views, batch=batch)
    found = evaluate(net, ramps, None, protocol, lambda done, total: told.append((done, total)))
    probs, labels = by_hand(ramps, views)
    mean = probs.mean(1)
    assert np.allclose(found.probs.numpy(), mean, atol=1e-5)
    assert found.clip_hit1 == pytest.approx((probs.argmax(2) == labels[:, None]).mean())
    right = mean.argmax(1) == labels
    assert 0 < right.mean() < 1
    assert found.hit(1) == pytest.approx(right.mean())
    ranks = (mean > mean[range(8), labels][:, None]).sum(1)
    assert found.hit(5) == pytest.approx((ranks < 5).mean())
    pairs = Counter(zip(labels.tolist(), mean.argmax(1).tolist(), strict=True))
    assert found.confusion().tolist() == [[pairs[i, j] for j in range(8)] for i in range(8)]
    assert found.per_class() == {
        name: pytest.approx(right[labels == k].mean())
        for k, name in enumerate(LIGHTS)
        if (labels == k).any()
    }
    assert told[-1] == (len(told), len(told))
    assert len(told) == -(-8 * views // batch)
    assert net.training  # as the caller left it


def test_probabilities_of_the_views_are_averaged_not_their_logits(ramps, meter):
    four = evaluate(meter(LIGHTS), ramps, None, Protocol(views=4))
    probs, _ = by_hand(ramps, 4)
    other = np.exp(np.log(probs).mean(1))
    other /= other.sum(1, keepdims=True)
    assert np.abs(four.probs.numpy() - other).max() > 0.05


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.integers(1, 12), st.integers(0, 2**31))
def test_hit_counts_the_labels_among_the_most_probable(classes, videos, seed):
    rng = torch.Generator().manual_seed(seed)
    probs = torch.rand(videos, classes, generator=rng).softmax(1)
    labels = torch.randint(classes, (videos,), generator=rng)
    found = Evaluation(
        protocol=Protocol(),
        classes=tuple("abcdefgh"[:classes]),
        probs=probs,
        labels=labels,
        paths=(),
        clip_hit1=0.0,
    )
    for top in (1, 2, 5):
        among = [k in row.topk(min(top, classes)).indices for row, k in zip(probs, labels)]  # noqa: B905
        assert found.hit(top) == pytest.approx(sum(among) / videos)
    assert found.confusion().sum() == videos


def test_equal_probabilities_count_in_the_order_of_the_classes():
    classes = 40
    probs = torch.full((classes, classes), 1 / classes)
    found = Evaluation(
        protocol=Protocol(),
        classes=tuple(map(str, range(classes))),
        probs=probs,
        labels=torch.arange(classes),
        paths=(),
        clip_hit1=0.0,
    )
    for top in (1, 5, 99):
        among = torch.arange(classes) < top
        assert found.hit(top) == pytest.approx(float(among.float().mean()))
    last = replace(found, labels=torch.full((classes,), classes - 1))
    assert last.hit(5) == 0.0
    assert replace(found, labels=torch.full((classes,), 4)).hit(5) == 1.0


def test_the_callers_random_numbers_are_left_alone(ramps, meter):
    before = torch.random.get_rng_state()
    evaluate(meter(LIGHTS), ramps, None, Protocol(views=2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_protocol_stands_beside_the_scores(ramps, meter):
    found = evaluate(meter(LIGHTS), ramps, None, Protocol(views=3, split="test"))
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["protocol"] == found.describe()
    assert found.describe().startswith("split test, 8 videos, 3 views")
    assert (plain["videos"], plain["views"], plain["split"]) == (8, 3, "test")
    assert plain["video_hit@1"] == found.hit(1)
    assert plain["video_hit@5"] == found.hit(5) >= plain["video_hit@1"]
    assert plain["clip_hit@1"] == found.clip_hit1
    assert plain["confusion"] == found.confusion().tolist()
    assert plain["classes"] == list(LIGHTS)
    assert plain["missing"] == {}


def test_unreadable_files_are_left_out_and_named(ramps, meter, tmp_path):
    broken = Item(path=tmp_path / "broken.mp4", label="a")
    broken.path.write_bytes(b"no video")
    elsewhere = Item(path=tmp_path / "elsewhere.mp4", label="a")  # of another part
    store = FrameStore(resize=16, folder=tmp_path / "cache")
    store.fill([broken, elsewhere, *ramps.items])
    both = Manifest((broken, *ramps.items), ramps.classes)
    found = evaluate(meter(LIGHTS), both, store)
    assert list(found.missing) == [broken.path]
    assert "broken.mp4" in found.missing[broken.path]
    assert found.paths == tuple(item.path for item in ramps.items)
    assert "8 videos" in found.describe()
    assert "1 unreadable left out" in found.describe()
    assert str(broken.path) in found.to_dict()["missing"]
    assert torch.equal(found.probs, evaluate(meter(LIGHTS), ramps, store).probs)
    with pytest.raises(ManifestError, match="none of the 1 files"):
        evaluate(meter(LIGHTS), Manifest((broken,), ramps.classes), store)


def test_a_label_the_network_does_not_know_is_told(ramps, meter):
    net = meter({name: light for name, light in LIGHTS.items() if name != "g"})
    with pytest.raises(ManifestError, match=r"5\.mp4 is labeled .*'g'"):
        evaluate(net, ramps)


def test_labels_follow_the_networks_order_of_classes(ramps, meter):
    turned = dict(reversed(LIGHTS.items()))
    ours, theirs = (evaluate(meter(lights), ramps) for lights in (LIGHTS, turned))
    assert ours.per_class() == pytest.approx(theirs.per_class())
    assert torch.allclose(ours.probs, theirs.probs.flip(1))


def test_a_network_without_classes_or_preprocessing_is_refused(ramps, fresh):
    with pytest.raises(WeightsError, match="classes"):
        evaluate(fresh(), ramps)


def test_a_trained_network_recognizes_people_it_has_not_seen(trained, films, store):
    net = load(trained / "weights.safetensors")
    found = evaluate(net, films.split("test"), store, Protocol(views=2, split="test"))
    assert found.hit(1) >= 5 / 6
    assert found.hit(5) == 1.0


def test_without_a_cache_each_video_is_decoded_once_and_in_another_thread(
    ramps, meter, monkeypatch
):
    opened, inner = [], pick.pick

    def counted(frames, numbers):
        opened.append((frames.path, threading.current_thread() is threading.main_thread()))
        return inner(frames, numbers)

    monkeypatch.setattr(pick, "pick", counted)
    for batch in (2, 6, 100):  # less than the views of a video, more, all
        opened.clear()
        protocol = Protocol(views=4, batch=batch)
        found = evaluate(meter(LIGHTS), ramps, FrameStore(resize=16), protocol)
        assert opened == [(item.path, False) for item in ramps.items]
        probs, _ = by_hand(ramps, 4)
        assert np.allclose(found.probs.numpy(), probs.mean(1), atol=1e-5)


def test_an_error_while_reading_ahead_is_told(ramps, meter, tmp_path):
    gone = Item(path=tmp_path / "gone.mp4", label="a")
    with pytest.raises(FileNotFoundError):
        evaluate(
            meter(LIGHTS), Manifest((*ramps.items, gone), tuple(LIGHTS)), FrameStore(resize=16)
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_a_path_and_a_runner_are_evaluated_too(trained, films, store):
    path, part = trained / "weights.safetensors", films.split("test")
    net = load(path)
    own, by_path, by_runner = (
        evaluate(model, part, store).probs for model in (net, path, optimize(net))
    )
    assert torch.equal(own, by_path)
    assert torch.equal(own, by_runner)
