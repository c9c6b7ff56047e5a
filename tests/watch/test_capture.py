"""Sources that stop, change their size, turn or send garbage: captured as far as they go."""

import threading
import time
from multiprocessing import Pipe

import numpy as np
import pytest
import torch

from pseudo3d.data.video import read_video
from pseudo3d.data.writer import write_video
from pseudo3d.watch import capture as captures
from pseudo3d.watch.capture import capture
from pseudo3d.watch.feed import Feed
from pseudo3d.watch.sources import Source, parse_source

GARBAGE = bytes(range(256)) * 40


def plain(light, height=48, width=64):
    return np.full((height, width, 3), light, np.uint8)


def part(data):
    """Something that claims to be a JPEG of a stream."""
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (
        len(data),
        data,
    )


class Log:
    """A source captured in a thread, what was said of it and the frames that were read."""

    def __init__(self, source):
        self.feed, self.said, self.frames = Feed(source, room=640 * 480 * 3), [], []
        self.feed.connection, theirs = Pipe(duplex=False)
        about = (self.feed.slot.name, self.feed.slot.room, source, theirs)
        self.thread = threading.Thread(target=capture, args=about, daemon=True)
        self.thread.start()

    def follow(self, done, seconds=20.0):
        end = time.monotonic() + seconds
        while not done(self):
            assert time.monotonic() < end, (self.said, len(self.frames))
            time.sleep(0.005)
            self.said += self.feed.messages()
            if (frame := self.feed.read()) is not None:
                self.frames.append(frame)
        return self

    def close(self):
        self.feed.slot.stop = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.feed.close()

    def states(self):
        return [message["state"] for message in self.said]

    @property
    def light(self):
        return float(self.frames[-1].image.mean()) if self.frames else -1


@pytest.fixture
def follow(monkeypatch):
    """Follows a source until something is true; ends it with the test."""
    monkeypatch.setattr(captures, "_FIRST", 0.1)
    logs = []

    def start(source):
        logs.append(Log(source if isinstance(source, Source) else parse_source(str(source))))
        return logs[-1]

    yield start
    for log in logs:
        log.close()


def film(path, lights, fps=25.0, size=(48, 64)):
    frames = torch.tensor(lights, dtype=torch.uint8).view(1, -1, 1, 1).expand(3, -1, *size)
    write_video(path, frames, fps=fps)
    return path


def test_a_file_is_shown_at_its_own_speed_and_ends(tmp_path, follow):
    log = follow(film(tmp_path / "a.mp4", range(0, 200, 10)))
    log.follow(lambda log: log.feed.ended)
    assert log.states() == ["connecting", "live", "ended"]
    assert time.monotonic() - log.frames[-1].taken >= 1 / 25  # the last one is shown, too
    times = np.array([frame.time for frame in log.frames])
    taken = np.array([frame.taken for frame in log.frames])
    assert times[0] < 0.2
    assert times[-1] == pytest.approx(19 / 25, abs=1e-3)
    assert (taken - taken[0] >= times - times[0] - 0.02).all()  # never early
    assert (np.diff([frame.number for frame in log.frames]) > 0).all()


def test_a_file_may_loop_and_its_clock_runs_on(tmp_path, follow):
    path = film(tmp_path / "a.mp4", [10, 100, 200])
    log = follow(Source(name="a", url=str(path), kind="file", loop=True))
    log.follow(lambda log: log.frames and log.frames[-1].time > 0.5)
    assert (np.diff([frame.time for frame in log.frames]) > 0).all()
    assert log.states() == ["connecting", "live"]


def test_a_stream_that_ends_is_sought_again_until_it_is_back(serve, follow):
    log = follow(serve(lambda: ((i / 25, plain(90)) for i in range(8))).url)
    log.follow(lambda log: log.states().count("live") == 3)
    lost = [message for message in log.said if message["state"] == "lost"]
    assert [message["retry"] for message in lost[:2]] == [0.1, 0.2]  # later each time
    assert lost[0]["why"] in ("the source ended the stream", "the connection broke")


def test_a_camera_that_is_not_there_is_said_and_sought_again(follow):
    log = follow("http://127.0.0.1:9/none.mjpg")
    log.follow(lambda log: log.states().count("lost") == 2)
    assert "refused" in log.said[1]["why"]
    assert not log.feed.ended


@pytest.mark.parametrize("transport", [False, True])
def test_garbage_in_the_middle_is_survived(serve, follow, transport):
    def shots():
        for i in range(10_000):
            broken = GARBAGE if transport else part(b"\xff\xd8\xff\xe0" + GARBAGE)
            yield i / 25, broken if 10 <= i < 15 else plain(20 if i < 10 else 180)

    camera = serve(shots)
    log = follow(camera.transport_url if transport else camera.url)
    log.follow(lambda log: abs(log.light - 180) < 4)
    if not transport:
        (damage,) = [message for message in log.said if message["state"] == "damaged"]
        assert damage["packets"] >= 1
        assert damage["why"]


def test_a_stream_may_change_its_size_and_turn(serve, follow):
    shapes = [(48, 64)] * 8 + [(64, 48)] * 8 + [(120, 160)] * 8000
    camera = serve(lambda: ((i / 25, plain(99, *shape)) for i, shape in enumerate(shapes)))
    log = follow(camera.url)
    log.follow(lambda log: log.states().count("live") == 3)
    log.follow(lambda log: log.frames[-1].image.shape[:2] == (120, 160))
    sizes = [(m["height"], m["width"]) for m in log.said if m["state"] == "live"]
    assert sizes == [(48, 64), (64, 48), (120, 160)]


def test_frames_too_large_for_the_memory_are_made_smaller(serve, follow):
    camera = serve(lambda: ((i / 5, plain(99, 1200, 900)) for i in range(1000)))
    log = follow(camera.url)
    log.follow(lambda log: log.frames)
    height, width = log.frames[0].image.shape[:2]
    assert height * width * 3 <= log.feed.slot.room
    assert width / height == pytest.approx(0.75, abs=0.01)


def test_a_turned_file_is_shown_upright(shared_data, follow):
    path = shared_data / "videos" / "odd" / "tc_nasa_13013_rotated.mp4"
    whole = read_video(path)
    log = follow(path)
    log.follow(lambda log: log.frames)
    assert log.frames[0].image.shape[:2] == whole.frames.shape[2:]


def test_a_file_that_is_cut_short_ends_where_it_is_cut(shared_data, follow):
    log = follow(shared_data / "videos" / "odd" / "trunc40_ApplyEyeMakeup.avi")
    log.follow(lambda log: log.feed.ended)
    assert log.states()[:2] == ["connecting", "live"]
    assert log.states().count("live") == 1  # not again and again
    assert 55 <= log.feed.slot.newest <= 61


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "make no sense"), (b"text, no video\n" * 99, "make no sense")]
)
def test_a_file_that_is_no_video_ends_with_the_reason(tmp_path, follow, content, why):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    log = follow(path)
    log.follow(lambda log: log.feed.ended)
    assert why in log.said[-1]["why"]
