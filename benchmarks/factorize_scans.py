"""A 3-D network for scans made cheaper: AdrenalMNIST3D at 28 voxels, before and after factorizing.

    python benchmarks/factorize_scans.py DATA [--epochs 12] [--speedup 2.5] [--threads 1]

DATA is the folder that holds adrenalmnist3d.npz. r3d_tiny is trained on the training part and
factorized for 64 scans of the validation part, without fine-tuning; both are scored on the test
part, the optimized networks timed in turn. A row of results/factorize_scans.csv.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from adrenal import FILES, opened
from pseudo3d.bench.timing import race, speedup
from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest, read_scans
from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
from pseudo3d.engine.volumes.recipes import volume_recipe
from pseudo3d.models.network import Network
from pseudo3d.recycle.factorize import factorize
from pseudo3d.runtime.lower import optimize
from record import record
from seeds import command, options, parse, trained

SCANS = 64  # that the pairs are fitted to


def auc(net: Network, part: ScanManifest, store: ScanStore, learned: ScanManifest) -> dict:
    """With its bootstrap interval."""
    found = evaluate_volumes(net, part, protocol=VolumeProtocol(), store=store, learned=learned)
    return found.scores.to_dict()["scores"]["auc"]


def inputs(
    net: Network, part: ScanManifest, store: ScanStore, learned: ScanManifest
) -> list[Tensor]:
    """What the network is fed when it looks at a part."""
    seen: list[Tensor] = []
    look = net.register_forward_pre_hook(lambda _, fed: seen.extend(fed[0].detach().split(1)))
    auc(net.eval(), part, store, learned)
    look.remove()
    return seen[:SCANS]


def main() -> None:
    parser = options(__doc__, seeds=1, epochs=12)
    parser.add_argument("--speedup", type=float, default=2.5)
    args = parse(parser)
    path: Path = args.data / FILES[28]
    manifest, store = read_scans(path), opened(path, 28)
    train, val, test = (manifest.split(name) for name in ("train", "val", "test"))
    recipe = volume_recipe("volume").but(epochs=args.epochs)
    network = ("r3d_tiny", {"num_classes": 2, "in_channels": 1})
    net, seconds = trained(network, (train, val), store, recipe, args.first)
    scans = inputs(net, val, store, train)
    small = factorize(net, speedup=args.speedup, data=scans)
    calls = {name: partial(optimize(x, scans[0]), scans[0]) for name, x in
             {"full": net, "small": small}.items()}  # fmt: skip
    times = race(calls, rounds=25, seconds=30)
    before, after = auc(net, test, store, train), auc(small, test, store, train)
    row = {
        "set": "adrenalmnist3d 28",
        "network": network[0],
        "seed": args.first,
        "epochs": args.epochs,
        "train_seconds": round(seconds, 1),
        "wanted": args.speedup,
        "speedup": round(speedup(times["full"], times["small"]).median, 3),
        "full_ms": round(1e3 * times["full"].seconds.median, 3),
        "ms": round(1e3 * times["small"].seconds.median, 3),
        "parameters_before": sum(p.numel() for p in net.parameters()),
        "parameters": sum(p.numel() for p in small.parameters()),
        "auc_before": round(before["value"], 4),
        "auc": round(after["value"], 4),
        "auc_low": round(after["low"], 4),
        "auc_high": round(after["high"], 4),
        "threads": torch.get_num_threads(),
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()))
    if not args.dry:
        record("factorize_scans", {**row, "command": command()})


if __name__ == "__main__":
    main()
