"""Hippocampus of the Medical Segmentation Decathlon: two labels, five folds by patient.

    python benchmarks/hippocampus.py DATA [--folds 0 1 2 3 4] [--only p3d] [--keep KEPT]

DATA is the folder that holds hippocampus/ (260 crops of MRI, 1 mm). A tenth of each fold's training
part picks the epoch. Every fold becomes a row of results/hippocampus.csv: Dice, Hausdorff distance
(95 %, mm, median over scans) and surface Dice at 1 mm of each label, in the grid of the files.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest, read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
from pseudo3d.engine.volumes.recipes import volume_recipe
from pseudo3d.models.unet import plan_unet
from seeds import options, parse, runs, summary, trained

NETWORKS = {"p3d": "p3d_unet", "full": "p3d_unet_full"}
SIZE = (40, 56, 40)
FOLDS = 5
NAMES = ("anterior", "posterior")


def fold(manifest: ScanManifest, number: int) -> tuple[ScanManifest, ScanManifest, ScanManifest]:
    """Training, watched and test part; files are one patient each and sorted by number."""
    places = range(len(manifest.items))
    test = [i % FOLDS == number for i in places]
    rest = [i for i in places if not test[i]]
    watched = set(rest[::10])
    val = [i in watched for i in places]
    train = [not (a or b) for a, b in zip(test, val, strict=True)]
    return manifest.pick(train), manifest.pick(val), manifest.pick(test)


def main() -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)))
    parser.add_argument("--limit", type=int, help="only so many scans, for a trial")
    args = parse(parser)
    manifest = read_scans(args.data / "hippocampus")
    if args.limit:
        manifest = manifest.pick(i < args.limit for i in range(len(manifest.items)))
    manifest = replace(manifest, classes=("background", *NAMES))
    store = ScanStore(ScanPreprocessing(size=SIZE, view="patch", window="mri"))
    store.fill(manifest.items)
    recipe = volume_recipe("segment").but(epochs=args.epochs or 35)
    plan = {**plan_unet((1.0, 1.0, 1.0), SIZE), "num_classes": len(manifest.classes)}

    def one(key: Mapping[str, Any]) -> dict[str, Any]:
        train, val, test = fold(manifest, int(key["fold"]))
        network = (NETWORKS[str(key["network"])], plan)
        net, seconds = trained(network, (train, val), store, recipe, int(key["seed"]))
        found = evaluate_volumes(net, test, protocol=VolumeProtocol(split=f"fold {key['fold']}"))
        scores = found.scores.to_dict()
        row: dict[str, Any] = {"scans": len(test.items), "dice": round(scores["mean_dice"], 4)}
        for name in NAMES:
            for what in ("dice", "median_hd95_mm", "surface_dice"):
                value = scores["labels"][name][what]["value"]
                row[f"{name}_{what}"] = round(value, 4) if value is not None else ""
        if args.keep is not None:
            args.keep.mkdir(parents=True, exist_ok=True)
            stem = f"hippocampus-{key['network']}-{key['fold']}-{key['seed']}"
            (args.keep / f"{stem}.csv").write_text(found.scores.to_csv())
        parameters = sum(p.numel() for p in net.parameters())
        best = net.card.scores["best_epoch"]
        return {
            **row, "best_epoch": best, "parameters": parameters, "train_seconds": round(seconds, 1),
        }  # fmt: skip

    chosen = args.only or ["p3d"]
    keys = [
        {"network": name, "fold": number, "seed": seed, "epochs": recipe.epochs}
        for seed in range(args.first, args.first + args.seeds)
        for name in chosen
        for number in args.folds
    ]
    rows = runs("hippocampus", keys, one, args.dry)
    for score in (
        "dice",
        *(f"{name}_dice" for name in NAMES),
        *(f"{n}_median_hd95_mm" for n in NAMES),
    ):
        summary(rows, "network", score)


if __name__ == "__main__":
    main()
