"""Real `p3d` processes without the seconds that importing torch takes: forked from a warm parent.

A forked child runs the command line's own entry point with its own arguments, output and session;
whatever is killed is an ordinary process that does the ordinary thing.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch


def prepare() -> None:
    """Import now what the commands import; no thread may have been started when a child is made."""
    torch.set_num_threads(1)
    import lightning.pytorch  # noqa: F401
    import sklearn  # noqa: F401

    import pseudo3d.cli.main
    import pseudo3d.cluster.run
    import pseudo3d.data.shards.write
    import pseudo3d.engine.training.train
    import pseudo3d.features.extract  # noqa: F401


def begin(words: Sequence[object], log: Path) -> int:
    """Start `p3d WORDS`; its output goes to `log`. Gives the process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        import torch

        torch.set_num_threads(1)  # else two threads at once find the parent's pool, which is gone
        sys.argv = ["p3d", *map(str, words)]
        from pseudo3d.cli.main import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end(pid: int, after: float | None = None, limit: float = 300.0) -> tuple[int | None, float]:
    """Wait for a process; at `after` seconds it gets SIGKILL.

    Returns:
        Exit code (None: killed), and the seconds it lived.
    Raises:
        TimeoutError: it lives after `limit` seconds; it is ended.
    """
    began, killed = time.monotonic(), False
    try:
        while True:
            gone, status = os.waitpid(pid, os.WNOHANG)
            lived = time.monotonic() - began
            if gone:
                return (None if killed and os.WIFSIGNALED(status) else _code(status)), lived
            if after is not None and not killed and lived >= after:
                os.kill(pid, signal.SIGKILL)
                killed = True
            if lived > limit:
                raise TimeoutError(f"process {pid} lives after {limit} s")
            time.sleep(0.001)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def clear(pid: int) -> None:
    """End what a process left behind in its session."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _code(status: int) -> int:
    return os.waitstatus_to_exitcode(status)
