"""How fast a job can be at best: what each resource allows alone, and which is the narrowest."""

import math
from dataclasses import dataclass, replace

from pseudo3d.bench.scale.costs import Cluster, Inference, Job, Training
from pseudo3d.errors import Pseudo3dError

MOST_NODES = 1 << 20
GAIN = 1.5  # of twice the nodes; less is saturation


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a cluster allows."""

    rates: dict[str, float]  # resource -> items/s if the others were free
    step: dict[str, float]  # training: part of a step -> s
    seconds: float  # of the whole job, if nothing ever waits in vain
    money: float

    @property
    def rate(self) -> float:
        """Items/s."""
        return min(self.rates.values())

    @property
    def limit(self) -> str:
        """The narrowest resource."""
        return min(self.rates, key=lambda name: self.rates[name])


def bounds(job: Job, cluster: Cluster) -> Bounds:
    """What the cluster allows at best; real queues, uneven items and the last block cost more.

    Raises:
        Pseudo3dError: a node dies before it has done anything, or a batch has fewer clips than
            there are processes.
    """
    step = _step(job, cluster) if isinstance(job, Training) else {}
    rates = _inference(job, cluster) if isinstance(job, Inference) else _training(job, cluster)
    costs = job.costs
    if costs.size:
        rates["storage"] = cluster.storage / costs.size
        rates["network of the nodes"] = cluster.nodes * cluster.link / (costs.size + costs.row)
        rates["reads"] = cluster.requests
    rates = {name: rate for name, rate in rates.items() if math.isfinite(rate)}
    work = job.items / min(rates.values())
    start = cluster.boot + costs.start / cluster.speed
    seconds = start + work / (1 - lost(job, cluster)) + job.ending
    return Bounds(rates=rates, step=step, seconds=seconds, money=money(job, cluster, seconds))


def money(job: Job, cluster: Cluster, seconds: float) -> float:
    """Price of the nodes and of the reads."""
    reads = job.items * cluster.read_price / 1_000
    return cluster.nodes * cluster.price * seconds / 3600 + reads


def lost(job: Job, cluster: Cluster) -> float:
    """Share of the time that dying nodes waste: what they had at work, and a new start.

    Raises:
        Pseudo3dError: it is all of it.
    """
    again = cluster.boot + job.costs.start / cluster.speed
    if isinstance(job, Inference):  # the node alone loses half a block
        wasted = again + _seconds(job, cluster) * job.block / 2
        share = wasted / (3600 * cluster.lifetime)
    else:  # all go back to the last state
        wasted = again + sum(_step(job, cluster).values()) * job.save_every / 2
        share = cluster.nodes * wasted / (3600 * cluster.lifetime)
    if share >= 0.9:
        raise Pseudo3dError(
            f"a node lives {cluster.lifetime:g} hours and each death costs {wasted / 3600:.2g}: "
            "the job would never end; take smaller blocks, save more often, or fewer nodes"
        )
    return share


def _seconds(job: Inference, cluster: Cluster) -> float:
    """What a process spends on a video, its share of the block included."""
    costs = job.costs
    network = costs.network if cluster.accelerators else costs.network / cluster.speed
    rest = (costs.decode + costs.block / job.block) / cluster.speed
    return network + rest + (cluster.delay if costs.size else 0.0)


def _inference(job: Inference, cluster: Cluster) -> dict[str, float]:
    costs, nodes = job.costs, cluster.nodes
    alone = _seconds(job, cluster)
    rates = {"cores": nodes * cluster.cores / alone}
    if cluster.accelerators:
        decode = (costs.decode + costs.block / job.block) / cluster.speed
        rates["cores"] = nodes * cluster.cores / decode if decode else math.inf
        if costs.network:
            rates["accelerators"] = nodes * cluster.accelerators / costs.network
    if cluster.driver:
        rates["driver"] = job.block / cluster.driver
    # the last block may begin when all others end; it is not divided
    return {**rates, "size of a block": job.videos / min(job.videos, job.block) / alone}


def ranks(job: Training, cluster: Cluster) -> int:
    """Processes that train.

    Raises:
        Pseudo3dError: more than clips in a batch, or more on a node than its cores.
    """
    here = trainers(job, cluster)
    if not here or here * job.loaders > cluster.cores:
        raise Pseudo3dError(
            f"{here or 1} processes with {job.loaders} loaders each do not fit on {cluster.cores} "
            "cores; take fewer loaders"
        )
    if cluster.nodes * here > job.batch:
        raise Pseudo3dError(
            f"{cluster.nodes * here} processes share a batch of {job.batch} clips; take fewer "
            "nodes or a larger batch"
        )
    return cluster.nodes * here


def trainers(job: Training, cluster: Cluster) -> int:
    """Processes of a node that train; on cores, their loaders take some of them."""
    return cluster.accelerators or cluster.cores // (1 + job.loaders)


def _step(job: Training, cluster: Cluster) -> dict[str, float]:
    """Parts of a step that follow one another, s; decoding is one only without loaders."""
    count, costs = ranks(job, cluster), job.costs
    speed = 1.0 if cluster.accelerators else cluster.speed
    mine = math.ceil(job.batch / count)  # the largest share sets the pace
    parts = {"network": mine * costs.network / speed, "update": costs.block / speed}
    if not job.loaders:
        read = cluster.delay if costs.size else 0.0
        parts["decode"] = mine * (costs.decode / cluster.speed + read)
    return {**parts, "exchange": exchange(job, cluster), "save": costs.save / job.save_every}


def exchange(job: Training, cluster: Cluster) -> float:
    """Seconds of a step's exchange: gradients in a ring, first inside nodes, then among them.

    Short messages go up and down a tree of processes.
    """
    inside, nodes, costs = trainers(job, cluster), cluster.nodes, job.costs
    seconds = 2 * (inside - 1) / inside * costs.gradient / cluster.bus
    seconds += 2 * (nodes - 1) / nodes * costs.gradient / cluster.link
    rounds = 2 * (nodes - 1) + 2 * math.ceil(math.log2(inside * nodes)) * costs.messages
    return seconds + rounds * cluster.latency


def _training(job: Training, cluster: Cluster) -> dict[str, float]:
    rates = {"steps": job.batch / sum(_step(job, cluster).values())}
    if job.loaders and job.costs.decode:
        loaders = job.loaders * ranks(job, cluster)
        rates["loaders"] = loaders / (job.costs.decode / cluster.speed + cluster.delay)
    return rates


def nodes_for(job: Job, cluster: Cluster, hours: float) -> Cluster:
    """The fewest nodes that are done in time.

    Raises:
        Pseudo3dError: no number of nodes is; says what stands in the way.
    """

    def late(nodes: int) -> bool:
        return bounds(job, replace(cluster, nodes=nodes)).seconds > 3600 * hours

    low, high, best = 0, 1, math.inf
    while late(high):
        found = bounds(job, replace(cluster, nodes=high))
        if high >= most_nodes(job, cluster) or found.seconds >= best:
            raise Pseudo3dError(
                f"no number of nodes is done within {hours:g} hours: {high} take "
                f"{found.seconds / 3600:.3g}, and what limits them is {_reason(found)}"
            )
        low, high, best = high, min(2 * high, most_nodes(job, cluster)), found.seconds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if late(middle) else (low, middle)
    return replace(cluster, nodes=high)


def saturation(job: Job, cluster: Cluster) -> tuple[int, str]:
    """Nodes from which twice as many bring less than 1.5 times the rate, and what limits them.

    Between the powers of two it is not looked for.
    """
    nodes, now = 1, bounds(job, replace(cluster, nodes=1))
    while 2 * nodes <= most_nodes(job, cluster):
        twice = bounds(job, replace(cluster, nodes=2 * nodes))
        if twice.rate < GAIN * now.rate:
            return nodes, _reason(twice)
        nodes, now = 2 * nodes, twice
    return nodes, "clips of a batch" if isinstance(job, Training) else now.limit


def most_nodes(job: Job, cluster: Cluster) -> int:
    """Nodes that can take part at all: every process needs a clip of the batch."""
    if isinstance(job, Inference):
        return MOST_NODES
    return max(1, job.batch // max(1, trainers(job, cluster)))


def _reason(found: Bounds) -> str:
    """The narrowest resource; of steps, what does not shrink with more processes."""
    if found.limit != "steps":
        return found.limit
    fixed = {name: found.step[name] for name in ("exchange", "update", "save")}
    return max(fixed, key=lambda name: fixed[name])
