"""A folder has one writer; a second is refused by name, and no ending of the first leaves a bar."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pseudo3d import lock
from pseudo3d.errors import Pseudo3dError
from pseudo3d.lock import LOCK, sole, sweep

HOLD = """
import sys
from pathlib import Path
from pseudo3d.lock import sole
with sole(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder):
    """Another process that writes there until its input ends."""
    line = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            yield other
        finally:
            other.kill()


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path):
    with holder(tmp_path / "run") as other:
        with (
            pytest.raises(Pseudo3dError, match=rf"run is being written by process {other.pid}; "),
            sole(tmp_path / "run"),
        ):
            pytest.fail("two writers")
        other.stdin.close()
        assert other.wait() == 0
    assert not (tmp_path / "run").exists()  # made by the lock, and nothing was written
    with sole(tmp_path / "run"):
        pass


def test_a_killed_holder_leaves_nothing_to_clean_up(tmp_path):
    with holder(tmp_path) as other:
        drafts = [f".weights.bin.{other.pid}.part", f".new.{other.pid}.part.npz"]
        for name in (*drafts, ".mine.part", "b.part", ".weights.bin.x.part"):
            (tmp_path / name).write_bytes(b"half")
        deep = tmp_path / "label" / f".film.mp4.{other.pid}.part"
        deep.parent.mkdir()
        deep.write_bytes(b"half")
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (tmp_path / LOCK).exists()
    with sole(tmp_path):
        assert (tmp_path / LOCK).read_text().split()[0] == str(os.getpid())
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {LOCK, ".mine.part", "b.part", ".weights.bin.x.part", "label"}
        assert deep.exists()
        sweep(tmp_path, deep=True)
        assert not deep.exists()
    assert not (tmp_path / LOCK).exists()


def test_a_forked_child_does_not_keep_the_folder_of_its_killed_parent(tmp_path):
    # As a loader's process does, the child waits with all files of its parent open.
    forks = HOLD.replace("import sys", "import os, sys").replace(
        'print("held", flush=True)', r'os.write(1, b"held\n" if os.fork() else b"forked\n")'
    )
    line = [sys.executable, "-c", forks, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(line, **pipes, text=True) as parent:
        assert {parent.stdout.readline() for _ in range(2)} == {"held\n", "forked\n"}
        parent.kill()
        parent.wait()
        assert (tmp_path / LOCK).exists()
        with sole(tmp_path):
            pass
        parent.stdin.close()
        assert parent.stdout.read() == ""  # the child has ended, too


def test_calls_may_be_nested_but_not_shared_between_threads(tmp_path):
    def enter():
        with sole(tmp_path):
            return "in"

    with sole(tmp_path):
        assert enter() == "in"
        assert (tmp_path / LOCK).exists()  # the inner one takes nothing away
        with (
            ThreadPoolExecutor(1) as pool,
            pytest.raises(Pseudo3dError, match=f"process {os.getpid()};"),
        ):
            pool.submit(enter).result()
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_lets_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), sole(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(Pseudo3dError, match=r"file/run cannot be written to: Not a directory"),
        sole(tmp_path / "file" / "run"),
    ):
        pytest.fail("no folder")


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(lock._log, "warning", lambda text, *args: told.append(text % args))

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with sole(tmp_path):
        pass
    assert "has no locks" in told[0]


def test_on_a_full_disk_the_lock_holds_without_a_name(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with (
        sole(tmp_path),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(Pseudo3dError, match="just starting"),
    ):
        pool.submit(sole(tmp_path).__enter__).result()


def test_an_error_of_the_work_stays_what_it_is_in_nested_calls_too(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such video"), sole(tmp_path), sole(tmp_path):
        raise FileNotFoundError("no such video")
    assert list(tmp_path.iterdir()) == []
