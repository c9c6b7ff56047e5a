"""Read files of strangers in a process of their own, which is ended when it takes too much."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from threading import Lock, get_ident
from time import monotonic
from types import TracebackType
from typing import Any, NoReturn, Self

from pseudo3d import errors
from pseudo3d.data.isolation.plain import plain, unplain
from pseudo3d.data.isolation.wire import LENGTH, LONGEST, Message, facts_of, pack
from pseudo3d.data.limits import Limits
from pseudo3d.errors import Pseudo3dError, VideoError

__all__ = ["Isolated", "Limits", "environment"]

_START = 120.0  # s that a process may take to import its libraries on a busy machine
_SLACK = 2**20  # bytes of a message beyond the limit of memory
_LONG = 1e6  # s, the most that a poll can wait
_PIECE = 2**20  # bytes read at once
# What a process that decodes needs of the environment, by name and by beginning: where programs,
# libraries and temporary files are, words and times, and how many threads. Any other variable may
# hold a password, whatever it is called.
_NAMES = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP",
    "VIRTUAL_ENV", "CONDA_PREFIX", "SYSTEMROOT", "WINDIR", "USERPROFILE", "LOCALAPPDATA", "PATHEXT",
}  # fmt: skip
_BEGINNINGS = (
    "LC_", "LD_", "DYLD_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_",
    "GLIBC_", "CUDA_", "NVIDIA_", "TORCH_",
)  # fmt: skip
_OTHERS = {"FileNotFoundError": FileNotFoundError, "ImportError": ImportError, "OSError": OSError}


def environment() -> dict[str, str]:
    """What a process that reads strangers' files may know: no secrets; one thread."""
    kept = {k for k in os.environ if k.upper() in _NAMES or k.upper().startswith(_BEGINNINGS)}
    return {k: os.environ[k] for k in kept} | {"OMP_NUM_THREADS": "1"}


class _Ended(Exception):
    """The process has ended, or does not keep to the form of messages."""


class Isolated:
    """Runs tasks in one process under limits; a process that breaks one is ended and replaced.

    A task is a function by name, "module:function"; what goes in and comes out are numbers, texts,
    bytes, paths, arrays, and lists, tuples and dicts of them. The process starts with the first
    call and ends with `close`, or with this process.

    Args:
        calls: after so many the process is replaced, for libraries of video leak.

    Example:
        >>> with Isolated(Limits(seconds=20, memory_bytes=2**30)) as reader:
        ...     frames = reader.call("mine.tasks:frames", path=Path("clip.mp4"))
    """

    def __init__(self, limits: Limits, *, calls: int = 500) -> None:
        self.limits, self.calls = limits, calls
        self.replaced = 0  # processes that had to be ended
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = 0
        self._lock = Lock()
        self._user: int | None = None  # the thread that has the lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    @property
    def pid(self) -> int | None:
        """Number of the process, where one runs."""
        return None if self._process is None else self._process.pid

    def call(self, task: str, **given: Any) -> Any:
        """Run a task and give what it returns.

        Args:
            task: "module:function"; `given` are its arguments.

        Raises:
            VideoError: it breaks a limit, or the process ends in the middle.
            Pseudo3dError: what the task says is wrong, by the same class of error; a call inside a
                loop over `stream`.
        """
        with closing(self._run(task, given)) as answers:
            answer = next(answers)
        if answer.facts["type"] != "value":
            raise Pseudo3dError(f"task {task!r} gives values one by one; use stream()")
        return unplain(answer.facts.get("value"), answer.data)

    def stream(self, task: str, **given: Any) -> Iterator[Any]:
        """Run a task that yields values, and give them one by one; `seconds` are of its own work.

        Raises:
            VideoError: it breaks a limit, or the process ends in the middle.
            Pseudo3dError: what the task says is wrong, by the same class of error.
        """
        with closing(self._run(task, given)) as answers:
            for answer in answers:
                if answer.facts["type"] == "value":
                    raise Pseudo3dError(f"task {task!r} gives one value; use call()")
                if answer.facts["type"] == "item":
                    yield unplain(answer.facts.get("value"), answer.data)

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        self._calls = 0
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()

    def _run(self, task: str, given: Mapping[str, Any]) -> Generator[Message]:
        """Answers up to the last one; who leaves before it ends the process."""
        name = str(given.get("path", task))
        told, data = plain(dict(given))
        job = pack(Message({"task": task, "given": told}, data))
        self._check_free(task)
        with self._lock:
            self._user, over = get_ident(), False
            try:
                self._send(job)
                left = _START
                while not over:
                    began = monotonic()
                    answer = self._receive(left)
                    left -= monotonic() - began
                    kind = answer.facts.get("type")
                    if kind == "begins":
                        left = self.limits.seconds
                        continue
                    over = kind != "item"
                    if kind == "error":
                        self._fail(name, answer.facts)
                    yield answer
            except TimeoutError as err:
                over = False
                raise VideoError(
                    f"{name}: reading takes more than {self.limits.seconds:g} s, the limit; "
                    "leave it out, re-encode it or allow more seconds"
                ) from err
            except _Ended as err:
                over = False
                raise VideoError(f"{name}: the process that read it {self._end()}") from err
            finally:
                self._user = None
                self._calls += 1
                if not over:
                    self.replaced += 1
                if not over or self._calls >= self.calls:
                    self.close()

    def _check_free(self, task: str) -> None:
        """Refuse a task inside a loop over another one: the thread would wait for itself."""
        if self._user == get_ident():
            raise Pseudo3dError(
                f"task {task!r} begins in the middle of a stream() of the same Isolated; end that "
                "loop first, or take another Isolated"
            )

    def _fail(self, name: str, facts: Mapping[str, Any]) -> NoReturn:
        """Raise the error that the process tells of."""
        kind, text = str(facts.get("kind")), str(facts.get("message"))
        if kind == "memory":
            self.replaced += 1
            self._calls = self.calls  # what is left of it may not be sound
            raise VideoError(
                f"{name}: reading takes more than {self.limits.memory_bytes >> 20} MiB of memory, "
                "the limit; scale or cut it down, or allow more memory"
            )
        if kind in _OTHERS:
            raise _OTHERS[kind](text)
        ours = getattr(errors, kind, None)
        if isinstance(ours, type) and issubclass(ours, Pseudo3dError):
            raise ours(text)
        raise VideoError(f"{name}: reading fails ({text}); leave it out or re-encode it")

    def _end(self) -> str:
        """How the process ended, in words."""
        code = None if self._process is None else self._process.poll()
        if code is not None and code < 0:
            how = f"was killed ({signal.Signals(-code).name})"
        else:
            how = "ended in the middle"
        return f"{how}: damaged, or made to harm; leave it out or re-encode it with ffmpeg"

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pseudo3d.data.isolation.child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        self._process = process
        self._send(pack(Message({"limits": asdict(self.limits)})))
        self._receive(_START)
        return process

    def _send(self, message: bytes) -> None:
        process = self._process or self._start()
        pipe = process.stdin
        if pipe is None:
            raise _Ended
        try:
            pipe.write(message)
            pipe.flush()
        except OSError as err:
            raise _Ended from err

    def _receive(self, seconds: float) -> Message:
        """The next message, not trusted."""
        end = monotonic() + seconds
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size, end))
        if length > LONGEST:
            raise _Ended
        try:
            told = facts_of(self._exactly(length, end))
            size = told.pop("bytes")
            fits = isinstance(size, int) and 0 <= size <= self.limits.memory_bytes + _SLACK
        except (ValueError, KeyError) as err:
            raise _Ended from err
        if not fits:
            raise _Ended
        return Message(told, self._exactly(size, end))

    def _exactly(self, size: int, end: float) -> bytes:
        """So many bytes from the process, before the time is over."""
        pipe = None if self._process is None else self._process.stdout
        if pipe is None:
            raise _Ended
        watch, parts = select.poll(), list[bytes]()
        watch.register(pipe, select.POLLIN)
        while size:
            left = min(max(0.0, end - monotonic()), _LONG)
            if not watch.poll(left * 1000):
                raise TimeoutError
            part = os.read(pipe.fileno(), min(size, _PIECE))
            if not part:
                with suppress(subprocess.TimeoutExpired):
                    if self._process is not None:
                        self._process.wait(1.0)
                raise _Ended
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
