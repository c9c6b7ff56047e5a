"""From a camera on the loopback to events, clips and recordings."""

import sys
import threading
import time
import types

import pytest

from pseudo3d.data.video import read_video
from pseudo3d.errors import Pseudo3dError
from pseudo3d.watch.camera import film
from pseudo3d.watch.events import Rule
from pseudo3d.watch.meter import Histogram
from pseudo3d.watch.overlay import Caption
from pseudo3d.watch.recorder import Keeping
from pseudo3d.watch.screen import Screen
from pseudo3d.watch.slot import Frame
from pseudo3d.watch.sources import parse_sources
from pseudo3d.watch.watcher import Plan, Watcher

RULES = (Rule(label="light", on=0.8, off=0.5, release=0.1),)


class Hearing:
    """Reports and notes; stops the watch when enough was heard."""

    def __init__(self, enough):
        self.enough, self.reports, self.notes = enough, [], []
        self.watcher, self.frames = None, []

    def tell(self, report):
        self.reports.append(report)
        if self.enough(self) and self.watcher is not None:
            self.watcher.stop.set()

    def __call__(self, source, frame, caption, decision):
        self.frames.append((source.name, frame.number, caption, decision))

    def of(self, event, source=None):
        return [
            report
            for report in self.reports
            if report["event"] == event and source in (None, report["source"])
        ]


def watch(live, hearing, sources, keeping=None, seconds=30.0, decisions=False, rules=RULES):
    plan = Plan(rules=rules, keeping=keeping or Keeping(), decisions=decisions)
    hearing.watcher = Watcher(live, plan, hearing.tell, hearing.notes.append, [hearing])
    meters = hearing.watcher.run(parse_sources(sources), seconds)
    assert all(seat.feed._process is None for seat in hearing.watcher.seats)
    return meters


def test_an_event_is_raised_told_and_its_clip_saved(live, serve, scenes, tmp_path):
    camera = serve(scenes((40, 1.2), (200, 1.2), (40, 60)))
    keeping = Keeping(clips=tmp_path / "clips", before=0.5, after=0.3, recording=tmp_path / "all")
    hearing = Hearing(lambda heard: heard.of("clip"))
    (meter,) = watch(live, hearing, [f"door={camera.url}"], keeping)
    (start,), (end,), (clip,) = (hearing.of(kind) for kind in ("start", "end", "clip"))
    assert [r["event"] for r in hearing.reports] == ["live", "start", "end", "clip"]
    assert (start["source"], start["label"]) == ("door", "light")
    assert start["at"] == pytest.approx(1.5, abs=0.45)
    assert end["seconds"] == pytest.approx(1.2, abs=0.5)
    assert end["score"] > 0.95
    assert end["began"] == start["time"]
    video = read_video(clip["path"])
    lights = video.frames.float().mean((0, 2, 3))
    assert lights[0] < 60  # from before it began
    assert lights.max() > 180
    assert lights[-1] < 60
    (recording,) = (tmp_path / "all").glob("door_*.mp4")
    assert read_video(recording).problem is None
    assert meter.seen == len(hearing.frames)
    assert meter.decisions > 10
    assert meter.to_dict()["latency_p50_ms"] > 0
    assert {caption.label for _, _, caption, _ in hearing.frames if caption} == {"dark", "light"}
    assert any(caption.alarm for _, _, caption, _ in hearing.frames if caption)


@pytest.mark.usefixtures("in_threads")
def test_the_clip_of_an_event_that_is_held_back_shows_its_beginning(live, serve, scenes, tmp_path):
    camera = serve(scenes((40, 1.2), (200, 4.0), (40, 60)))
    hearing = Hearing(lambda heard: heard.of("clip"))
    keeping = Keeping(clips=tmp_path, before=0.5, after=0.3)
    rules = (Rule(label="light", on=0.8, off=0.5, release=0.1, hold=2.0),)
    watch(live, hearing, [f"door={camera.url}"], keeping, rules=rules)
    (clip,) = hearing.of("clip")
    lights = read_video(clip["path"]).frames.float().mean((0, 2, 3))
    assert lights[0] < 60


@pytest.mark.usefixtures("in_threads")
def test_several_sources_are_watched_at_once_and_kept_apart(live, serve, scenes):
    sources = [f"a={serve(scenes((200, 60))).url}", f"b={serve(scenes((40, 60))).transport_url}"]
    hearing = Hearing(lambda heard: len({r["source"] for r in heard.of("decision")}) == 2)
    watch(live, hearing, sources, decisions=True)
    assert {r["label"] for r in hearing.of("decision", "a")} == {"light"}
    assert {r["label"] for r in hearing.of("decision", "b")} == {"dark"}
    (event,) = hearing.of("start")
    assert event["source"] == "a"
    (end,) = hearing.of("end")  # the watch was stopped while it went on
    assert end["why"] == "the watch ended"
    first = hearing.of("decision")[0]
    assert first["latency_ms"] >= 0
    assert sum(prob for _, prob in first["top"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.usefixtures("in_threads")
def test_an_event_ends_when_its_source_is_lost_and_the_others_go_on(live, serve, scenes):
    sources = [f"a={serve(scenes((200, 1.5))).url}", f"b={serve(scenes((40, 60))).url}"]
    hearing = Hearing(lambda heard: len(heard.of("start", "a")) == 2)
    meters = watch(live, hearing, sources)
    ends = hearing.of("end", "a")
    assert ends[0]["why"] == "the source was lost"
    assert hearing.of("lost", "a")[0]["retry"] == 0.5
    assert len(hearing.of("live", "a")) == 2  # it came back
    assert meters[0].lost >= 1
    assert (meters[1].lost, hearing.of("lost", "b")) == (0, [])
    assert any(note.startswith("a: lost: ") for note in hearing.notes)


@pytest.mark.usefixtures("in_threads")
def test_files_are_watched_to_their_ends(live, serve, scenes, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    hearing = Hearing(lambda heard: False)
    began = time.monotonic()
    watch(live, hearing, [str(bad)])
    assert time.monotonic() - began < 15
    assert "make no sense" in hearing.of("ended")[0]["why"]
    assert "bad: ended: its data make no sense (not a video, or damaged)" in hearing.notes


@pytest.mark.usefixtures("in_threads")
def test_a_frame_the_network_refuses_does_not_end_the_watch(live, serve, scenes, monkeypatch):
    push, calls = live.push, []

    def rude(image, at, state):
        calls.append(at)
        if len(calls) == 3:
            raise Pseudo3dError("a bad frame")
        return push(image, at, state)

    monkeypatch.setattr(live, "push", rude)
    hearing = Hearing(lambda heard: heard.of("start"))
    watch(live, hearing, [serve(scenes((200, 60))).url])
    assert any("a bad frame" in note for note in hearing.notes)


def test_a_camera_serves_a_file_again_and_again(live, serve, tmp_path, scenes):
    from pseudo3d.data.writer import VideoWriter

    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        import torch

        writer.write(torch.full((3, 10, 32, 32), 200, dtype=torch.uint8))
    played = film(tmp_path / "a.mp4")()
    times = [next(played)[0] for _ in range(25)]
    assert times == pytest.approx([i / 25 for i in range(25)])
    assert len(list(film(tmp_path / "a.mp4", loop=False)())) == 10


def test_percentiles_are_right_to_a_few_percent():
    found = Histogram()
    assert found.percentile(0.5) != found.percentile(0.5)  # nan: nothing yet
    for i in range(1, 1001):
        found.add(i / 1000)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert found.percentile(share) == pytest.approx(share, rel=0.04)
    found.add(1e9)
    found.add(0.0)
    assert len(found.counts) == 256


def test_a_window_needs_a_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(Pseudo3dError, match=r"there is no display.*--record"):
        Screen()


def test_a_window_shows_what_is_seen_until_it_is_closed(monkeypatch):
    shown, root = [], {}

    class Widget:
        def __init__(self, *about, **more):
            root.setdefault("root", self)

        def protocol(self, name, do):
            root["close"] = do

        def configure(self, image):
            shown.append(image)

        def __getattr__(self, name):
            return lambda *about, **more: None

    tk = types.SimpleNamespace(Tk=Widget, Label=Widget, TclError=RuntimeError)
    monkeypatch.setitem(sys.modules, "tkinter", tk)
    from PIL import ImageTk

    monkeypatch.setattr(ImageTk, "PhotoImage", lambda image, master: image.size)
    monkeypatch.setenv("DISPLAY", ":99")
    screen = Screen()
    (source,) = parse_sources(["http://h/x"])
    import numpy as np

    frame = Frame(image=np.zeros((240, 320, 3), np.uint8), number=1, time=0.0, taken=0.0)
    caption = Caption(label="a", share=0.5, color="#000000")
    screen(source, frame, caption, None)
    screen(source, frame, caption, None)  # too soon after the other
    assert len(shown) == 1
    assert shown[0][0] == 320
    root["close"]()
    assert screen.stop.is_set()
    screen(source, frame, caption, None)
    assert len(shown) == 1


@pytest.mark.usefixtures("in_threads")
def test_stopping_from_another_thread_ends_the_watch_soon(live, serve, scenes):
    hearing = Hearing(lambda heard: False)
    camera = serve(scenes((40, 60)))
    plan = Plan(rules=RULES)
    watcher = Watcher(live, plan, hearing.tell, hearing.notes.append)
    threading.Timer(1.0, watcher.stop.set).start()
    began = time.monotonic()
    watcher.run(parse_sources([camera.url]), 30)
    assert time.monotonic() - began < 10
