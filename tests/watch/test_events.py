"""Events begin above one threshold, end below another, and do not flicker."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.engine.live import Decision
from pseudo3d.errors import Pseudo3dError
from pseudo3d.watch.events import Rule, Watch, parse_rules

STEP = 0.25  # s between decisions


def decisions(scores, start=0.0):
    for i, score in enumerate(scores):
        top = tuple(sorted((("a", score), ("b", 1 - score)), key=lambda pair: -pair[1]))
        yield Decision(
            time=start + STEP * i, label=top[0][0], probability=top[0][1], top=top, frames=i
        )


def events(scores, **how):
    watch, found = Watch((Rule(label="a", **how),)), []
    for decision in decisions(scores):
        new, watch = watch.see(decision)
        found += new
    return found, watch


def told(found):
    return [(event.kind, event.begin, event.at) for event in found]


def test_between_the_thresholds_nothing_changes():
    scores = [0.1, 0.5, 0.7, 0.5, 0.45, 0.59, 0.41, 0.2, 0.2, 0.2, 0.5, 0.59]
    found, watch = events(scores)
    assert told(found) == [("start", 0.5, 0.5), ("end", 0.5, 1.75)]
    assert found[1].score == 0.7
    assert watch.going == ()


def test_it_must_last_to_count_and_starts_when_it_rose():
    assert events([0.9, 0.1] * 8, hold=0.5)[0] == []
    found, watch = events([0.1, 0.9, 0.9, 0.9, 0.9], hold=0.5)
    assert told(found) == [("start", 0.25, 0.75)]
    assert watch.going == ("a",)


def test_a_short_dip_does_not_end_it():
    found, _ = events([0.9, 0.1, 0.9, 0.1, 0.1, 0.9], release=0.5)
    assert told(found) == [("start", 0.0, 0.0)]
    found, _ = events([0.9, 0.1, 0.1, 0.1, 0.9], release=0.5)
    assert told(found)[1] == ("end", 0.0, 0.25)


def test_it_does_not_begin_again_while_it_cools():
    scores = [0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9]
    found, _ = events(scores, release=0.0, cool=1.0)
    assert told(found) == [("start", 0, 0), ("end", 0, 0.25), ("start", 1.25, 1.25)]


def test_what_goes_on_can_be_cut_and_begins_anew():
    _, watch = events([0.9, 0.95])
    found, watch = watch.cut(0.4, "the source was lost")
    assert [(e.kind, e.at, e.score, e.why) for e in found] == [
        ("end", 0.4, 0.95, "the source was lost")
    ]
    assert watch.cut(0.5, "again") == ([], watch)
    (again,), _ = watch.see(next(decisions([0.9])))
    assert again.kind == "start"


def test_a_clock_that_starts_anew_does_not_block_events():
    _, watch = events([0.9, 0.0, 0.0, 0.0], cool=5.0, release=0.0)
    late = next(decisions([0.9], start=-1000.0))
    (event,), _ = watch.see(late)
    assert event.kind == "start"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1), max_size=60),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.0, 1.0]),
)
def test_starts_and_ends_alternate_and_keep_their_promises(scores, one, two, hold, release, cool):
    low, high = sorted((one, two))
    found, _ = events(scores, on=high, off=low, hold=hold, release=release, cool=cool)
    assert [event.kind for event in found] == (["start", "end"] * len(found))[: len(found)]
    by_time = {STEP * i: score for i, score in enumerate(scores)}
    over = -math.inf
    for event in found:
        if event.kind == "start":
            assert event.at - event.begin >= hold - 1e-6
            assert event.begin >= over + cool - 1e-6
            inside = [s for t, s in by_time.items() if event.begin <= t <= event.at]
            assert min(inside) >= high
        else:
            over = event.at
            assert by_time[event.at] < low
            assert event.score >= high


def test_rules_are_read_as_written():
    like = Rule(label="", on=0.6, off=0.4, hold=1.0)
    classes = ("walk", "run", "a:b")
    rules = parse_rules(["walk", "run:0.3", "a:b:0.9:0.2"], classes, like)
    assert [(r.label, r.on, r.off, r.hold) for r in rules] == [
        ("walk", 0.6, 0.4, 1.0),
        ("run", 0.3, 0.3, 1.0),
        ("a:b", 0.9, 0.2, 1.0),
    ]
    assert [r.label for r in parse_rules(["a:b"], classes, like)] == ["a:b"]
    assert [r.on for r in parse_rules(["a:b:0.7"], classes, like)] == [0.7]
    assert [r.label for r in parse_rules([], classes, like, ["run"])] == ["walk", "a:b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wlak", "unknown class: 'wlak'. Did you mean walk"),
        ("walk:high", "'walk:high': wanted LABEL"),
        ("walk:0.2:0.7", "wanted 0 <= off <= on <= 1"),
        ("walk:7", "on is 7.0"),
        ("walk:nan", "on is nan"),
    ],
)
def test_wrong_rules_are_refused(text, words):
    with pytest.raises(Pseudo3dError, match=words):
        parse_rules([text], ("walk", "run"), Rule(label=""))
    with pytest.raises(Pseudo3dError, match="hold is inf"):
        Rule(label="a", hold=math.inf)
    with pytest.raises(Pseudo3dError, match="unknown class: 'idle'"):
        parse_rules([], ("walk",), Rule(label=""), ["idle"])
