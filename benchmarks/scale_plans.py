"""The plans of docs/scale.md: Sports-1M training, a million and a billion videos to recognize.

    python benchmarks/scale_plans.py [--images docs/images] [--dry]

Costs are the latest rows of results/scale_stages.csv; what a cluster gives and costs, and what an
accelerator does, are examples (see MACHINES and ASSUMED): no such machine was there. Plans become
rows of results/scale_plans.csv. It takes a minute.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import keep, show, tell
from pseudo3d.bench.scale.bounds import nodes_for
from pseudo3d.bench.scale.costs import Cluster, Costs, Inference, Job, Training
from pseudo3d.bench.scale.picture import plan_png
from pseudo3d.bench.scale.plan import Plan, plan
from record import RESULTS

# Examples of November 2026, not quotes: put yours. Speeds are those of the measured core.
CPU = Cluster(cores=64, price=2.5, storage=10e9, link=3e9, latency=5e-5, driver=0.005,
              requests=50_000, read_price=0.0004, delay=0.03, boot=120, lifetime=2_000)  # fmt: skip
GPU = replace(CPU, cores=128, accelerators=8, price=30.0, link=50e9, bus=100e9, latency=2e-5)
MACHINES = {"cores": CPU, "accelerators": GPU}
ASSUMED = 100e12  # FLOP/s that an accelerator reaches in bf16
GFLOP = {"p3d_tiny": 1.2, "p3d50": 16.9, "p3d152": 36.8}  # of a clip, forward
REMOTE = 0.06  # s: two reads of each block from an object store when the driver checks
SECONDS, RATE, VIEWS = 10.0, 30.0, 5  # of a video; frames/s; clips looked at
SHOTS, STEPS, BATCH = 5 * 1.02e6, 150_000, 128  # Sports-1M as the paper trains on it
COLUMNS = ("nodes", "hours", "node_hours", "money", "limit", "saturates_at", "saturates_by")


def stages() -> dict[tuple[str, str], float]:
    """Latest value of every stage."""
    with (RESULTS / "scale_stages.csv").open(newline="") as file:
        return {(row["stage"], row["what"]): float(row["value"]) for row in csv.DictReader(file)}


def of_network(found: dict[tuple[str, str], float], stage: str, model: str) -> float:
    """A stage of a network in bf16."""
    return next(v for (s, what), v in found.items() if s == stage and f"{model}, bf16" in what)


def predict_costs(found: dict[tuple[str, str], float], model: str, kind: str) -> Costs:
    """A video of ten seconds, packed with 320 pixels and close key frames."""
    what = "320 pixels, key frame every 12"
    frame = found["whole video", what] / 1e3
    network = of_network(found, "predict: network", model) / 1e3
    if kind == "accelerators":
        network = GFLOP[model] * 1e9 / ASSUMED
    return Costs(
        network=VIEWS * network,
        decode=found["index", what] / 1e3 + SECONDS * RATE * frame,
        size=1e3 * found["size", what] * SECONDS * RATE,
        row=500.0,
        block=found["partition", "written"] / 1e3,
        check=found["partition", "checked"] / 1e3 + REMOTE,
        start=of_network(found, "predict: start", model),
        decode_spread=0.5,
        network_spread=0.1,
    )


def train_costs(found: dict[tuple[str, str], float], model: str, kind: str) -> Costs:
    """A clip of 16 consecutive frames out of a packed shot."""
    what = "320 pixels, key frame every 12"
    network = of_network(found, "train: network", model) / 1e3
    update = of_network(found, "update", model) / 1e3
    if kind == "accelerators":
        network, update = 3 * GFLOP[model] * 1e9 / ASSUMED, 0.005
    return Costs(
        network=network,
        decode=found["index and 16 consecutive frames", what] / 1e3,
        size=1e3 * found["size", what] * 5 * RATE,
        block=update,
        gradient=1e6 * of_network(found, "gradients", model),
        save=of_network(found, "state", model),
        start=of_network(found, "train: start", model),
        decode_spread=0.3,
        network_spread=0.05,
    )


def cases(found: dict[tuple[str, str], float]) -> Iterator[tuple[str, str, str, Job, Cluster]]:
    """Title, network, kind of machine, job, cluster."""
    for kind, machines in MACHINES.items():
        for videos, hours, block in ((1e6, 1, 256), (1e9, 240, 256), (1e9, 240, 4_096)):
            for model in ("p3d_tiny", "p3d50"):
                job = Inference(videos=videos, block=block, costs=predict_costs(found, model, kind))
                title = f"predict {videos:,.0f} videos in {hours} h, blocks of {block}"
                yield title, model, kind, job, nodes_for(job, machines, hours)
        loaders = 0 if kind == "cores" else machines.cores // machines.accelerators
        for model in ("p3d50", "p3d152"):
            job = Training(
                clips=STEPS * BATCH,
                batch=BATCH,
                costs=train_costs(found, model, kind),
                loaders=loaders,
                save_every=500,
            )
            for nodes in (1, 2):
                title = f"train Sports-1M, {STEPS:,} steps of {BATCH}"
                yield title, model, kind, job, replace(machines, nodes=nodes)


def row(title: str, model: str, kind: str, found: Plan) -> dict[str, Any]:
    """A plan as a line of the table."""
    job, costs, cluster = found.job, found.job.costs, found.cluster
    return {
        "variant": title,
        "model": model,
        "machine_kind": kind,
        "cores": cluster.cores,
        "accelerators": cluster.accelerators,
        "nodes": cluster.nodes,
        "decode_ms": round(1e3 * costs.decode, 3),
        "network_ms": round(1e3 * costs.network, 3),
        "network_is": "measured" if kind == "cores" else f"assumed, {ASSUMED / 1e12:g} TFLOP/s",
        "items": f"{job.items:.4g}",
        "items_per_s": round(found.run.rate, 1),
        "hours": float(f"{found.run.seconds / 3600:.3g}"),
        "hours_at_best": float(f"{found.bounds.seconds / 3600:.3g}"),
        "node_hours": float(f"{cluster.nodes * found.run.seconds / 3600:.4g}"),
        "price_of_node_hour": cluster.price,
        "money": round(found.run.money),
        "limit": found.bounds.limit,
        "saturates_at": found.saturates[0],
        "saturates_by": found.saturates[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="Folder for the pictures.")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    args = parser.parse_args()
    rows, drawn = [], set()
    for title, model, kind, job, cluster in cases(stages()):
        tell(f"{title}, {model}, {kind}")
        found = plan(job, cluster)
        rows.append(row(title, model, kind, found))
        name = f"scale-{'train' if isinstance(job, Training) else 'predict'}-{kind}.png"
        big = isinstance(job, Training) or (job.videos > 1e6 and job.block > 1_000)
        if args.images and big and model != "p3d_tiny" and name not in drawn:
            drawn.add(name)
            plan_png(found, args.images / name, title=f"{title}, {model}, {kind}")
    lines = [{**r, "variant": f"{r['variant']}, {r['model']}, {r['machine_kind']}"} for r in rows]
    show("plans", lines, (), COLUMNS)
    keep("scale_plans", rows, args.dry)


if __name__ == "__main__":
    main()
