"""Cameras over a WebSocket."""

import asyncio
import json
import os
import signal
import struct
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pseudo3d.engine.live import Live
from serve.serving import until

connect = pytest.importorskip("websockets.sync.client", reason="websockets is absent").connect


def picture(step, kind="JPEG", size=(44, 36)):
    """A bright bar that moves."""
    pixels = np.full((size[1], size[0], 3), 60, np.uint8)
    at = (3 * step) % (size[0] - 8)
    pixels[:, at : at + 8] = 230
    out = BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


def stamped(time_, data):
    return struct.pack("<d", time_) + data


@pytest.fixture
def camera(running):
    with ExitStack() as stack:

        def open_(*, hello='{"top": 2}', **options):
            url = f"ws://127.0.0.1:{running.port}/stream"
            plug = stack.enter_context(connect(url, open_timeout=60, **options))
            if hello is not None:
                plug.send(hello)
            return plug

        yield open_
    until(lambda: running.service.cameras.connected == 0)


def refusal(plug):
    """The error, and that the connection is closed after it."""
    while "error" not in (found := json.loads(plug.recv(timeout=60))):
        pass
    with pytest.raises(Exception, match=r"1008|1011"):
        plug.recv(timeout=60)
    return found["error"]


def warm(plug):
    """Wait until the network is open; a time before the last one starts the stream anew."""
    step, told = 0, None
    while told is None:
        plug.send(stamped(1000 + step / 10, picture(step)))
        step += 1
        try:
            told = plug.recv(timeout=0.1)
        except TimeoutError:
            continue


def settled(running):
    """Wait until no frame waits."""
    count = -1
    while count != (count := running.service.metrics.frames):
        time.sleep(0.3)


def test_decisions_are_those_of_live(camera, running, weights):
    plug, live = camera(hello='{"top": 4}'), Live.open(weights)
    warm(plug)
    settled(running)
    with suppress(TimeoutError):
        while plug.recv(timeout=0.1):
            pass
    state, expected, found = live.start(), [], []
    for step in range(40):
        data, seen = picture(step, "PNG"), running.service.metrics.frames
        image = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
        decision, state = live.push(image, step / 10, state)
        plug.send(stamped(step / 10, data))
        until(lambda seen=seen: running.service.metrics.frames > seen)
        if decision is not None:
            expected.append(decision)
            found.append(json.loads(plug.recv(timeout=60)))
    assert len(expected) > 3
    for told, decision in zip(found, expected, strict=True):
        assert set(told) == {"time", "label", "score", "top", "latency_ms", "dropped"}
        assert told["label"] == decision.label == told["top"][0]["label"]
        assert told["score"] == pytest.approx(decision.probability, abs=1e-4)
        assert told["time"] == pytest.approx(decision.time)
        assert len(told["top"]) == 4
        assert 0 < told["latency_ms"] < 60_000


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_frames_of_any_size_without_times_are_taken(camera, kind):
    plug = camera(hello=None)  # no first text where no token is wanted
    for step in range(30):
        plug.send(picture(step, kind, (44, 36) if step % 2 else (64, 80)))
        time.sleep(0.06)
    assert len(json.loads(plug.recv(timeout=60))["top"]) == 3


def test_the_newest_frame_wins(camera, running, monkeypatch):
    plug, look, metrics = camera(), running.service.cameras.picture, running.service.metrics
    warm(plug)
    settled(running)

    async def slow(data):
        await asyncio.sleep(0.1)
        return await look(data)

    monkeypatch.setattr(running.service.cameras, "picture", slow)
    frames, dropped = metrics.frames, metrics.dropped
    for step in range(200):
        plug.send(stamped(step / 100, picture(step)))
        time.sleep(0.01)
    until(lambda: metrics.frames - frames + metrics.dropped - dropped == 200)
    assert metrics.dropped - dropped >= 100
    last = {}
    with suppress(TimeoutError):
        while True:
            last = json.loads(plug.recv(timeout=0.5))
    assert 1.5 < last["time"] < 2
    assert last["dropped"] >= 90
    assert "p3d_stream_dropped_total" in running.client.get("/metrics").text


def test_interleaved_cameras_do_not_mix(camera):
    plugs = [camera(hello='{"top": 4}') for _ in range(2)]
    told = [[], []]
    for step in range(24):
        for i, plug in enumerate(plugs):
            plug.send(stamped(step / 10, picture(step if i else 0)))
        time.sleep(0.15)
    for i, plug in enumerate(plugs):
        end = -1.0
        while end < 2.0:
            told[i].append(json.loads(plug.recv(timeout=60)))
            end = told[i][-1]["time"]
    assert told[0][-1]["score"] != told[1][-1]["score"]


def test_garbage_ends_its_own_connection_only(camera):
    good, bad = camera(), camera()
    bad.send(b"no picture at all")
    error = refusal(bad)
    assert error["code"] == "unreadable"
    assert "JPEG" in error["message"]
    for step in range(24):
        good.send(stamped(step / 10, picture(step)))
        time.sleep(0.05)
    assert json.loads(good.recv(timeout=60))["label"] in ("up", "down", "left", "right")


def test_a_huge_picture_is_refused_by_its_header(camera):
    out = BytesIO()
    Image.new("1", (16384, 16384)).save(out, "PNG")
    plug = camera()
    plug.send(out.getvalue())
    assert refusal(plug)["code"] == "too_large"


@pytest.mark.parametrize(
    ("hello", "word"),
    [("[1]", "JSON object"), ("{", "JSON object"), ('{"top": 0}', "top"), ('{"top": "x"}', "top")],
)
def test_a_wrong_first_text_is_named(camera, hello, word):
    error = refusal(camera(hello=hello))
    assert (error["code"], word in error["message"]) == ("bad_request", True)


def test_a_time_that_is_none_is_refused(camera):
    plug = camera()
    plug.send(stamped(float("nan"), picture(0)))
    assert refusal(plug)["code"] == "bad_request"


def test_a_camera_that_sends_nothing_is_let_go(camera, running, monkeypatch):
    monkeypatch.setattr(running.service, "settings", replace(running.service.settings, idle=0.3))
    assert refusal(camera(hello=None))["code"] == "timeout"
    assert refusal(camera())["code"] == "timeout"


def test_more_cameras_than_allowed_are_told(camera, running, monkeypatch):
    monkeypatch.setattr(running.service, "settings", replace(running.service.settings, streams=1))
    first = camera()
    until(lambda: running.service.cameras.connected == 1)
    assert refusal(camera())["code"] == "busy"
    first.close()


def test_a_camera_that_disappears_is_forgotten(camera, running):
    plug = camera()
    plug.send(picture(0))
    until(lambda: running.service.cameras.connected == 1)
    plug.socket.close()
    until(lambda: running.service.cameras.connected == 0)


def test_a_killed_decoder_of_pictures_is_replaced(camera, running):
    plug = camera()
    plug.send(stamped(0.0, picture(0)))
    until(lambda: running.service.cameras._decoders is not None)
    slot = running.service.cameras._decoders._slots[0]
    child = until(lambda: slot.current.done() and slot.current.result())
    os.kill(child.process.pid, signal.SIGKILL)
    for step in range(1, 24):
        plug.send(stamped(step / 10, picture(step)))
        time.sleep(0.1)
    assert json.loads(plug.recv(timeout=60))["time"] > 0


def test_another_page_may_not_connect(camera):
    with pytest.raises(Exception, match="403"):
        camera(origin="http://evil.example")
    assert camera(origin=None) is not None
