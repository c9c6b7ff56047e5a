"""Rules are chosen on other videos than they are scored on; scores say how they came about."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pseudo3d.data.annotation_files import read_annotations
from pseudo3d.data.annotations import Annotations, Mark
from pseudo3d.data.writer import write_video
from pseudo3d.engine.predict import Prediction
from pseudo3d.engine.segment_evaluate import look, score_found, score_segments, tune
from pseudo3d.engine.segment_tuning import AIMS, choose_rule
from pseudo3d.engine.segments import SegmentRule, segment_windows, segments_of
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.scores.bootstrap import Draws
from pseudo3d.scores.segmental import f1

LIGHTS = {"dark": 40, "middle": 120, "bright": 200}
FEW = Draws(count=100)


def course(path: Path, parts: list[tuple[int, str]]) -> list[tuple[float, float, str]]:
    """A video at 10 Hz whose light changes; (frames, light) after (frames, light)."""
    frames = [torch.full((3, n, 16, 16), LIGHTS[name]) for n, name in parts]
    write_video(path, torch.cat(frames, 1).byte(), fps=10)
    spans, now = [], 0
    for n, name in parts:
        if name != "dark":
            spans.append((now / 10, (now + n) / 10, name))
        now += n
    return spans


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> Path:
    """Four videos, two to choose on and two to score, one of them without any segment."""
    home = tmp_path_factory.mktemp("courses")
    programs = {
        "a.mp4": (
            "val",
            [(20, "dark"), (20, "bright"), (20, "dark"), (20, "middle"), (10, "dark")],
        ),
        "b.mp4": ("val", [(30, "dark"), (15, "bright"), (30, "dark")]),
        "c.mp4": (
            "test",
            [(15, "dark"), (20, "middle"), (20, "dark"), (25, "bright"), (20, "dark")],
        ),
        "d.mp4": ("test", [(40, "dark")]),
    }
    rows = ["path,label,start,end,split"]
    for name, (split, parts) in programs.items():
        spans = course(home / name, parts)
        rows += [f"{name},{k},{a},{b},{split}" for a, b, k in spans] or [f"{name},,,,{split}"]
    (home / "truth.csv").write_text("\n".join(rows) + "\n")
    return home / "truth.csv"


@pytest.fixture
def net(meter: Callable):
    return meter(LIGHTS, training={"clip_seconds": 1.0})


REST = SegmentRule(background=("dark",))


def test_a_network_that_knows_scores_high_and_says_how(net, listed):
    truth = read_annotations(listed)
    calls = []
    seen = look(net, truth.split("test"), segment_windows(net), progress=lambda *c: calls.append(c))
    assert calls[-1] == (2, 2)
    scores = score_segments(seen, REST, split="test", draws=FEW)
    assert scores.detection.at[0] == 1.0
    assert scores.segmental.f1[0.5] == 1.0
    assert scores.segmental.count_error == 0.0
    assert scores.segmental.frame_accuracy > 0.85
    assert scores.segmental.frame_map > 0.95
    text = scores.describe()
    assert "split test, 2 videos with 2 segments of 2 labels" in text
    assert "windows of 1 s every 0.25 s, threshold 0.5" in text
    assert "without dark; rule given, not chosen" in text
    found = scores.to_dict()
    assert [s["label"] for s in found["segments"]["c.mp4"]] == ["middle", "bright"]
    assert found["segments"]["d.mp4"] == []
    assert found["rule"]["background"] == ["dark"]


def test_a_chosen_rule_says_where_it_was_chosen(net, listed):
    truth, plan = read_annotations(listed), segment_windows(net)
    choice = tune(look(net, truth.split("val"), plan), start=REST)
    scores = score_segments(look(net, truth.split("test"), plan), choice=choice, draws=FEW)
    assert scores.rule == choice.rule
    assert "on 2 validation videos with 3 segments, F1@50" in scores.describe()
    assert choice.score >= choice.before
    assert choice.rule.background == ("dark",)


def test_labels_a_network_cannot_know_are_refused_before_the_work(net, listed):
    truth = read_annotations(listed)
    strange = Annotations(
        tuple(
            v if v.marks else type(v)(name=v.name, path=v.path, marks=(Mark(0, 1, "darc"),))
            for v in truth.videos
        )
    )
    with pytest.raises(ManifestError, match="Did you mean dark"):
        look(net, strange, segment_windows(net))


def test_videos_that_cannot_be_read_are_named_beside_the_score(net, listed, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = course(tmp_path / "good.mp4", [(20, "dark"), (20, "bright"), (20, "dark")])
    (tmp_path / "truth.csv").write_text(
        f"path,label,start,end\nbad.mp4,bright,0,1\ngood.mp4,bright,{good[0][0]},{good[0][1]}\n"
    )
    seen = look(net, read_annotations(tmp_path), segment_windows(net))
    scores = score_segments(seen, REST, draws=FEW)
    assert list(scores.missing) == ["bad.mp4"]
    assert "1 videos left out" in scores.describe()
    (tmp_path / "truth.csv").write_text("path,label,start,end\nbad.mp4,bright,0,1\n")
    with pytest.raises(ManifestError, match="none of the 1 videos can be read"):
        look(net, read_annotations(tmp_path), segment_windows(net))


def noisy(seed, count=60):
    """A curve of three strokes with false spikes, and the truth."""
    rng = np.random.default_rng(seed)
    starts = np.arange(count) * 0.25
    curve = rng.random(count) * 0.3
    curve[rng.integers(0, count, 6)] += 0.45
    truth = []
    for first in (5, 22, 40):
        curve[first : first + 8] = 0.65 + 0.1 * rng.random(8)
        truth.append(Mark(starts[first] + 0.5, starts[first + 8] + 0.5, "hit"))
    table = np.stack([curve, 1 - curve], axis=1)
    return Prediction(
        source="x", classes=("hit", "rest"), starts=starts, ends=starts + 1, window_probs=table
    ), truth


@pytest.mark.parametrize("aim", AIMS)
def test_choosing_helps_and_never_harms_where_it_is_done(aim):
    start = SegmentRule(threshold=0.9, smooth=0.0, background=("rest",))
    predictions, truth = zip(*[noisy(s) for s in range(2)], strict=True)
    choice = choose_rule(predictions, truth, aim=aim, start=start)
    assert choice.score > choice.before
    assert choice.tried > 100
    assert choice.rule.background == ("rest",)
    others, marks = zip(*[noisy(s) for s in range(10, 12)], strict=True)
    before, after = (
        f1([segments_of(p, r) for p in others], marks, 0.5) for r in (start, choice.rule)
    )
    assert after > before + 0.3


def test_a_rule_that_cannot_be_bettered_is_kept():
    table = np.zeros((20, 2))
    table[:, 1] = 1
    table[6:11] = 1, 0
    starts = np.arange(20) * 0.25
    one = Prediction(
        source="x", classes=("hit", "rest"), starts=starts, ends=starts + 1, window_probs=table
    )
    rule = SegmentRule(background=("rest",))
    (only,) = segments_of(one, rule)
    choice = choose_rule([one], [[Mark(only.start, only.end, "hit")]], start=rule)
    assert (choice.rule, choice.score) == (rule, 1.0)


@pytest.mark.parametrize("name", ["threshold", "edge", "smooth", "overlap", "shortest"])
def test_every_value_is_searched(name):
    from pseudo3d.engine.segment_tuning import _search, _values

    values = _values([noisy(0)[0]])
    best, scores = _search(SegmentRule(smooth=0.1), values, lambda rule: getattr(rule, name))
    assert getattr(best, name) == max(values[name])
    assert scores[best] == max(scores.values())


def test_of_equal_rules_the_one_with_good_neighbors_is_taken():
    from pseudo3d.engine.segment_tuning import _middle

    scores = {(i, 0, 0): v for i, v in enumerate([0.1, 0.9, 0.1, 0.8, 0.9, 0.8, 0.2])}
    assert _middle(scores) == (4, 0, 0)


def test_what_cannot_be_chosen_on_is_refused():
    prediction, truth = noisy(0)
    with pytest.raises(Pseudo3dError, match="aim is 'best'"):
        choose_rule([prediction], [truth], aim="best")
    with pytest.raises(Pseudo3dError, match="truth of 0 videos"):
        choose_rule([prediction], [], aim="f1")
    with pytest.raises(Pseudo3dError, match="with 0 segments"):
        choose_rule([prediction], [[]], aim="f1")


def test_segments_of_anything_are_scored_by_name(listed):
    truth = read_annotations(listed, disk=False).split("test")
    own = {"v_c": truth.videos[0].marks, "elsewhere": (Mark(0, 1, "bright"),)}
    scores = score_found(own, truth, draws=FEW)
    assert scores.detection.mean_ap.value == 1.0
    assert scores.problems == {
        "d.mp4": "nothing was found in it",
        "elsewhere": "left out: not among the videos that are scored",
    }
    assert scores.to_dict()["rule"] is None
    assert score_found({"d": own["v_c"]}, truth, draws=FEW).detection.mean_ap.value == 0.0
