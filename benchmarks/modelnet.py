"""ModelNet10 as 32^3 voxels: ten classes of furniture, the official split.

    python benchmarks/modelnet.py DATA [--seeds 3] [--only p3d]

DATA is the folder that holds modelnet10_vox32.npz. The set has no validation part, so the last
epoch is taken. Network, augmentation and the number of passes were chosen on 15 % of the training
part. Every seed becomes a row of results/modelnet.csv. VoxNet's paper reports 92 %; `--only voxnet`
trains VoxNet itself on these voxels by the same recipe, at a third of the learning rate, for it has
no batch norm.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pseudo3d.data.scans.dataset import ScanStore, measure
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.augment import VolumeAugment
from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
from pseudo3d.engine.volumes.recipes import volume_recipe
from seeds import options, parse, runs, summary, trained
from voxnet import VoxNet

# Wider than `p3d_volume` is for small sets, and halved at once: furniture has no fine grain.
WIDER = {
    "widths": (32, 64, 128),
    "depths": (1, 2, 2),
    "stem_width": 32,
    "stem_kernel": (3, 5, 5),
    "stem_stride": (2, 2, 2),
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "p3d": ("p3d_volume", {"mixes": ("A", "B", "C"), **WIDER}),
    "full": ("p3d_volume_full", WIDER),
    VoxNet.name: (VoxNet.name, {}),
}
# The last axis points up and is never reversed; the models all face the same way.
AUGMENT = VolumeAugment(
    rotate=6,
    tilt=3,
    zoom=(0.87, 1.13),
    stretch=0.12,
    shift=0.08,
    flip_height=True,
    flip_depth=True,
)


def main() -> None:
    args = parse(options(__doc__, seeds=3))
    manifest = read_scans(args.data / "modelnet10_vox32.npz")
    train, test = manifest.split("train"), manifest.split("test")
    store = ScanStore(ScanPreprocessing(size=(32, 32, 32)))
    store.fill(manifest.items)
    mean, std = measure(train.items, store)
    store = replace(store, preprocessing=replace(store.preprocessing, mean=mean, std=std))
    recipe = volume_recipe("volume").but(epochs=args.epochs or 60, augment=AUGMENT)

    def one(key: Mapping[str, Any]) -> dict[str, Any]:
        name, own = NETWORKS[str(key["network"])]
        how = recipe.but(lr=1e-3) if name == VoxNet.name else recipe
        network = (name, {"num_classes": len(manifest.classes), **own})
        net, seconds = trained(network, (train, None), store, how, int(key["seed"]))
        found = {}
        for mirrors in (False, True):
            protocol = VolumeProtocol(split="test", mirrors=mirrors)
            scores = evaluate_volumes(net, test, protocol=protocol, store=store).scores.to_dict()
            found[mirrors] = scores["scores"]["accuracy"]
        return {
            "accuracy": round(found[False]["value"], 4),
            "low": round(found[False]["low"], 4),
            "high": round(found[False]["high"], 4),
            "accuracy_4_views": round(found[True]["value"], 4),
            "parameters": sum(p.numel() for p in net.parameters()),
            "train_seconds": round(seconds, 1),
        }

    chosen = args.only or ["p3d"]
    keys = [
        {"network": name, "seed": seed, "epochs": recipe.epochs}
        for seed in range(args.first, args.first + args.seeds)
        for name in chosen
    ]
    rows = runs("modelnet", keys, one, args.dry)
    summary(rows, "network", "accuracy")
    summary(rows, "network", "accuracy_4_views")


if __name__ == "__main__":
    main()
