"""Run a job's queues without doing its work: who waits for whom, and when the last one is done.

Every item draws its own time. What is shared (the driver, the storage, a node's network, its
accelerators) serves one request after another.
"""

import heapq
import math
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from pseudo3d.bench.scale.bounds import exchange, lost, money, ranks
from pseudo3d.bench.scale.costs import Cluster, Inference, Job, Training

BLOCKS = 100_000  # simulated at most, or CYCLES of every process
CYCLES = 6
STEPS = 400
_EVEN = 1e-6  # spreads below are none
Times = Float64[np.ndarray, " r"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a simulated job took."""

    seconds: float  # start to end
    rate: float  # items/s, once under way
    busy: dict[str, float]  # resource -> share of the time it worked
    money: float


def simulate(job: Job, cluster: Cluster, seed: int = 0) -> Run:
    """Run the job's queues; the same seed gives the same answer.

    A job too long to run whole goes on at the rate that it has reached.

    Raises:
        Pseudo3dError: the cluster cannot do the job.
    """
    rng = np.random.default_rng(seed)
    share = lost(job, cluster)
    work = _Blocks(job, cluster, rng) if isinstance(job, Inference) else _Steps(job, cluster, rng)
    took, rate, worked = work.run()
    start = cluster.boot + job.costs.start / cluster.speed
    seconds = start + took / (1 - share) + job.ending
    return Run(
        seconds=seconds,
        rate=rate * (1 - share),
        busy={name: min(1.0, part) for name, part in worked.items() if part > 0},
        money=money(job, cluster, seconds),
    )


@dataclass
class _Servers:
    """Serve requests in the order they come, so many at a time."""

    count: int = 1
    worked: float = 0.0
    _free: list[float] = field(default_factory=list)

    def book(self, now: float, seconds: float) -> float:
        """When a request that comes now is done; requests come in order of time."""
        free = heapq.heappop(self._free) if len(self._free) >= self.count else now
        end = max(now, free) + seconds
        heapq.heappush(self._free, end)
        self.worked += seconds
        return end


def _draw(rng: np.random.Generator, count: float, mean: float, spread: float) -> float:
    """Time of `count` items together; each is gamma-distributed, and so is their sum."""
    if spread < _EVEN or not mean:
        return count * mean
    return float(rng.gamma(count / spread**2, mean * spread**2))


class _Blocks:
    """Processes that take block after block; time goes from event to event."""

    def __init__(self, job: Inference, cluster: Cluster, rng: np.random.Generator) -> None:
        self.job, self.cluster, self.rng = job, cluster, rng
        # one that waits for an accelerator leaves its core to another
        self.processes = cluster.nodes * cluster.cores * (2 if cluster.accelerators else 1)
        self.left = min(job.videos, job.block * max(BLOCKS, CYCLES * self.processes))
        self.rest = job.videos - self.left
        self.driver, self.storage = _Servers(), _Servers()
        self.links = [_Servers() for _ in range(cluster.nodes)]
        self.cores = [_Servers(cluster.cores) for _ in range(cluster.nodes)]
        self.accelerators = [_Servers(cluster.accelerators) for _ in range(cluster.nodes)]
        self.cycles: list[float] = []  # s of one block, in the order they were done

    def run(self) -> tuple[float, float, dict[str, float]]:
        """Seconds, videos/s and how busy every resource was."""
        simulated, now = self.left, 0.0
        events = []
        for i in range(self.processes):
            process = self._process(i % self.cluster.nodes)
            events.append((next(process), i, process))
        while events:
            now, i, process = heapq.heappop(events)
            try:
                heapq.heappush(events, (process.send(now), i, process))
            except StopIteration:
                continue
        rate = self._rate() or simulated / now
        return now + self.rest / rate, rate, self._busy(now)

    def _process(self, node: int) -> Generator[float, float]:
        """Yields when its next event is due, and is sent that time when it has come."""
        costs, cluster = self.job.costs, self.cluster
        now = yield 0.0
        while self.left:
            count, began = min(self.left, self.job.block), now
            self.left -= count
            now = yield self.driver.book(now, cluster.driver)
            if costs.size:
                now = yield self._read(now, node, count)
            cpu = _draw(self.rng, count, costs.decode, costs.decode_spread) + costs.block
            net = _draw(self.rng, count, costs.network, costs.network_spread)
            if cluster.accelerators:
                now = yield self.cores[node].book(now, cpu / cluster.speed)
                now = yield self.accelerators[node].book(now, net)
            else:  # a core of its own
                now = yield self.cores[node].book(now, (cpu + net) / cluster.speed)
            if costs.row:
                now = yield self.links[node].book(now, count * costs.row / cluster.link)
            self.cycles.append(now - began)

    def _read(self, now: float, node: int, count: float) -> float:
        """When the block has come: through the storage and the node's network at once."""
        size, cluster = count * self.job.costs.size, self.cluster
        served = max(size / cluster.storage, count / cluster.requests)
        return max(
            self.storage.book(now, served),
            self.links[node].book(now, size / cluster.link),
            now + count * cluster.delay,
        )

    def _rate(self) -> float:
        """Videos/s while every process is at work: without the first and the last blocks."""
        steady = self.cycles[self.processes : -self.processes]
        if not steady:
            return 0.0
        return self.processes * self.job.block * len(steady) / sum(steady)

    def _busy(self, seconds: float) -> dict[str, float]:
        several = {
            "cores": self.cores,
            "accelerators": self.accelerators,
            "network of the nodes": self.links,
        }
        shares = {
            name: sum(s.worked for s in servers) / (seconds * sum(s.count for s in servers) or 1)
            for name, servers in several.items()
        }
        alone = {"driver": self.driver, "storage": self.storage}
        return shares | {name: server.worked / seconds for name, server in alone.items()}


class _Steps:
    """Processes that train in step: batches come from loaders, the slowest sets the pace."""

    def __init__(self, job: Training, cluster: Cluster, rng: np.random.Generator) -> None:
        self.job, self.cluster, self.rng = job, cluster, rng
        self.ranks = ranks(job, cluster)
        extra = np.arange(self.ranks) < job.batch % self.ranks
        self.mine = job.batch // self.ranks + extra.astype(float)  # (R,) clips of each
        self.served = self.storage_worked = 0.0  # until when the storage is booked

    def run(self) -> tuple[float, float, dict[str, float]]:
        """Seconds, clips/s and how busy every resource was."""
        job, costs, loaders = self.job, self.job.costs, self.job.loaders
        total = math.ceil(job.clips / job.batch)
        steps, skip = self._part(total)
        speed = 1.0 if self.cluster.accelerators else self.cluster.speed
        met, ends = 0.0, [0.0]
        ready: list[Times] = []  # when each batch is decoded
        taken: list[Times] = []  # when it is taken from its loader
        talk, worked = exchange(job, self.cluster), 0.0
        for k in range(steps):
            asked = np.full(self.ranks, met)
            if loaders:  # batch k is of loader k % loaders, two batches of each are under way
                asked = np.zeros(self.ranks) if k < loaders else ready[k - loaders]
                if k >= 2 * loaders:
                    asked = np.maximum(asked, taken[k - 2 * loaders])
            decode = self._times(costs.decode, costs.decode_spread) / self.cluster.speed
            ready.append(self._read(asked) + decode)
            taken.append(np.maximum(ready[k], met))
            network = self._times(costs.network, costs.network_spread) / speed
            met = float((taken[k] + network).max()) + talk + costs.block / speed
            if (k + 1) % job.save_every == 0:
                met += costs.save
            worked += float(network.mean())
            ends.append(met)
        pace = (ends[-1] - ends[skip]) / (steps - skip)
        busy = {
            "network": worked / ends[-1],
            "exchange": talk * steps / ends[-1],
            "storage": self.storage_worked / ends[-1],
        }
        return ends[-1] + (total - steps) * pace, job.batch / pace, busy

    def _part(self, total: int) -> tuple[int, int]:
        """Steps to simulate, and how many of them are not counted: the loaders begin ahead."""
        every = self.job.save_every
        cycle = every if every <= total else 1  # whole ones, each with its state
        skip = cycle * math.ceil(STEPS / 4 / cycle)
        return (4 * skip, skip) if 4 * skip < total else (total, 0)

    def _times(self, mean: float, spread: float) -> Times:
        """Seconds of every process for its clips."""
        if spread < _EVEN or not mean:
            return self.mine * mean
        return self.rng.gamma(self.mine / spread**2, mean * spread**2)

    def _read(self, asked: Times) -> Times:
        """When the clips have come from the storage, which serves one request after another."""
        costs, cluster = self.job.costs, self.cluster
        if not costs.size:
            return asked
        each = self.mine * max(costs.size / cluster.storage, 1 / cluster.requests)
        order = np.argsort(asked, kind="stable")
        before = np.cumsum(each[order]) - each[order]
        begun = np.maximum.accumulate(np.maximum(asked[order], self.served) - before) + before
        come = np.empty_like(asked)
        come[order] = begun + each[order]
        self.served, self.storage_worked = float(come.max()), self.storage_worked + each.sum()
        return np.maximum(come, asked + self.mine * cluster.delay)
