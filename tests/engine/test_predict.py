"""A video in, what happens when out, in memory that does not grow with the video."""

import csv
import threading
from copy import deepcopy
from dataclasses import replace
from io import StringIO

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.data import pick
from pseudo3d.data.cache import Frames, FrameStore
from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.video import write_video
from pseudo3d.engine.evaluate import Protocol, evaluate
from pseudo3d.engine.predict import Prediction, predict, predict_many
from pseudo3d.engine.windows import Cutter, Piece, Windows
from pseudo3d.errors import Pseudo3dError, VideoError, WeightsError
from pseudo3d.weights import load

DAY = {"night": 40.0, "day": 200.0}
SECOND = {"clip_seconds": 1.0, "longest_seconds": 1.0}
PRE = Preprocessing(frames=4, resize=16, size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)


def lit(*lights, each=40, size=(16, 16)):
    """Frames (3, T, H, W) of one brightness after another."""
    frames = torch.tensor(lights, dtype=torch.uint8).repeat_interleave(each)
    return frames.view(1, -1, 1, 1).expand(3, -1, *size)


@pytest.fixture(scope="module")
def dawn(tmp_path_factory):
    """4 s of night and 4 s of day at 10 Hz, the file in another shape than the network's crop."""
    path = tmp_path_factory.mktemp("dawn") / "dawn.mp4"
    write_video(path, lit(40, 200, size=(32, 48)), fps=10)
    return path


def switches(found):
    """Middle of the windows between which the label changes, s."""
    winners = found.window_probs.argmax(1)
    change = np.flatnonzero(np.diff(winners))
    return [(found.times[i] + found.times[i + 1]) / 2 for i in change]


@pytest.mark.parametrize("how", [{}, {"frames": 4}, {"sampling": "dense", "frames": 10}])
def test_the_timeline_switches_when_the_video_does(dawn, meter, how):
    found = predict(meter(DAY, training=SECOND, **how), dawn)
    assert switches(found) == [pytest.approx(4.0, abs=0.26)]
    assert found.window_probs[0] == pytest.approx([1, 0], abs=0.01)
    assert found.window_probs[-1] == pytest.approx([0, 1], abs=0.01)
    assert np.allclose(found.window_probs.sum(1), 1, atol=1e-5)
    assert found.problem is None
    assert found.source == str(dawn)


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_windows_have_the_seconds_of_training_and_a_quarter_between(dawn, meter, sampling):
    how = {"sampling": sampling, "frames": 10}
    found = predict(meter(DAY, training=SECOND, **how), dawn)
    assert np.allclose(found.ends - found.starts, 1.0)  # 10 frames at 10 Hz are one second, too
    assert np.allclose(np.diff(found.starts), 0.25)
    assert found.starts[0] == 0
    assert found.ends[-1] == pytest.approx(8.0, abs=0.26)


def test_dense_windows_follow_the_clock_where_the_network_does(dawn, meter):
    found = predict(meter(DAY, sampling="dense", frames=10, fps=20.0), dawn)
    assert np.allclose(found.ends - found.starts, 0.5)


@settings(deadline=None, max_examples=40)
@given(
    total=st.integers(1, 80),
    rate=st.sampled_from([2.0, 10.0, 29.97]),
    chunk=st.integers(1, 40),
    seconds=st.one_of(st.none(), st.floats(0.3, 4)),
    hop=st.one_of(st.none(), st.floats(0.1, 9)),
    longest=st.floats(0.0, 2),
)
def test_cutting_covers_the_video_and_keeps_little(total, rate, chunk, seconds, hop, longest):
    times = torch.arange(total, dtype=torch.float64) / rate
    pixels = np.arange(total, dtype=np.uint8)[None, :, None, None].repeat(16, 2).repeat(16, 3)
    cutter = Cutter(Windows(seconds=seconds, hop=hop), (longest, longest), PRE, 25.0)
    most, after = [], Cutter._window

    def spy(kept, *rest):
        most.append(kept.pixels.shape[1])
        return after(cutter, kept, *rest)

    cutter._window = spy
    pieces = (
        Piece(Frames(pixels=pixels[:, i : i + chunk], times=times[i : i + chunk]), None)
        for i in range(0, total, chunk)
    )
    windows = list(cutter.cut(pieces))
    needed = max(cutter.seconds, cutter.whole, cutter.hop)
    assert max(most) <= needed * rate + chunk + 2
    end = total / rate if total > 1 else 0.04
    spans = [window.span for window in windows]
    assert spans[0][0] == 0
    assert all(a < b <= end + 1 / rate + 1e-6 for a, b in spans)
    starts = np.array([a for a, _ in spans])
    assert np.allclose(np.diff(starts), cutter.hop)
    assert end - spans[-1][1] <= max(0.5 * cutter.hop, 1.5 * cutter.hop - cutter.seconds) + 1e-6
    for window, (a, b) in zip(windows, spans, strict=True):
        held = torch.stack(window.clips)[:, 0, :, 0, 0] / rate
        assert held.shape[1] == 4
        assert (held >= a - 1 / rate - 1e-4).all()
        assert (held < b + 1e-4).all()


def test_a_whole_short_video_gets_the_answer_of_evaluate(trained, films):
    net = load(trained / "weights.safetensors")
    item = films.items[5]
    scores = evaluate(net, Manifest((item,), films.classes), FrameStore(resize=18), Protocol())
    found = predict(net, item.path)
    assert found.window_probs.shape == (1, 3)
    assert found.probs == pytest.approx(scores.probs[0].numpy(), abs=1e-5)
    assert (found.starts[0], found.ends[0]) == (0, pytest.approx(1.0, abs=0.11))
    by_path = predict(trained / "weights.safetensors", str(item.path))
    assert np.array_equal(by_path.window_probs, found.window_probs)


def test_a_tensor_is_a_video_too(dawn, meter):
    net = meter(DAY, training=SECOND)
    found = predict(net, lit(40, 200), fps=10)
    assert found.source == "frames"
    assert switches(found) == [pytest.approx(4.0, abs=0.26)]
    assert found.window_probs == pytest.approx(predict(net, dawn).window_probs, abs=0.02)
    gray = meter(DAY, training=SECOND, color="gray", mean=(0.0,), std=(1.0,))
    assert predict(gray, lit(40, 200), fps=10).window_probs == pytest.approx(
        found.window_probs, abs=1e-4
    )
    assert predict(gray, dawn).window_probs == pytest.approx(found.window_probs, abs=0.05)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(4, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(3, 4, 16, 16),
        torch.zeros(1, 3, 4, 16, 16, dtype=torch.uint8),
        torch.zeros(3, 0, 16, 16, dtype=torch.uint8),
    ],
)
def test_a_tensor_that_is_no_video_is_refused(meter, frames):
    with pytest.raises(Pseudo3dError, match=r"\(3, T, H, W\), torch.uint8"):
        predict(meter(DAY), frames)


@pytest.mark.parametrize("how", [{}, {"sampling": "dense", "frames": 16, "fps": 5.0}])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_video_shorter_than_a_clip_is_one_window(tmp_path, meter, count, how):
    write_video(tmp_path / "short.mp4", lit(200, each=count), fps=10)
    found = predict(meter(DAY, training=SECOND, **how), tmp_path / "short.mp4")
    assert found.label == "day"
    assert found.window_probs.shape == (1, 2)
    assert found.starts[0] == 0 < found.ends[0] <= count / 10


def test_a_network_trained_on_single_frames_ends(meter):
    net = meter(DAY, training={"clip_seconds": 0.0, "longest_seconds": 0.0})
    found = predict(net, lit(40, 200, each=10), fps=10)
    assert len(found.times) < 100
    assert found.window_probs[-1] == pytest.approx([0, 1], abs=0.01)


def test_a_damaged_video_gives_its_beginning_and_the_problem(tmp_path, meter):
    path = tmp_path / "cut.avi"
    noise = np.random.default_rng(0).integers(0, 60, (60, 32, 32, 3)).astype(np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        for image in noise:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    found = predict(meter(DAY, training=SECOND), path)
    assert found.problem
    assert found.to_dict()["problem"] == found.problem
    assert 2 < found.ends[-1] < 4.5
    assert found.label == "night"
    path.write_bytes(whole[:100])
    with pytest.raises(VideoError, match=r"cut\.avi"):
        predict(meter(DAY), path)


@pytest.mark.parametrize("name", ["seconds", "hop", "views"])
def test_windows_refuse_what_is_not_positive(name):
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            Windows(**{name: value})


def test_windows_are_cut_as_asked(dawn, meter):
    net = meter(DAY, training=SECOND)
    found = predict(net, dawn, windows=Windows(seconds=2.0, hop=1.0, views=3))
    assert found.starts.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert np.allclose(found.ends - found.starts, 2.0, atol=0.11)
    assert found.window_probs[3, 1] == pytest.approx(0.5, abs=0.17)  # half night, half day
    assert sum(net.batches) == 7 * 3
    whole = predict(net, dawn, windows=Windows(seconds=100))
    assert len(whole.starts) == 1
    assert sum(net.batches) == 7 * 3 + 5


def test_reports_agree_with_each_other(dawn, meter):
    found = predict(meter({**DAY, "dusk": 90.0}, training=SECOND), dawn)
    plain = found.to_dict(2)
    table = list(csv.DictReader(StringIO(found.to_csv())))
    assert len(plain["timeline"]) == len(table) == len(found.times)
    for window, row, probs in zip(plain["timeline"], table, found.window_probs, strict=True):
        assert row["source"] == plain["source"] == str(dawn)
        assert float(row["start"]) == window["start"]
        assert float(row["end"]) == window["end"]
        assert row["label"] == window["label"] == found.classes[probs.argmax()]
        assert float(row[window["label"]]) == pytest.approx(window["prob"], abs=1e-6)
        assert [float(row[name]) for name in found.classes] == pytest.approx(probs, abs=1e-6)
    assert found.probs == pytest.approx(found.window_probs.mean(0))
    assert plain["label"] == found.label == plain["top"][0]["label"]
    assert plain["top"] == [{"label": n, "prob": round(p, 6)} for n, p in found.top(2)]
    assert [p for _, p in found.top()] == sorted(found.probs, reverse=True)


def test_a_network_without_a_card_and_a_missing_file_are_told(fresh, meter, tmp_path):
    with pytest.raises(WeightsError, match="classes"):
        predict(fresh(), lit(40))
    with pytest.raises((VideoError, FileNotFoundError), match=r"none\.mp4"):
        predict(meter(DAY), tmp_path / "none.mp4")


@pytest.mark.parametrize("outputs", [1, 4, 5])
def test_outputs_and_class_names_must_be_as_many(trained, outputs):
    """Four outputs for two names were averaged in pairs."""
    net = load(trained / "weights.safetensors")
    net.head = torch.nn.Linear(net.head.in_features, outputs)
    with pytest.raises(WeightsError, match=f"gives {outputs} numbers for 3 classes"):
        predict(net, lit(40))


def test_a_changed_network_gives_its_new_answers(trained):
    """Also where sums and counts of writes stay the same: other order, other layers, other card."""
    net, clip = load(trained / "weights.safetensors"), lit(40, 90, 200, each=10)

    def turned(net):
        for p in net.head.parameters():
            p.data.copy_(p.data[[1, 2, 0]].clone())

    def replaced(net):
        net.head.weight = torch.nn.Parameter(net.head.weight.detach()[[1, 2, 0]])
        net.head.bias = torch.nn.Parameter(net.head.bias.detach()[[1, 2, 0]])

    def widened(net):
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.eps = 0.5

    def hurried(net):
        net.card = replace(net.card, training=SECOND)

    before = predict(net, clip)
    for change in (turned, replaced, widened, hurried):
        change(net)
        now, want = predict(net, clip), predict(deepcopy(net), clip)
        assert now.window_probs.shape == want.window_probs.shape
        assert now.window_probs == pytest.approx(want.window_probs, abs=1e-6)
        assert (now.window_probs.shape, now.window_probs.tolist()) != (
            before.window_probs.shape,
            before.window_probs.tolist(),
        )
        before = now


def test_a_network_for_scans_is_told_from_one_for_videos(meter, tmp_path):
    net = meter(DAY)
    net.card = replace(net.card, preprocessing=ScanPreprocessing(size=(8, 8, 8)))
    with pytest.raises(WeightsError, match="is a network for scans"):
        predict(net, lit(40))


@pytest.mark.parametrize("fps", [0.0, -25.0, float("nan"), float("inf")])
def test_frames_at_no_rate_are_refused(meter, fps):
    """OpenCV says 0 for many cameras; windows then never ended."""
    with pytest.raises(Pseudo3dError, match="wanted frames per second above 0"):
        predict(meter(DAY), lit(40), fps=fps)


def test_numbers_that_make_no_windows_are_refused(meter):
    with pytest.raises(ValueError, match="batch is 0; wanted at least 1"):
        predict_many(meter(DAY), [lit(40)], batch=0)
    with pytest.raises(ValueError, match="seconds is nan"):
        Windows(seconds=float("nan"))


def test_what_is_no_video_does_not_stop_the_others(meter):
    odd = np.zeros((3, 10, 16, 16), np.uint8)
    (_, first), (_, second), (_, third) = predict_many(meter(DAY), [lit(40), odd, lit(200)])
    assert (first.label, third.label) == ("night", "day")
    assert isinstance(second, Pseudo3dError)
    assert "a ndarray is no video" in str(second)


def test_the_callers_mixed_precision_has_no_say(trained):
    net, clip = load(trained / "weights.safetensors"), lit(40, 200, each=10)
    want = predict(net, clip)
    with torch.autocast("cpu", torch.bfloat16):
        assert predict(deepcopy(net), clip).probs == pytest.approx(want.probs, abs=1e-6)


def test_items_with_a_span_are_cut_to_it(dawn, meter):
    spans = [(0.0, 3.5, "night"), (4.5, 8.0, "day"), (None, 3.5, "night"), (4.5, None, "day")]
    items = [Item(path=dawn, label=name, start=a, end=b) for a, b, name in spans]
    found = evaluate(meter(DAY), Manifest(tuple(items), tuple(DAY)))
    assert found.hit(1) == found.clip_hit1 == 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos of different length and frame rate, with one between them that is broken."""
    home, files = tmp_path_factory.mktemp("folder"), []
    for i, (count, fps) in enumerate([(3, 10), (25, 25), (90, 30), (40, 10), (1, 10), (33, 15)]):
        light = torch.linspace(30, 220, count).roll(i * count // 6).byte().view(1, count, 1, 1)
        files.append(home / f"{i}.mp4")
        write_video(files[-1], light.expand(3, -1, 16, 24), fps=fps)
    files.insert(2, home / "broken.mp4")
    files[2].write_bytes(b"no video")
    return files


@pytest.mark.parametrize("how", [{}, {"sampling": "dense", "frames": 8}, {"frames": 4}])
@pytest.mark.parametrize("batch", [1, 8, 100])
def test_many_videos_get_the_answers_of_each_alone(folder, meter, how, batch):
    net = meter(DAY, training=SECOND, **how)
    found = list(predict_many(net, iter([*folder, lit(40, 200)]), batch=batch))
    assert [source for source, _ in found[:-1]] == folder
    for source, result in found:
        if source == folder[2]:
            assert isinstance(result, VideoError)
            assert "broken.mp4" in str(result)
            continue
        alone = predict(net, source)
        assert result.source == alone.source
        assert np.array_equal(result.starts, alone.starts)
        assert np.array_equal(result.ends, alone.ends)
        assert result.window_probs == pytest.approx(alone.window_probs, abs=1e-5)


def test_many_videos_fill_the_batches_and_two_sizes_are_enough(folder, trained):
    net = load(trained / "weights.safetensors")
    sizes = []

    class Runner:
        name, precision, card = "runner", "fp32", net.card

        def __call__(self, clips):
            sizes.append(len(clips))
            return net(clips)

    found = dict(predict_many(Runner(), folder, batch=4))
    clips = sum(
        5 if len(f.starts) == 1 else len(f.starts) for f in found.values() if f != found[folder[2]]
    )
    assert sizes == [4] * (clips // 4) + [1] * (clips % 4)
    single = [predict(Runner(), file).probs for file in folder if file != folder[2]]
    many = [found[file].probs for file in folder if file != folder[2]]
    assert np.allclose(single, many, atol=1e-5)


def test_answers_come_as_soon_as_they_are_known_and_nothing_stays_behind(folder, meter):
    asked = []

    def sources():
        for file in [file for file in folder * 30 if file.name != "broken.mp4"]:
            asked.append(file)
            yield file

    answers = predict_many(meter(DAY, training=SECOND), sources())
    first, result = next(answers)
    assert first == folder[0]
    assert isinstance(result, Prediction)
    assert len(asked) < 20
    answers.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_an_error_of_the_network_is_no_error_of_a_file(folder, meter):
    net = meter(DAY, training=SECOND)

    def refuse(x):
        raise Pseudo3dError("no such clip")

    net.forward = refuse
    with pytest.raises(Pseudo3dError, match="no such clip"):
        list(predict_many(net, folder, batch=1))
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_a_short_video_is_decoded_where_its_clips_need_it(folder, meter, monkeypatch):
    longer = {"clip_seconds": 3.0, "longest_seconds": 3.0}
    net = meter(DAY, training=longer)  # one frame, five views
    taken, inner = [], pick.image_of
    monkeypatch.setattr(pick, "image_of", lambda *args: taken.append(1) or inner(*args))
    found = predict(net, folder[3])  # 90 frames
    assert len(taken) == 5
    monkeypatch.setattr("pseudo3d.engine.predict.index_file", lambda path: None)
    streamed = predict(net, folder[3])
    assert len(taken) == 5
    assert (found.starts, found.ends) == (streamed.starts, pytest.approx(streamed.ends))
    assert np.array_equal(found.window_probs, streamed.window_probs)
