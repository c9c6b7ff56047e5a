"""The process that captures is replaced when it dies or hangs, and never left behind."""

import os
import signal
import time

import numpy as np
import pytest

from pseudo3d.watch import feed as feeds
from pseudo3d.watch.feed import Feed
from pseudo3d.watch.sources import Source, parse_source


def plain(light, height=48, width=64):
    return np.full((height, width, 3), light, np.uint8)


class Log:
    """A feed, what it said and the frames that were read."""

    def __init__(self, source):
        self.feed, self.said, self.frames = Feed(source, room=640 * 480 * 3), [], []
        self.feed.start()

    def follow(self, done, seconds=20.0):
        end = time.monotonic() + seconds
        while not done(self):
            assert time.monotonic() < end, (self.said, len(self.frames))
            time.sleep(0.005)
            self.said += self.feed.messages()
            if (frame := self.feed.read()) is not None:
                self.frames.append(frame)
            if (message := self.feed.supervise()) is not None:
                self.said.append(message)
        return self

    def states(self):
        return [message["state"] for message in self.said]


@pytest.fixture
def follow():
    """Follows a source until something is true; ends it with the test."""
    logs = []

    def start(source):
        logs.append(Log(source if isinstance(source, Source) else parse_source(str(source))))
        return logs[-1]

    yield start
    for log in logs:
        log.feed.close()
        assert log.feed._process is None


def test_a_decoder_that_dies_is_replaced(serve, follow):
    camera = serve(lambda: ((i / 25, plain(90)) for i in range(10_000)))
    log = follow(camera.url)
    log.follow(lambda log: len(log.frames) > 3)
    os.kill(log.feed._process.pid, signal.SIGKILL)
    before = len(log.frames)
    log.follow(lambda log: len(log.frames) > before + 3)
    (lost,) = [message for message in log.said if message["state"] == "lost"]
    assert lost["why"] == "the decoder died (exit code -9)"
    numbers = [frame.number for frame in log.frames]
    assert numbers == sorted(numbers)


def test_a_decoder_that_hangs_is_replaced(serve, follow, monkeypatch):
    camera = serve(lambda: ((i / 25, plain(90)) for i in range(10_000)))
    log = follow(camera.url)
    log.follow(lambda log: len(log.frames) > 3)
    os.kill(log.feed._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(feeds, "_SILENT", 0.5)
    monkeypatch.setattr(feeds, "_GRACE", 0.2)
    log.follow(lambda log: "lost" in log.states())
    monkeypatch.setattr(feeds, "_SILENT", 25.0)
    before = len(log.frames)
    log.follow(lambda log: len(log.frames) > before + 3)
    assert log.said[-1]["state"] == "live" or "the decoder hangs" in str(log.said)


def test_nobody_is_left_behind_when_the_watcher_closes(serve, follow):
    camera = serve(lambda: ((i / 25, plain(90)) for i in range(10_000)))
    log = follow(camera.url)
    log.follow(lambda log: log.frames)
    pid = log.feed._process.pid
    log.feed.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    log.feed.close()  # twice does no harm
