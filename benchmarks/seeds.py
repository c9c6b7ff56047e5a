"""What the scripts on scans share: many seeds, one row each, and going on where a run stopped."""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.volumes.recipes import VolumeRecipe
from pseudo3d.engine.volumes.train import ScanParts, train_volumes
from pseudo3d.models import create_model
from pseudo3d.models.network import Network
from pseudo3d.runtime.process import keep_memory
from record import RESULTS, record


def options(doc: str | None, *, seeds: int, epochs: int | None = None) -> argparse.ArgumentParser:
    """A parser with the options of every script."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder that holds the sets of volumes")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"how many, default {seeds}")
    parser.add_argument("--first", type=int, default=0, help="number of the first seed, default 0")
    parser.add_argument("--only", nargs="+", help="networks, by their names in the table")
    parser.add_argument("--epochs", type=int, default=epochs, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, help="processor threads, default: all cores")
    parser.add_argument("--keep", type=Path, help="folder for weights and answers")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the options; set threads and memory as the commands do."""
    args = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:  # it counts only from before torch is loaded
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    keep_memory()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return args


def done(table: str, key: Mapping[str, Any]) -> dict[str, str] | None:
    """The row that an earlier call has recorded for these values."""
    path = RESULTS / f"{table}.csv"
    if not path.exists():
        return None
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if all(row.get(name) == str(value) for name, value in key.items()):
                return row
    return None


def runs(
    table: str,
    keys: Iterable[Mapping[str, Any]],
    one: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    dry: bool,
) -> list[dict[str, Any]]:
    """Every run that is not recorded yet; the rows of all of them."""
    rows: list[dict[str, Any]] = []
    for key in keys:
        row: dict[str, Any] | None = None if dry else done(table, key)
        if row is None:
            row = {**key, **one(key)}
            if not dry:
                record(table, {**row, "command": command()})
        print("  ".join(f"{k} {v}" for k, v in row.items() if k != "command"), flush=True)
        rows.append(row)
    return rows


def summary(rows: Iterable[Mapping[str, Any]], by: str, score: str) -> None:
    """Mean and deviation of a score over the seeds of each network."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(str(row[by]), []).append(float(row[score]))
    for name, values in found.items():
        spread = f" +- {stdev(values):.4f}" if len(values) > 1 else ""
        print(f"{name}\t{score} {mean(values):.4f}{spread} over {len(values)} runs")


def command() -> str:
    """This call, as a user would type it, without the place of the data."""
    words = [w for w in sys.argv[1:] if not Path(w).is_dir()]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", "DATA", *words])


def trained(
    network: tuple[str, Mapping[str, Any]],
    parts: tuple[ScanManifest, ScanManifest | None],
    store: ScanStore,
    recipe: VolumeRecipe,
    seed: int,
) -> tuple[Network, float]:
    """A network of that name and options, trained from scratch; the seconds it took."""
    torch.manual_seed(seed)
    net = create_model(network[0], **network[1])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(recipe=recipe, out=Path(folder) / "run", seed=seed)
        train_volumes(net, ScanParts(train=parts[0], val=parts[1]), store, job)
    return net, time.perf_counter() - began
