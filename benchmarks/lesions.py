"""Made lesions that no single slice shows, found by three networks: sensitivity at false alarms.

    python benchmarks/lesions.py DATA [--seeds 3] [--only p3d slices full]

DATA is the folder that holds hippocampus/, whose crops are the backgrounds. The set is made anew in
a temporary folder; 65 % of the people train, 10 % pick the epoch, 25 % are the test part. Every run
becomes a row of results/lesions.csv: the share of the lesions found at 1 (and at 1/4, 4) false
alarms per scan, with its bootstrap interval. `slices` is the twin that sees slices one by one.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.lesions import LesionSpec, make_lesion_set
from pseudo3d.data.scans.manifest import ScanManifest, read_scans
from pseudo3d.data.scans.masks import read_mask
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.augment import VolumeAugment
from pseudo3d.engine.volumes.predict import predict_scan
from pseudo3d.engine.volumes.ready import ready
from pseudo3d.engine.volumes.recipes import volume_recipe
from pseudo3d.models.network import Network
from pseudo3d.scores.froc import Froc, froc, hits, lesions_of, peaks
from seeds import options, parse, runs, summary, trained

STRIDES = ((1, 2, 2), (2, 2, 2))
FLAT = ((1, 2, 2), (1, 2, 2))
WIDTHS = {"widths": (16, 32, 64), "depths": (1, 1, 1), "num_classes": 2}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "p3d": ("p3d_unet", {**WIDTHS, "strides": STRIDES}),
    "slices": ("p3d_unet_slices", {**WIDTHS, "strides": FLAT}),
    "full": ("p3d_unet_full", {**WIDTHS, "strides": STRIDES}),
}
SIZE = (32, 40, 32)
APART = 4.0  # mm between two candidates
REACH = 2.0  # mm that a candidate may lie beside a lesion
RATES = (0.25, 1.0, 4.0)


def found_by(net: Network, test: ScanManifest) -> Froc:
    """Candidates of every test scan against its lesions."""
    run, seen = ready(net), []
    for item in test.items:
        found = predict_scan(run, item.path)
        truth, _ = lesions_of(read_mask(item.mask or item.path)[0].numpy())
        spacing = found.scan.spacing
        candidates = peaks(found.heat, spacing, radius=APART)
        seen.append(hits(candidates, truth, spacing, REACH))
    return froc(seen, rates=RATES)


def main() -> None:
    parser = options(__doc__, seeds=3)
    parser.add_argument("--limit", type=int, help="only so many backgrounds, for a trial")
    args = parse(parser)
    images = sorted((args.data / "hippocampus" / "images").glob("*.nii*"))
    # mirrored only: turning would smooth the noise, which is all there is to see
    mirrored = VolumeAugment(flip=True, flip_height=True, flip_depth=True)
    recipe = volume_recipe("lesions").but(
        epochs=args.epochs or 25, augment=mirrored, margin=1.0, lr=5e-3
    )
    with tempfile.TemporaryDirectory() as folder:
        made = make_lesion_set(images[: args.limit], Path(folder) / "set", LesionSpec())
        manifest = read_scans(made)
        train, val, test = (manifest.split(name) for name in ("train", "val", "test"))
        store = ScanStore(ScanPreprocessing(size=SIZE, view="patch", window="none"))
        store.fill(manifest.items)

        def one(key: Mapping[str, Any]) -> dict[str, Any]:
            seed = int(key["seed"])
            net, seconds = trained(NETWORKS[str(key["network"])], (train, val), store, recipe, seed)
            scores = found_by(net, test)
            at = scores.at[1.0]
            return {
                "scans": scores.scans,
                "lesions": scores.lesions,
                "sensitivity_at_1": round(at.value, 4),
                "low": round(at.low, 4),
                "high": round(at.high, 4),
                "sensitivity_at_0.25": round(scores.at[0.25].value, 4),
                "sensitivity_at_4": round(scores.at[4.0].value, 4),
                "val_dice": round(net.card.scores["val_dice"], 4),
                "parameters": sum(p.numel() for p in net.parameters()),
                "train_seconds": round(seconds, 1),
            }

        chosen = [name for name in NETWORKS if args.only is None or name in args.only]
        keys = [
            {"network": name, "seed": seed, "epochs": recipe.epochs}
            for seed in range(args.first, args.first + args.seeds)
            for name in chosen
        ]
        summary(runs("lesions", keys, one, args.dry), "network", "sensitivity_at_1")


if __name__ == "__main__":
    main()
