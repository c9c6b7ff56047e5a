"""Frames with their times in, decisions out, the same as `predict` gives for the same seconds."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import resize
from pseudo3d.engine.judge import Judge
from pseudo3d.engine.live import Live, LiveState
from pseudo3d.engine.pace import Pace
from pseudo3d.engine.predict import predict
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.models.network import Network
from pseudo3d.recycle.card import Card

DAY = {"night": 40.0, "day": 200.0}
SECOND = {"clip_seconds": 1.0, "longest_seconds": 1.0}


def frame(light, height=24, width=32):
    return np.full((height, width, 3), light, np.uint8)


def run(live, frames, times, state=None):
    """Every decision, and the state at the end."""
    state, found = state or live.start(), []
    for image, time in zip(frames, times, strict=True):
        decision, state = live.push(image, float(time), state)
        if decision is not None:
            found.append(decision)
    return found, state


class Counting(Network):
    """Its logits are the brightness of each frame of the clip: they say which ones it was shown."""

    def __init__(self, training, **pre):
        super().__init__()
        values = {"frames": 4, "resize": 16, "size": (16, 16), "scale": 1.0}
        values = {**values, "mean": (0.0,) * 3, "std": (1.0,) * 3, **pre}
        prepare = Preprocessing(**values)
        classes = tuple(f"frame {i}" for i in range(prepare.frames))
        self.card = Card(
            name="count", config={}, classes=classes, preprocessing=prepare, training=training
        )
        self.seen = []
        self.eval()  # what is in training is copied

    def forward(self, x):
        self.seen.append(x[0, :, :, 0, 0].clone())
        return x.mean((1, 3, 4))


def shown(net):
    """Brightness of the frames of the newest clip."""
    return net.seen[-1][0].tolist()


def test_the_label_switches_when_the_scene_does(meter):
    live = Live.open(meter(DAY, training=SECOND, frames=4), every=0.1)
    lights = [40] * 30 + [200] * 30
    found, state = run(live, map(frame, lights), np.arange(60) / 10)
    assert live.mode == "window"
    assert live.classes == ("night", "day")
    first_day = next(d for d in found if d.label == "day")
    assert first_day.time == pytest.approx(3.5, abs=0.2)
    assert found[0].time == pytest.approx(0.9, abs=0.11)  # not before there is a whole window
    assert [d.label for d in found if d.time > 4] == ["day"] * len([d for d in found if d.time > 4])
    assert first_day.probability == first_day.top[0][1]
    assert {name for name, _ in first_day.top} == set(DAY)
    assert math.isclose(sum(p for _, p in found[-1].top), 1, abs_tol=1e-5)
    assert found[-1].frames == state.frames == 60


@pytest.mark.parametrize("how", [{}, {"sampling": "dense", "fps": 10.0}])
def test_a_decision_is_what_predict_says_of_the_same_seconds(fresh, how):
    torch.manual_seed(1)
    net = fresh()
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3, **how)
    net.card = replace(
        Card(name=net.name, config={}, training={"clip_seconds": 1.6, "longest_seconds": 1.6}),
        classes=("a", "b", "c"),
        preprocessing=pre,
    )
    clip = torch.randint(0, 256, (3, 40, 24, 32), dtype=torch.uint8)
    live = Live.open(net, every=0.0)
    images = clip.permute(1, 2, 3, 0).numpy()
    found, _ = run(live, images, np.arange(40) / 10)
    whole = predict(net.eval(), clip, fps=10.0, windows=Windows(hop=0.1))
    by_end = {round(d.time + 0.1, 3): d for d in found}
    ends = [round(float(e), 3) for e in whole.ends]
    both = [(by_end[e], p) for e, p in zip(ends, whole.window_probs, strict=True) if e in by_end]
    both = both[:-1]  # the last one is what is left of the video
    assert len(both) > 20
    for decision, probs in both:
        got = torch.tensor([dict(decision.top)[name] for name in whole.classes])
        assert_close(got, torch.from_numpy(probs).float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rate", [7.0, 25.0, 240.0])
@pytest.mark.parametrize("how", [{}, {"sampling": "dense", "fps": 4.0}])
def test_frames_are_taken_by_their_times_whatever_the_rate(rate, how):
    net = Counting({"clip_seconds": 1.0}, **how)
    live = Live.open(net, every=0.0)
    times = np.arange(int(1.5 * rate)) / rate
    run(live, [frame(int(50 * t)) for t in times], times)
    taken = np.array(shown(net)) / 50
    wanted = live.pace.wanted(times[-1], 1 / rate).numpy()
    assert (np.abs(taken - wanted) <= max(1 / rate, 0.25 / 8) + 0.021).all()


def test_memory_is_bounded_whatever_the_camera_does():
    live = Live.open(Counting({"clip_seconds": 1.0}), every=10.0)
    state, sizes = live.start(), []
    times = np.cumsum(np.tile([1e-3, 1e-3, 0.0, 5e-3], 700))
    for time in times:
        _, state = live.push(frame(9, 16, 16), float(time), state)
        sizes.append(state.nbytes)
    whole = 3 * 16 * 16 * 8 * (4 + 2)  # eight frames for each of a clip, and some
    assert max(sizes) <= whole
    assert sizes[-1] == pytest.approx(sizes[len(sizes) // 2], rel=0.2)


def test_a_state_is_never_changed_so_streams_do_not_mix():
    net = Counting({"clip_seconds": 1.0})
    live = Live.open(net, every=0.0)
    times = np.arange(12) / 10
    _, dark = run(live, [frame(10)] * 12, times)
    _, light = run(live, [frame(90)] * 12, times)
    kept = dark.kept
    for state, value in ((dark, 10), (light, 90), (dark, 10)):
        live.push(frame(value), 1.2, state)
        assert shown(net) == [value] * 4
    assert dark.kept is kept


def test_frames_may_change_their_size_and_orientation_on_the_way():
    net = Counting({"clip_seconds": 1.0})
    live = Live.open(net, every=0.0)
    sizes = [(24, 32), (32, 24), (9, 7), (480, 640), (16, 16)] * 4
    images = [frame(77, *size) for size in sizes]
    found, state = run(live, images, np.arange(20) / 10)
    assert found
    assert shown(net) == [77] * 4
    assert {old.shape for _, old in state.kept} == {(3, 16, 16)}


def test_turned_and_protected_memory_is_taken():
    live = Live.open(Counting({"clip_seconds": 1.0}))
    locked = frame(3)
    locked.flags.writeable = False
    for image in (locked, frame(3)[::-1, ::-1], torch.from_numpy(frame(3))):
        _, state = live.push(image, 0.0, live.start())
        assert (state.kept[0][1] == 3).all()


def test_the_state_does_not_see_later_writes_into_the_frame():
    live = Live.open(Counting({"clip_seconds": 1.0}))
    image = frame(5, 16, 16)  # no scaling, no cut
    _, state = live.push(image, 0.0, live.start())
    image[:] = 99
    assert (state.kept[0][1] == 5).all()


@pytest.mark.parametrize("jump", [-5.0, 30.0])
def test_a_jump_of_the_clock_starts_the_stream_anew(jump):
    net = Counting({"clip_seconds": 1.0})
    live = Live.open(net, every=0.0)
    _, state = run(live, [frame(10)] * 20, np.arange(20) / 10)
    found, state = run(live, [frame(90)] * 5, 2 + jump + np.arange(5) / 10, state)
    assert found == []  # of two halves, none
    assert {int(old.max()) for _, old in state.kept} == {90}
    assert state.frames == 25
    found, _ = run(live, [frame(90)] * 10, 2.5 + jump + np.arange(10) / 10, state)
    assert found


def test_a_short_pause_holds_the_last_frame():
    net = Counting({"clip_seconds": 1.0})
    live = Live.open(net, every=0.0)
    times = [*np.arange(10) / 10, 1.4]
    run(live, [frame(10)] * 10 + [frame(90)], times)
    assert shown(net)[:3] == [10] * 3


def test_a_gray_network_gets_the_luma():
    net = Counting({"clip_seconds": 1.0}, color="gray", mean=(0.0,), std=(1.0,))
    live = Live.open(net, every=0.0)
    green = np.zeros((24, 32, 3), np.uint8)
    green[..., 1] = 200
    run(live, [green] * 12, np.arange(12) / 10)
    assert shown(net) == [117.0] * 4  # 0.587 of 200


@pytest.mark.parametrize(
    ("image", "time", "words"),
    [
        (np.zeros((4, 4), np.uint8), 0.0, r"shape \(4, 4\).*wanted RGB bytes"),
        (np.zeros((4, 4, 4), np.uint8), 0.0, r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), 0.0, r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), 0.0, "float32; wanted RGB bytes"),
        (np.zeros((4, 4, 3), np.uint8), math.nan, "time is nan"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_frame_is_refused_in_words(image, time, words):
    live = Live.open(Counting({"clip_seconds": 1.0}))
    with pytest.raises(Pseudo3dError, match=words):
        live.push(image, time, live.start())


@pytest.mark.usefixtures("unchecked")
def test_networks_that_take_no_camera_are_refused():
    flow = Counting({}, color="flow", mean=(0.0,) * 2, std=(1.0,) * 2)
    with pytest.raises(Pseudo3dError, match="optical flow"):
        Live.open(flow)
    scans = Counting({})
    scans.card = replace(scans.card, preprocessing=SimpleNamespace(channels=1))
    with pytest.raises(Pseudo3dError, match="a network for scans"):
        Live.open(scans)
    with pytest.raises(TypeError, match=r"unknown mode: 'streams'\. Did you mean stream"):
        Live.open(Counting({}), mode="streams")
    with pytest.raises(Pseudo3dError, match="every is -1"):
        Live.open(Counting({}), every=-1.0)


def test_decisions_come_as_often_as_asked():
    live = Live.open(Counting({"clip_seconds": 1.0}), every=0.5)
    found, _ = run(live, [frame(1)] * 100, np.arange(100) / 20)
    gaps = np.diff([d.time for d in found])
    assert len(gaps) > 5
    assert np.allclose(gaps, 0.5)
    assert Live.open(Counting({"clip_seconds": 0.4})).every == pytest.approx(0.1)
    assert Live.open(Counting({"clip_seconds": 9.0})).every == 0.25


class Given(tuple):
    """The values a stream was given."""

    @property
    def frames(self):
        return len(self)


class Echo:
    """Stands for a `Stream`: its state is the list of all values it was given."""

    def __init__(self, period=1, delay=0):
        self.period, self.delay, self.decided = period, delay, 0

    def start(self):
        return Given()

    def step(self, frames, state):
        state = Given((*state, *frames[0, :, :, 0, 0].T.tolist()))
        return torch.tensor([[0.0, len(state)]]), state

    def decide(self, state):
        self.decided += 1
        return torch.tensor([[float(len(state)), 0.0]])


def echoing(pre, stream, every=0.0):
    values = {"frames": 4, "resize": 16, "size": (16, 16), "scale": 1.0}
    pre = Preprocessing(**values, mean=(0.0,) * 3, std=(1.0,) * 3, **pre)
    net = Counting({"clip_seconds": 1.0})
    return Live(Judge(run=net, pre=pre, classes=("no", "yes"), batch=1), stream, every)


@settings(deadline=None, max_examples=10)
@given(rate=st.sampled_from([1.5, 3.0, 4.0, 10.0, 30.0]), seconds=st.integers(2, 6))
def test_a_stream_takes_frames_at_the_pace_of_training(rate, seconds):
    live = echoing({}, Echo())
    times = np.arange(int(rate * seconds)) / rate
    _, state = run(live, [frame(int(20 * t)) for t in times], times)
    values = np.array(state.stream)[:, 0] / 20
    wanted = 0.25 * np.arange(len(values))  # four in a second of training
    assert abs(len(values) - times[-1] * 4 - 1) <= 1
    assert (np.abs(values - wanted) <= 1 / rate + 0.1).all()


def test_a_stream_gets_the_differences_of_the_frames_it_takes():
    live = echoing({"difference": True, "difference_std": 1.0}, Echo())
    _, state = run(live, [frame(v) for v in (10, 30, 60)], [0.0, 0.25, 0.5])
    assert [value[3] for value in state.stream] == [0.0, 20.0, 30.0]


def test_a_stream_decides_on_partial_pools_where_it_has_some():
    plain, pooled = Echo(), Echo(period=4)
    for stream in (plain, pooled):
        found, _ = run(echoing({}, stream), [frame(1)] * 6, np.arange(6) / 4)
        assert len(found) == 5  # not from the first of four frames alone
        assert found[-1].label == ("no" if stream is pooled else "yes")
    assert (plain.decided, pooled.decided) == (0, 5)


def causal(seconds=1.6, **how):
    torch.manual_seed(3)
    net = create_model(
        "p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=3, causal=True, **how
    ).eval()
    pre = Preprocessing(frames=16, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    net.card = Card(
        name=net.name,
        config={},
        classes=("a", "b", "c"),
        preprocessing=pre,
        training={"clip_seconds": seconds},
    )
    return net


def test_a_causal_network_is_streamed_and_sees_what_the_whole_clip_shows():
    net = causal()
    live = Live.open(net, every=0.0)
    assert live.mode == "stream"
    clip = torch.randint(0, 256, (3, 16, 16, 16), dtype=torch.uint8)
    found, state = run(live, clip.permute(1, 2, 3, 0).numpy(), np.arange(16) / 10)
    assert [d.frames for d in found] == list(range(8, 17))
    for decision in (found[2], found[-1]):
        seen = live.preprocessing.normalize(
            resize(clip, 18)[None, :, : decision.frames, 1:17, 1:17]
        )
        with torch.inference_mode():
            whole = net(seen)[0].softmax(0)
        got = torch.tensor([dict(decision.top)[name] for name in live.classes])
        assert_close(got, whole, atol=1e-5, rtol=1e-4)
    assert state.nbytes > 0
    assert Live.open(net, mode="window").mode == "window"


def test_two_streams_of_one_network_do_not_disturb_each_other():
    live = Live.open(causal(), every=0.0)
    clips = torch.randint(0, 256, (2, 16, 16, 16, 3), dtype=torch.uint8).numpy()
    times = np.arange(16) / 10
    alone = [run(live, clip, times)[0] for clip in clips]
    states, mixed = [live.start(), live.start()], [[], []]
    for t in range(16):
        for i in range(2):
            decision, states[i] = live.push(clips[i][t], float(times[t]), states[i])
            mixed[i] += [decision] if decision else []
    assert mixed == alone


def test_an_exported_network_cannot_be_streamed():
    net = Counting({"clip_seconds": 1.0})
    runner = SimpleNamespace(card=net.card, name="x", precision="fp32")
    with pytest.raises(Pseudo3dError, match="for mode='stream' give the checkpoint"):
        Live.open(runner, mode="stream")


def test_nothing_is_held_by_an_empty_state():
    assert LiveState().nbytes == 0


def test_the_pace_of_a_network_that_counts_frames_is_that_of_ordinary_video():
    pre = {"frames": 16, "resize": 16, "size": (16, 16), "mean": (0.0,) * 3, "std": (1.0,) * 3}
    pace = Pace.of(Preprocessing(sampling="dense", step=2, **pre), {"clip_seconds": 7.0})
    assert pace.period == pytest.approx(0.08)
    assert pace.seconds == pytest.approx(1.28)
