"""Originals become samples, in processes that may die of a bad file without taking the rest."""

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from multiprocessing import get_all_start_methods, get_context, parent_process
from threading import Thread
from typing import NamedTuple

import torch

from pseudo3d.data.decode import Blob
from pseudo3d.data.item import Item
from pseudo3d.data.pick import index_file
from pseudo3d.data.shrink import Plan, Unreadable, encode, look
from pseudo3d.data.video import probe, read_video
from pseudo3d.errors import Pseudo3dError

_CRASH = "decoding it ends the process that does it (a fault of the decoder, or no memory left)"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A video as it goes into a shard."""

    data: bytes = field(repr=False)
    how: str  # "encoded" or "copied"
    note: str | None  # what is damaged about the original
    frames: int
    height: int
    width: int
    seconds: float


class Work(NamedTuple):
    """One original, and the name of what it becomes."""

    key: str
    item: Item


def encode_sample(item: Item, plan: Plan) -> Encoded | str:
    """Make one sample; a string says why the original cannot be read.

    Raises:
        Pseudo3dError: the original was there before and is not now, or its disk fails.
    """
    try:
        source, info, fits = look(item, plan)
        if fits:
            data = source.data if isinstance(source, Blob) else source.read_bytes()
            notes, how = list[str](), "copied"
        else:
            buffer = BytesIO()
            notes, how = encode((source, item), info, plan, buffer), "encoded"
            data = buffer.getvalue()
    except (Unreadable, OSError) as err:
        cause = err.__cause__ if isinstance(err, Unreadable) else err
        if isinstance(cause, OSError) and not isinstance(cause, PermissionError):
            raise Pseudo3dError(
                f"{item.path} has vanished while the others were packed ({cause.strerror}); bring "
                "it back and repeat the command: complete shards are kept"
            ) from err
        return str(err)
    return _described(Blob(item.path, data), how, "; ".join(notes) or None)


def _described(blob: Blob, how: str, note: str | None) -> Encoded:
    """What reading it will give; a look at its first frame proves that it can be read."""
    info, index = probe(blob), index_file(blob)
    times = (read_video(blob, size=16) if index is None else index).times.tolist()
    step = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / (info.fps or 25.0)
    return Encoded(
        data=blob.data,
        how=how,
        note=note,
        frames=len(times),
        height=info.height,
        width=info.width,
        seconds=round(times[-1] + step, 6),
    )


def encode_all(
    works: Sequence[Work], plan: Plan, workers: int
) -> Iterator[tuple[Work, Encoded | str]]:
    """Every original and what became of it, in order, while the next ones are at work.

    Args:
        workers: processes; 0 does it in this one.
    """
    if not workers:
        for work in works:
            yield work, encode_sample(work.item, plan)
        return
    waiting = deque(works)
    while waiting:
        try:
            yield from _in_pool(waiting, plan, workers)
        except BrokenProcessPool:  # one of those at work did it: each alone tells which
            for _ in range(min(len(waiting), _ahead(workers))):
                work = waiting.popleft()
                yield work, _alone(work, plan)


def _ahead(workers: int) -> int:
    return 2 * workers


def _in_pool(
    waiting: deque[Work], plan: Plan, workers: int
) -> Iterator[tuple[Work, Encoded | str]]:
    """Take works from the front as they are done."""
    with _pool(min(workers, len(waiting))) as pool:
        try:
            todo = iter(tuple(waiting))

            def begin(count: int) -> list[Future[Encoded | str]]:
                return [pool.submit(encode_sample, w.item, plan) for w in islice(todo, count)]

            begun = deque(begin(_ahead(workers)))
            while begun:
                found = begun.popleft().result()
                begun.extend(begin(1))
                yield waiting.popleft(), found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _alone(work: Work, plan: Plan) -> Encoded | str:
    with _pool(1) as pool:
        try:
            return pool.submit(encode_sample, work.item, plan).result()
        except BrokenProcessPool:
            return f"{work.item.path}: {_CRASH}"


def _pool(workers: int) -> ProcessPoolExecutor:
    """Processes that are not forked from this one: decoders do not survive that."""
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(workers, get_context(method), initializer=_begin)


def _begin() -> None:
    """One thread, silent at Ctrl-C, and no life after the parent's, however that ended."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if (parent := parent_process()) is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        Thread(target=follow, daemon=True).start()
