"""One frame in shared memory: the newest one, whole, whatever the two sides do."""

import itertools
import threading
import time

import numpy as np
import pytest

from pseudo3d.watch.slot import Slot


def plain(light):
    return np.full((48, 64, 3), light, np.uint8)


@pytest.fixture
def slot():
    slot = Slot.create(64 * 48 * 3)
    yield slot
    slot.close()


def test_the_newest_frame_wins_and_is_a_copy(slot):
    assert slot.read() is None
    for light in (1, 2, 3, 4, 5):
        slot.write(plain(light), light / 10, light + 100.0)
    frame = slot.read()
    assert (frame.number, frame.time, frame.taken) == (5, 0.5, 105.0)
    assert (frame.image == 5).all()
    slot.write(plain(9), 1.0, 1.0)
    assert (frame.image == 5).all()


def test_frames_of_other_sizes_fit_in(slot):
    for shape in ((48, 64), (64, 48), (1, 1), (7, 9)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        slot.write(image, 0.0, 0.0)
        assert (slot.read().image == image).all()


def test_a_reader_never_gets_two_frames_mixed(slot):
    """The writer overtakes the reader all the time; every frame read is of one brightness."""
    done = threading.Event()

    def write():
        for i in itertools.count():
            if done.is_set():
                return
            slot.write(plain(i % 251), i, i)
            if i % 7 == 0:
                time.sleep(0)  # or the reader is overtaken every time

    other = Slot.attach(slot.name, slot.room)
    thread = threading.Thread(target=write)
    thread.start()
    numbers, end = [], time.monotonic() + 60
    while len(set(numbers)) < 5 and time.monotonic() < end:
        if (frame := other.read()) is not None:
            assert frame.image.min() == frame.image.max() == (frame.number - 1) % 251
            numbers.append(frame.number)
    done.set()
    thread.join()
    other.close()
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 5


def test_a_place_overwritten_under_the_readers_hands_is_read_again(slot, monkeypatch):
    for light in (1, 2):
        slot.write(plain(light), 0.0, 0.0)
    copied = []
    frombuffer = np.frombuffer

    def slow(*args):
        if not copied:  # while the reader copies, three newer frames come
            copied.append(True)
            for light in (3, 4, 5):
                slot.write(plain(light), 0.0, 0.0)
        return frombuffer(*args)

    monkeypatch.setattr(np, "frombuffer", slow)
    assert slot.read().number == 5


def test_flags_go_both_ways(slot):
    other = Slot.attach(slot.name, slot.room)
    assert (other.pending, other.stop) == (False, False)
    slot.stop, other.pending, other.beat = True, True, 12.5
    assert (other.stop, slot.pending, slot.beat) == (True, True, 12.5)
    other.close()
