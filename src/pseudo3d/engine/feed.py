"""Decode videos in threads while the network works on earlier ones."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from queue import Empty, Full, Queue
from threading import Event, main_thread
from typing import Generic, TypeVar

Source = TypeVar("Source")
Part = TypeVar("Part")
_END = object()
_WAIT = 0.1  # s between two looks at whether anybody still wants the parts


class _Lane(Generic[Part]):
    """Parts of one source on their way from one thread to another, few at a time."""

    def __init__(self, stop: Event, room: int) -> None:
        self.stop = stop
        self.queue: Queue[object] = Queue(room)

    def fill(self, parts: Iterator[Part]) -> None:
        """Pass on every part, or the error that ends them; runs in the thread of the decoder."""
        try:
            for part in parts:
                if not self._put(part):
                    return
        except Exception as err:  # it is raised again where the parts are used
            self._put(err)
        self._put(_END)

    def _put(self, part: object) -> bool:
        # an error nobody handles ends the program, and its traceback keeps the lanes open
        while not self.stop.is_set() and main_thread().is_alive():
            try:
                self.queue.put(part, timeout=_WAIT)
            except Full:
                continue
            return True
        return False

    def drain(self) -> Iterator[Part]:
        """The parts, in the thread of the network."""
        while (part := self._get()) is not _END:
            if isinstance(part, Exception):
                raise part
            yield part  # type: ignore[misc]  # a queue holds parts, errors and the end

    def _get(self) -> object:
        while True:  # with a timeout, so that Ctrl-C gets through on every system
            try:
                return self.queue.get(timeout=_WAIT)
            except Empty:
                continue


@contextmanager
def in_threads(
    sources: Iterable[Source],
    split: Callable[[Source], Iterator[Part]],
    *,
    threads: int | None = None,
    room: int = 8,
) -> Generator[Iterator[tuple[Source, Iterator[Part]]]]:
    """Give (source, its parts) in order, while `split` already works on the next sources.

    Leaving the context ends the threads, whatever was left undone. An error of `split` is raised
    where the parts of its source are taken.

    Args:
        threads: sources worked on at a time; None takes the processor's cores, 8 at most.
        room: parts of one source that wait to be taken, at most.
    """
    threads = threads or min(os.cpu_count() or 1, 8)
    stop = Event()
    pool = ThreadPoolExecutor(threads, "decode")

    def begin(source: Source) -> tuple[Source, Iterator[Part]]:
        lane: _Lane[Part] = _Lane(stop, room)
        pool.submit(lambda: lane.fill(split(source)))
        return source, lane.drain()

    def lanes() -> Iterator[tuple[Source, Iterator[Part]]]:
        todo = iter(sources)
        begun = deque(begin(source) for source in islice(todo, threads + 1))
        while begun:
            yield begun.popleft()
            begun.extend(begin(source) for source in islice(todo, 1))

    try:
        yield lanes()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
