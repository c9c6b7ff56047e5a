"""Clips of several jobs share the network, each job in its turn."""

import asyncio
import threading
from itertools import chain

import pytest
import torch

from pseudo3d.serve.batching import Batcher


def clips(*values):
    return [torch.full((1, 1, 1, 1), v, dtype=torch.uint8) for v in values]


class Slow:
    """Notes what it is given; waits for leave at the first call."""

    def __init__(self):
        self.go, self.seen = threading.Event(), []

    def __call__(self, batch):
        self.go.wait(30)
        self.seen.append(batch.flatten().tolist())
        return batch.flatten(1).float()


def scene(play, size=4):
    """Run a coroutine with a batcher and its slow network."""

    async def main():
        run = Slow()
        batcher = Batcher(run, size)
        try:
            async with asyncio.timeout(30):
                return await play(batcher, run)
        finally:
            run.go.set()
            await batcher.end()

    return asyncio.run(main())


def test_each_clip_gets_its_own_answer():
    async def play(batcher, run):
        run.go.set()
        lanes = [batcher.lane() for _ in range(3)]
        asked = [await batcher.put(lane, clips(i, i + 10)) for i, lane in enumerate(lanes)]
        return [[float(await a) for a in answers] for answers in asked]

    assert scene(play) == [[0, 10], [1, 11], [2, 12]]


def test_a_long_job_does_not_hold_up_a_short_one():
    async def play(batcher, run):
        long, short = batcher.lane(), batcher.lane()
        many = await batcher.put(long, clips(*range(1, 13)))
        await asyncio.sleep(0.05)  # the first batch, of the long job alone, is being looked at
        (one,) = await batcher.put(short, clips(99))
        run.go.set()
        await one
        assert not many[-1].done()
        await asyncio.gather(*many)
        return run.seen

    seen = scene(play)
    assert 99 in seen[1]
    assert sorted(chain(*seen)) == [*range(1, 13), 99]


def test_full_batches_are_made_of_several_jobs_and_rests_run_one_by_one():
    async def play(batcher, run):
        lanes = [batcher.lane() for _ in range(5)]
        first = await batcher.put(lanes[0], clips(0))
        await asyncio.sleep(0.05)
        rest = [await batcher.put(lane, clips(i, i)) for i, lane in enumerate(lanes, start=1)]
        run.go.set()
        await asyncio.gather(*first, *chain(*rest))
        return [len(batch) for batch in run.seen], set(run.seen[1])

    sizes, second = scene(play)
    assert sizes == [1, 4, 4, 1, 1]
    assert len(second) == 4  # of four jobs


def test_a_job_that_is_closed_costs_nothing_more():
    async def play(batcher, run):
        gone, stays = batcher.lane(), batcher.lane()
        first = await batcher.put(stays, clips(0))
        await asyncio.sleep(0.05)
        waiting = await batcher.put(gone, clips(7, 8))
        batcher.close(gone)
        run.go.set()
        await asyncio.gather(*first)
        assert all(answer.cancelled() for answer in waiting)
        assert batcher.waiting == 0
        return list(chain(*run.seen))

    assert scene(play) == [0]


def test_a_job_waits_while_too_many_of_its_clips_are_in_line():
    async def play(batcher, run):
        lane = batcher.lane()
        await batcher.put(lane, clips(*range(16)))
        more = asyncio.create_task(batcher.put(lane, clips(100)))
        await asyncio.sleep(0.1)
        assert not more.done()
        run.go.set()
        (answer,) = await more
        return float(await answer)

    assert scene(play) == 100


def test_an_error_of_the_network_reaches_those_who_asked_and_nobody_else():
    async def play(batcher, run):
        right, lane = batcher.run, batcher.lane()

        def wrong(batch):
            raise RuntimeError("no")

        batcher.run = wrong
        (answer,) = await batcher.put(lane, clips(1))
        with pytest.raises(RuntimeError, match="no"):
            await answer
        batcher.run = right
        run.go.set()
        (answer,) = await batcher.put(lane, clips(2))
        return float(await answer), batcher.clips

    assert scene(play) == (2.0, 1)
