"""Parts arrive in order from threads that run ahead a little, and never outlive their use."""

import subprocess
import sys
import threading
import time

import pytest

from pseudo3d.engine.feed import in_threads


def alive():
    return [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_parts_come_in_order_whoever_is_faster():
    def split(source):
        for part in range(3):
            time.sleep(0.005 * (5 - source))  # later sources are faster
            yield 10 * source + part

    with in_threads(range(5), split, threads=3) as lanes:
        found = [(source, list(parts)) for source, parts in lanes]
    assert found == [(s, [10 * s, 10 * s + 1, 10 * s + 2]) for s in range(5)]
    assert alive() == []


def test_work_goes_on_in_other_threads_while_parts_are_used():
    here, seen = threading.get_ident(), set()

    def split(source):
        seen.add(threading.get_ident())
        yield source

    with in_threads(range(6), split, threads=2) as lanes:
        for _, parts in lanes:
            list(parts)
    assert here not in seen
    assert 1 <= len(seen) <= 2


def test_threads_do_not_run_far_ahead():
    asked, made = [], []

    def sources():
        for i in range(100):
            asked.append(i)
            yield i

    def split(source):
        for part in range(50):
            made.append(source)
            yield part

    with in_threads(sources(), split, threads=2, room=3) as lanes:
        _, parts = next(lanes)
        next(parts)
        time.sleep(0.3)
        assert len(asked) <= 3
        assert len(made) <= 2 * (3 + 1) + 1
    assert alive() == []


def test_an_error_is_raised_where_its_parts_are_taken_and_the_next_source_goes_on():
    def split(source):
        yield 1
        if source == "bad":
            raise OSError("no such frame")
        yield 2

    with in_threads(["a", "bad", "b"], split, threads=1) as lanes:
        found = {}
        for source, parts in lanes:
            try:
                found[source] = list(parts)
            except OSError as err:
                found[source] = str(err)
    assert found == {"a": [1, 2], "bad": "no such frame", "b": [1, 2]}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_end_in_the_middle_ends_the_threads(error):
    def split(source):
        while True:
            yield source

    def use():
        with in_threads(range(9), split, threads=2) as lanes:
            for _, parts in lanes:
                next(parts)
                raise error

    began = time.perf_counter()
    with pytest.raises(error):
        use()
    assert alive() == []
    assert time.perf_counter() - began < 2


def test_sources_that_are_not_taken_do_not_block_the_end():
    with in_threads(range(9), lambda source: iter(range(99)), threads=2, room=1) as lanes:
        next(lanes)
    assert alive() == []
    with in_threads([], iter) as lanes:
        assert list(lanes) == []


def test_a_program_that_fails_in_its_loop_ends():
    code = """
from itertools import count
from pseudo3d.engine.feed import in_threads

def answers():
    with in_threads(range(9), lambda source: count(), threads=2) as lanes:
        for _, parts in lanes:
            yield next(parts)

for answer in answers():
    raise ValueError("the user's own error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "the user's own error" in done.stderr
