"""A job on a cluster, planned: what it takes there, and what more or fewer nodes would take."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from pseudo3d.bench.scale.bounds import Bounds, bounds, most_nodes, saturation
from pseudo3d.bench.scale.costs import Cluster, Inference, Job
from pseudo3d.bench.scale.simulate import Run, simulate

Lines = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job takes."""

    job: Job
    cluster: Cluster
    bounds: Bounds  # if nothing ever waited
    run: Run  # with its queues
    saturates: tuple[int, str]  # nodes from which more bring little, and why

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": "predict" if isinstance(self.job, Inference) else "train",
            "job": asdict(self.job),
            "cluster": {k: v for k, v in asdict(self.cluster).items() if v != float("inf")},
            "hours": self.run.seconds / 3600,
            "hours_at_best": self.bounds.seconds / 3600,
            "node_hours": self.cluster.nodes * self.run.seconds / 3600,
            "money": self.run.money,
            "items_per_second": self.run.rate,
            "limit": self.bounds.limit,
            "allowed_items_per_second": self.bounds.rates,
            "step_seconds": self.bounds.step,
            "busy": self.run.busy,
            "saturates_at_nodes": self.saturates[0],
            "saturates_by": self.saturates[1],
        }


def plan(job: Job, cluster: Cluster, seed: int = 0) -> Plan:
    """What the job takes on this cluster.

    Raises:
        Pseudo3dError: it cannot be done there; says why.
    Example:
        >>> job = Inference(videos=1e6, costs=Costs(network=0.25, decode=0.04))
        >>> round(plan(job, Cluster(nodes=4, cores=64)).run.seconds / 3600, 1)
        0.3
    """
    return Plan(
        job=job,
        cluster=cluster,
        bounds=bounds(job, cluster),
        run=simulate(job, cluster, seed),
        saturates=saturation(job, cluster),
    )


def curve(job: Job, cluster: Cluster) -> list[tuple[int, Bounds, Run]]:
    """The job on 1, 2, 4 ... nodes, until four times what saturates it or is planned."""
    last = min(4 * max(cluster.nodes, saturation(job, cluster)[0]), most_nodes(job, cluster))
    points, nodes = [], 1
    while nodes <= last:
        machines = replace(cluster, nodes=nodes)
        points.append((nodes, bounds(job, machines), simulate(job, machines)))
        nodes *= 2
    return points


def stage_lines(found: Plan) -> Lines:
    """What an item costs, as a table."""
    costs, item = found.job.costs, "video" if isinstance(found.job, Inference) else "clip"
    lines = [("stage", f"of a {item}")]
    seconds = (("decode", costs.decode), ("network", costs.network))
    lines += [(name, f"{1e3 * value:.4g} ms") for name, value in seconds]
    return [*lines, ("read", f"{costs.size / 1e6:.3g} MB")]


def limit_lines(found: Plan) -> Lines:
    """What each resource allows, the narrowest first."""
    rates = sorted(found.bounds.rates.items(), key=lambda pair: pair[1])
    return [("resource", "allows, items/s"), *((name, f"{rate:.4g}") for name, rate in rates)]


def busy_lines(found: Plan) -> Lines:
    """How long each resource works; of training, what a step is made of."""
    busy = [(name, f"{share:.1%}") for name, share in found.run.busy.items()]
    step = [(f"step: {name}", f"{1e3 * s:.4g} ms") for name, s in found.bounds.step.items()]
    return [("at work", "of the time"), *busy, *step]


def result_lines(found: Plan) -> Lines:
    """The answer."""
    nodes, why = found.saturates
    hours, run = found.run.seconds / 3600, found.run
    lines = [
        ("nodes", f"{found.cluster.nodes}"),
        ("hours", f"{hours:.3g}"),
        ("hours, if nothing waited", f"{found.bounds.seconds / 3600:.3g}"),
        ("node hours", f"{found.cluster.nodes * hours:.4g}"),
        ("items/s", f"{run.rate:.4g}"),
        ("limited by", found.bounds.limit),
        ("twice the nodes help little from", f"{nodes} nodes on: {why}"),
    ]
    return lines + ([("price", f"{run.money:,.2f}")] if run.money else [])
