"""A process that reads for us: its limits, its end, and what it may say."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pseudo3d.data.isolation.isolated import Isolated, Limits, environment
from pseudo3d.data.isolation.plain import plain, unplain
from pseudo3d.errors import Pseudo3dError, VideoError, WeightsError

TESTS = Path(__file__).resolve().parents[2]
LIMITS = Limits(seconds=1.0, memory_bytes=100 * 2**20)


@pytest.fixture(scope="module")
def reader():
    """One process for all tests; those that end it get the next one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setenv("MY_TOKEN", "secret")
        with Isolated(LIMITS) as found:
            yield found


def run(reader, name, **given):
    return reader.call(f"hostile.tasks:{name}", **given)


def test_values_go_there_and_back(reader):
    given = {"path": Path("a/b"), "n": 3, "x": [1.5, None, "é", (True, b"\0ab")], "of": {"k": []}}
    found = run(reader, "echo", frames=np.arange(6, dtype=np.int16).reshape(2, 3), **given)
    assert found.pop("frames").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found == given


@pytest.mark.parametrize("task", ["sleep", "spin"])
def test_what_takes_too_long_is_ended_and_the_next_call_works(reader, task):
    run(reader, "echo")
    before, number = reader.replaced, reader.pid
    with pytest.raises(VideoError, match=rf"hostile.tasks:{task}: .* more than 1 s"):
        run(reader, task, **({"seconds": 60} if task == "sleep" else {}))
    assert reader.replaced == before + 1
    assert run(reader, "echo", a=1) == {"a": 1}
    assert reader.pid != number
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_what_takes_too_much_memory_is_refused(reader):
    assert run(reader, "take", count=2**20) == 2**20
    number = reader.pid
    with pytest.raises(VideoError, match="100 MiB of memory"):
        run(reader, "take", count=2**28)
    assert run(reader, "take", count=2**20) == 2**20
    assert reader.pid != number


@pytest.mark.parametrize(
    ("task", "given", "word"),
    [
        ("die", {"number": int(signal.SIGSEGV)}, "SIGSEGV"),
        ("leave", {}, "ended in the middle"),
        ("garble", {}, "ended in the middle"),
    ],
)
def test_a_process_that_ends_or_lies_is_replaced(reader, task, given, word):
    with pytest.raises(VideoError, match=word):
        run(reader, task, **given)
    assert run(reader, "echo", a=2) == {"a": 2}


def test_errors_come_as_what_they_are(reader):
    run(reader, "echo")
    number = reader.pid
    with pytest.raises(WeightsError, match="this file is odd"):
        run(reader, "complain", kind="ours")
    with pytest.raises(FileNotFoundError, match="no such thing"):
        run(reader, "complain", kind="missing")
    with pytest.raises(VideoError, match="ZeroDivisionError: of all things"):
        run(reader, "complain", kind="other")
    with pytest.raises(VideoError, match=r"x.mp4.*no_such_task"):
        run(reader, "no_such_task", path=Path("x.mp4"))
    with pytest.raises(Pseudo3dError, match="type object"):
        run(reader, "unknown")
    with pytest.raises(Pseudo3dError, match="type set"):
        run(reader, "echo", a={1})
    assert reader.pid == number  # none of that costs a process


def test_values_come_one_by_one_and_only_their_making_counts(reader):
    found = []
    for value in reader.stream("hostile.tasks:count", upto=4, pause=0.01):
        time.sleep(0.3)  # more than the limit, all in all
        found.append(value.tolist())
    assert found == [[i] * 3 for i in range(4)]
    with pytest.raises(Pseudo3dError, match="use stream"):
        run(reader, "count", upto=3)
    with pytest.raises(Pseudo3dError, match="use call"):
        list(reader.stream("hostile.tasks:echo"))
    with pytest.raises(VideoError, match="1 s"):
        list(reader.stream("hostile.tasks:count", upto=100, pause=0.05))


def test_leaving_a_stream_early_leaves_nothing_behind(reader):
    values = reader.stream("hostile.tasks:count", upto=10**9)
    assert next(values).tolist() == [0] * 3
    number = reader.pid
    values.close()
    assert run(reader, "echo", a=3) == {"a": 3}
    assert reader.pid != number


def test_a_call_inside_a_loop_over_a_stream_is_refused_and_hangs_nothing(reader):
    values = reader.stream("hostile.tasks:count", upto=3)
    assert next(values).tolist() == [0] * 3
    with pytest.raises(Pseudo3dError, match="another Isolated"):
        run(reader, "echo")
    with pytest.raises(Pseudo3dError, match="another Isolated"):
        next(reader.stream("hostile.tasks:count", upto=3))
    assert [value.tolist() for value in values] == [[1] * 3, [2] * 3]  # the loop goes on
    assert run(reader, "echo", a=1) == {"a": 1}


def test_another_thread_waits_for_the_end_of_a_stream(reader):
    values = reader.stream("hostile.tasks:count", upto=2)
    next(values)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, reader, "echo", a=1)
        assert len(list(values)) == 1
        assert waiting.result(60) == {"a": 1}


def test_only_what_decoding_needs_of_the_environment_is_passed_on(monkeypatch):
    secret = {
        "SMTP_PASS": "x", "DATABASE_URL": "postgres://u:p@h/d", "HTTPS_PROXY": "http://u:p@proxy",
        "http_proxy": "http://u:p@proxy", "AWS_SECRET_ACCESS_KEY": "y", "P3D_TOKEN": "z",
        "PGPASSFILE": "f", "SSH_AUTH_SOCK": "s", "GOOGLE_APPLICATION_CREDENTIALS": "f",
    }  # fmt: skip
    needed = {
        "PATH": "/bin", "HOME": "/h", "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8", "TZ": "UTC",
        "LD_LIBRARY_PATH": "/lib", "PYTHONPATH": "/lib", "CUDA_VISIBLE_DEVICES": "1",
        "MKL_NUM_THREADS": "2",
    }  # fmt: skip
    for name, value in (secret | needed).items():
        monkeypatch.setenv(name, value)
    found = environment()
    assert not found.keys() & secret.keys()
    assert {name: found[name] for name in needed} == needed
    assert found["OMP_NUM_THREADS"] == "1"


def test_it_prints_aside_leaves_ctrl_c_to_us_and_knows_no_secrets(reader):
    assert run(reader, "chatter") is True
    assert run(reader, "secrets") == []


@given(
    arrays.arrays(
        st.sampled_from(["u1", "<i8", "<f4", "?", "<c8"]),
        arrays.array_shapes(min_dims=0, min_side=0),
    )
)
def test_arrays_come_back_as_they_were(array):
    back = unplain(*plain(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda of: (
        st.lists(of, max_size=3)
        | st.dictionaries(st.text(max_size=5), of, max_size=3)
        | st.tuples(of, of)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back_as_they_were(value):
    assert unplain(*plain(value)) == value


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda of: (
        st.lists(of, max_size=4)
        | st.dictionaries(
            st.sampled_from(["dict", "tuple", "path", "bytes", "array", "x"]), of, max_size=2
        )
        | st.tuples(st.sampled_from(["O", "V", "V8", "u1", "<f8", "a,b", "(9,9)u1"]), of).map(
            lambda pair: {"array": list(pair)}
        )
    ),
    max_leaves=8,
)  # fmt: skip


@given(JSON, st.binary(max_size=64))
def test_a_lying_answer_is_an_error_in_words(told, data):
    with suppress(Pseudo3dError):
        unplain(told, data)
