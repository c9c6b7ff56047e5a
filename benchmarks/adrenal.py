"""AdrenalMNIST3D by its published protocol: validation picks the epoch, the test part is seen once.

    python benchmarks/adrenal.py DATA [--size 64] [--seeds 10] [--only p3d] [--keep KEPT]

DATA is the folder that holds adrenalmnist3d.npz. Three networks are trained by the same recipe:
`p3d`, its twin that sees slices one by one (`slices`) and the one with full 3 x 3 x 3 kernels
(`full`). Every seed becomes a row of results/adrenal.csv; a call that was stopped goes on. `--keep`
also writes what was said about each scan, as `pseudo3d.scores.compare` takes it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pseudo3d.data.scans.dataset import ScanStore, measure
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
from pseudo3d.engine.volumes.recipes import volume_recipe
from pseudo3d.weights import save
from seeds import options, parse, runs, summary, trained

FILES = {28: "adrenalmnist3d.npz", 64: "adrenalmnist3d_64.npz"}
NETWORKS = {
    28: {"p3d": "p3d_volume", "slices": "p3d_volume_slices", "full": "p3d_volume_full"},
    64: {"p3d": "p3d_volume64", "slices": "p3d_volume64_slices", "full": "p3d_volume64_full"},
}
EPOCHS = {28: 30, 64: 12}  # what fits five minutes on two cores


def opened(path: Path, size: int) -> ScanStore:
    """All volumes in memory, with the statistics of the training part."""
    manifest = read_scans(path)
    store = ScanStore(ScanPreprocessing(size=(size, size, size)))
    store.fill(manifest.items)
    mean, std = measure(manifest.split("train").items, store)
    return replace(store, preprocessing=replace(store.preprocessing, mean=mean, std=std))


def main() -> None:
    parser = options(__doc__, seeds=10)
    parser.add_argument("--size", type=int, choices=FILES, default=28, help="voxels a side")
    parser.add_argument("--mirrors", action="store_true", help="test on all eight mirror images")
    args = parse(parser)
    path, names = args.data / FILES[args.size], NETWORKS[args.size]
    manifest, store = read_scans(path), opened(path, args.size)
    train, val, test = (manifest.split(name) for name in ("train", "val", "test"))
    recipe = volume_recipe("volume").but(epochs=args.epochs or EPOCHS[args.size])

    def one(key: Mapping[str, Any]) -> dict[str, Any]:
        seed = int(key["seed"])
        network = (names[str(key["network"])], {"num_classes": 2})
        net, seconds = trained(network, (train, val), store, recipe, seed)
        protocol = VolumeProtocol(split="test", mirrors=args.mirrors)
        found = evaluate_volumes(net, test, protocol=protocol, store=store, learned=train)
        scores = found.scores.to_dict()
        floors = {floor["name"]: floor for floor in scores["floors"]}
        auc, accuracy = scores["scores"]["auc"], scores["scores"]["accuracy"]
        if args.keep is not None:
            args.keep.mkdir(parents=True, exist_ok=True)
            stem = f"adrenal{args.size}-{key['network']}-{seed}"
            text = found.predictions(net.card.classes, seed).to_csv()
            (args.keep / f"{stem}.csv").write_text(text)
            card = net.card
            save(
                net,
                args.keep / f"{stem}.safetensors",
                classes=card.classes,
                preprocessing=card.preprocessing,
                training=card.training,
                scores={**card.scores, "test_auc": auc["value"]},
            )
        return {
            "auc": round(auc["value"], 4),
            "auc_low": round(auc["low"], 4),
            "auc_high": round(auc["high"], 4),
            "accuracy": round(accuracy["value"], 4),
            "val_auc": round(net.card.scores["val_auc"], 4),
            "best_epoch": net.card.scores["best_epoch"],
            "floor_size_auc": round(floors.get("size features", {"auc": float("nan")})["auc"], 4),
            "floor_majority_accuracy": round(floors["majority class"]["accuracy"], 4),
            "parameters": sum(p.numel() for p in net.parameters()),
            "train_seconds": round(seconds, 1),
        }

    chosen = [name for name in names if args.only is None or name in args.only]
    keys = [
        {
            "size": args.size,
            "network": name,
            "seed": seed,
            "epochs": recipe.epochs,
            "views": 8 if args.mirrors else 1,
        }
        for seed in range(args.first, args.first + args.seeds)
        for name in chosen
    ]
    rows = runs("adrenal", keys, one, args.dry)
    summary(rows, "network", "auc")
    summary(rows, "network", "accuracy")


if __name__ == "__main__":
    main()
