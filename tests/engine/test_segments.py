"""From windows to segments: where they begin and end, which stay, what each value does."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.engine.predict import Prediction, predict
from pseudo3d.engine.segments import (
    Segment,
    SegmentRule,
    curves_at,
    read_rule,
    segment_windows,
    segments_of,
    smoothed,
)
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import Pseudo3dError

RAW = SegmentRule(smooth=0.0)
CLASSES = ("jump", "run", "rest")


def seen(table, hop=0.5, seconds=1.0, classes=CLASSES):
    """What a network saw: one row per window."""
    table = np.asarray(table, dtype=np.float32).reshape(len(table), -1)
    table = np.pad(table, ((0, 0), (0, len(classes) - table.shape[1])))
    starts = np.arange(len(table)) * hop
    return Prediction(
        source="x", classes=classes, starts=starts, ends=starts + seconds, window_probs=table
    )


def bump(times, middle, width, height=1.0):
    """A curve that is half its height at a distance of half its width."""
    return height * np.exp2(-((2 * (times - middle) / width) ** 2))


def triples(found):
    return [
        (pytest.approx(s.start, abs=0.03), pytest.approx(s.end, abs=0.03), s.label) for s in found
    ]


def test_a_segment_lasts_as_long_as_its_curve_is_above_half_its_peak():
    times = np.arange(80) * 0.25 + 0.5
    table = np.stack([bump(times, 6, 3, 0.8), bump(times, 14, 2, 0.6)], axis=1)
    found = segments_of(seen(table, hop=0.25), RAW)
    assert triples(found) == [(4.5, 7.5, "jump"), (13.0, 15.0, "run")]
    assert [s.score for s in found] == [pytest.approx(0.8, abs=0.01), pytest.approx(0.6, abs=0.01)]


def test_edges_lie_between_windows_where_the_curve_crosses():
    (one,) = segments_of(seen([0.0, 0.2, 1.0, 0.8, 0.0]), RAW)
    # middles 0.5, 1, 1.5, 2, 2.5: up through 0.5 between the 2nd and 3rd, down after the 4th
    assert one.start == pytest.approx(1.0 + 0.5 * 0.3 / 0.8)
    assert one.end == pytest.approx(2.0 + 0.5 * 0.3 / 0.8)


def test_a_segment_at_the_border_reaches_the_border():
    (one,) = segments_of(seen([0.9, 0.9, 0.9]), RAW)
    assert (one.start, one.end) == (0.0, 2.0)
    (single,) = segments_of(seen([[0.7, 0.2]]), RAW)
    assert (single.start, single.end, single.label) == (0.0, 1.0, "jump")


def test_a_dip_below_half_of_the_higher_peak_parts_two_strokes():
    for dip in (0.4, 0.47):  # the second is above half of the lower peak
        deep = segments_of(seen([0.1, 1.0, dip, 0.9, 0.1]), RAW)
        assert [s.label for s in deep] == ["jump", "jump"]
        assert deep[0].end <= deep[1].start
    assert len(segments_of(seen([0.1, 1.0, 0.6, 0.9, 0.1]), RAW)) == 1


def test_the_surer_of_two_labels_keeps_the_time_both_want():
    table = np.zeros((8, 2))
    table[1:5, 0], table[4:7, 1] = 0.9, 0.7
    found = segments_of(seen(table), RAW)
    assert [s.label for s in found] == ["jump", "run"]
    assert found[1].start == found[0].end
    both = segments_of(seen(table), SegmentRule(smooth=0.0, several=True))
    assert both[1].start < both[0].end
    assert both[0] == found[0]


def test_of_two_labels_at_the_same_time_one_is_left():
    table = np.zeros((7, 2))
    table[2:5] = 0.95, 0.9
    assert [s.label for s in segments_of(seen(table), RAW)] == ["jump"]
    several = SegmentRule(smooth=0.0, several=True)
    assert [s.label for s in segments_of(seen(table), several)] == ["jump", "run"]


def test_a_weaker_one_that_is_mostly_inside_a_surer_one_is_dropped_whole():
    table = np.zeros((9, 2))
    table[1:6, 0], table[3:7, 1] = 0.9, 0.7
    assert [s.label for s in segments_of(seen(table), RAW)] == ["jump"]
    left = segments_of(seen(table), RAW.but({"overlap": 0.9}))
    assert [s.label for s in left] == ["jump", "run"]
    assert left[1].start == left[0].end


def test_smoothing_mends_a_gap_and_is_an_average_over_time():
    curve = np.zeros(40)
    curve[8:20] = 0.9
    curve[14] = 0.1
    holed = seen(curve, hop=0.25)
    assert len(segments_of(holed, RAW)) == 2
    assert len(segments_of(holed, SegmentRule(smooth=0.5))) == 1
    found = smoothed(holed, SegmentRule(smooth=0.5))
    gaps = (holed.times[:, None] - holed.times[None]) / 0.5
    weights = np.exp(-0.5 * gaps**2) * (np.abs(gaps) <= 4)
    wanted = weights @ holed.window_probs / weights.sum(1, keepdims=True)
    assert found == pytest.approx(wanted, abs=1e-6)
    quarter = SegmentRule(smooth=0.25)  # of windows of one second
    assert smoothed(holed, SegmentRule()) == pytest.approx(smoothed(holed, quarter))


def test_curves_at_any_time_are_between_those_of_the_windows():
    found = curves_at(seen([0.0, 1.0, 0.0]), RAW, np.array([0.0, 0.5, 0.75, 1.0, 9.0]))
    assert found[:, 0] == pytest.approx([0, 0, 0.5, 1, 0])


TABLE = np.zeros((24, 3))
TABLE[2:6, 0] = 0.9
TABLE[8, 0] = 0.6
TABLE[5:8, 1] = 0.62, 0.65, 0.62
TABLE[12:18, 2] = 0.8
TABLE[20:23, 1] = 0.35


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.3},
        {"threshold": 0.7},
        {"smooth": 0.6},
        {"edge": 0.2},
        {"overlap": 0.0},
        {"shortest": 1.0},
        {"several": True},
        {"background": ("rest",)},
    ],
)
def test_every_value_of_a_rule_changes_what_is_found(changes):
    assert segments_of(seen(TABLE), RAW.but(changes)) != segments_of(seen(TABLE), RAW)


def test_background_suppresses_and_is_not_told():
    table = np.zeros((7, 3))
    table[2:5] = 0.6, 0.0, 0.9
    assert [s.label for s in segments_of(seen(table), RAW)] == ["rest"]
    assert segments_of(seen(table), RAW.but({"background": "rest"})) == []


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), min_size=1, max_size=40),
    threshold=st.floats(0.05, 1),
    edge=st.floats(0.1, 1),
    smooth=st.one_of(st.none(), st.floats(0, 2)),
    overlap=st.floats(0, 1),
    several=st.booleans(),
)
def test_segments_are_in_order_inside_the_video_and_apart(
    values, threshold, edge, smooth, overlap, several
):
    rule = SegmentRule(
        threshold=threshold, edge=edge, smooth=smooth, overlap=overlap, several=several
    )
    prediction = seen(values)
    found = segments_of(prediction, rule)
    assert [s.start for s in found] == sorted(s.start for s in found)
    assert all(0 <= s.start < s.end <= prediction.ends[-1] for s in found)
    table = smoothed(prediction, rule)
    for s in found:
        column = table[:, CLASSES.index(s.label)]
        assert threshold - 1e-6 <= s.score <= column.max() + 1e-6
    if not several:
        assert all(a.end <= b.start + 1e-6 for a, b in pairwise(found))
        highest = table.max()
        assert bool(found) == (highest >= threshold)


def test_hours_of_video_are_cut_too():
    rng = np.random.default_rng(0)
    table = rng.random((5_000, 3)) ** 4
    found = segments_of(seen(table, hop=0.25), SegmentRule(smooth=0.0))
    assert len(found) > 500


def test_a_rule_reads_back_and_takes_changes(tmp_path):
    rule = SegmentRule(threshold=0.3, smooth=0.4, background=("rest",))
    for content in (rule.to_dict(), {"rule": rule.to_dict(), "chosen": {}}):
        (tmp_path / "rule.json").write_text(json.dumps(content))
        assert read_rule(tmp_path / "rule.json") == rule
    assert rule.but({"background": "run"}).background == ("run",)
    assert rule.but({"background": []}).background == ()
    assert rule.but({"threshold": 0.4}).background == ("rest",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": 0}, "threshold is 0"),
        ({"edge": 1.5}, "edge is 1.5"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"smooth": -1}, "smooth is -1"),
        ({"shortest": float("inf")}, "shortest is inf"),
        ({"treshold": 0.5}, "Did you mean threshold"),
        ({"threshold": "high"}, "wanted a number"),
    ],
)
def test_impossible_rules_are_refused(changes, words):
    with pytest.raises(Pseudo3dError, match=words):
        SegmentRule().but(changes)


@pytest.mark.parametrize("text", ["no json", "[1]", '{"rule": 3}'])
def test_a_file_without_a_rule_is_named(text, tmp_path):
    (tmp_path / "rule.json").write_text(text)
    with pytest.raises(Pseudo3dError, match=r"rule\.json holds no rule"):
        read_rule(tmp_path / "rule.json")
    with pytest.raises(Pseudo3dError, match="holds no rule"):
        read_rule(tmp_path / "absent.json")


def test_a_background_that_is_no_class_is_refused():
    with pytest.raises(Pseudo3dError, match="Did you mean rest"):
        segments_of(seen([0.1]), SegmentRule(background=("rast",)))


def test_windows_are_as_long_as_training_clips_even_where_predict_takes_the_whole(meter):
    net = meter({"dark": 40, "bright": 200}, training={"clip_seconds": 1.2, "longest_seconds": 9})
    assert segment_windows(net) == Windows(seconds=1.2, hop=None, views=1)
    assert segment_windows(net, seconds=2, hop=0.1) == Windows(seconds=2, hop=0.1, views=1)
    dense = meter({"dark": 40, "bright": 200}, sampling="dense", frames=10)
    assert segment_windows(dense).seconds is None  # the clip's own length


def test_a_video_is_cut_where_the_light_changes(meter):
    import torch

    frames = torch.cat(
        [torch.full((3, n, 16, 16), v) for n, v in ((30, 40), (20, 200), (30, 40))], 1
    )
    net = meter({"dark": 40, "bright": 200}, training={"clip_seconds": 1.0})
    result = predict(net, frames.byte(), windows=segment_windows(net), fps=10)
    found = segments_of(result, SegmentRule(background=("dark",)))
    assert [s.label for s in found] == ["bright"]
    assert found[0].start == pytest.approx(3.0, abs=0.3)
    assert found[0].end == pytest.approx(5.0, abs=0.3)


def test_a_segment_as_json():
    one = Segment(start=1.23456, end=2.0, label="jump", score=0.12345678)
    assert one.to_dict() == {"start": 1.235, "end": 2.0, "label": "jump", "score": 0.123457}
