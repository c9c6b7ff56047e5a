"""The engine of one machine: as many workers as it has processors, each with its process."""

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Event, Lock

from pseudo3d.cluster.worker import Note, Stopped, Ticket, Worker

_WAIT = 0.2  # s between two looks at the keyboard


class Local:
    """Threads that each wait for a process; the first error, or Ctrl-C, ends them all.

    Args:
        workers: None takes the processor's cores.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def run(
        self,
        ticket: Ticket,
        parts: Sequence[int],
        heard: Callable[[Note], None],
        seen: Callable[[int], None],
    ) -> None:
        """Do partitions in any order; `heard` is told of each that is done."""
        todo, lock, stop = iter(parts), Lock(), Event()
        workers = [Worker(ticket, stop=stop) for _ in range(min(self.workers, len(parts)))]

        def lane(worker: Worker) -> None:
            try:
                while not stop.is_set():
                    with lock:
                        part = next(todo, None)
                    if part is None:
                        return
                    note = worker.do(part, lambda count: _locked(lock, seen, count))
                    with lock:
                        heard(note)
            except Stopped:
                pass
            finally:
                worker.close()

        with ThreadPoolExecutor(max(1, len(workers)), "worker") as pool:
            running = {pool.submit(lane, worker) for worker in workers}
            try:
                _until_done(running)
            except BaseException:
                stop.set()
                while running:  # a thread that waits for its process goes on at once
                    for worker in workers:
                        if (pid := worker.process.pid) is not None:
                            with suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
                    running = wait(running, timeout=_WAIT).not_done
                raise

    def close(self) -> None:
        """Nothing outlasts `run`."""


def _locked(lock: Lock, seen: Callable[[int], None], count: int) -> None:
    with lock:
        seen(count)


def _until_done(running: set[Future[None]]) -> None:
    """Wait for all; an error of one is raised."""
    while running:
        done, running = wait(running, timeout=_WAIT, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
