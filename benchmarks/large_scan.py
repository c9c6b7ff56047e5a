"""A scan of 512 x 512 x 400 voxels is segmented within a stated amount of memory.

    python benchmarks/large_scan.py [--memory 2GB] [--overlap 0.25] [--size 400 512 512]

The scan is made up; the network is a fresh U-Net, for what it says costs the same as what a trained
one says. The peak is that of the whole process, as the system counts it; the row in
results/large_scan.csv also says what the process took before the scan was there.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from pseudo3d.cli.common import progress_bar
from pseudo3d.cli.scans.predict import sliding
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.scans.scan import Scan, scan_of
from pseudo3d.engine.volumes.module import Goal
from pseudo3d.engine.volumes.predict import predict_scan
from pseudo3d.engine.volumes.ready import Ready
from pseudo3d.models import create_model
from pseudo3d.runtime.process import keep_memory
from record import record

WINDOW = (32, 128, 128)


def peak() -> float:
    """The most memory this process has held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made(size: tuple[int, int, int]) -> Scan:
    """A CT of smooth noise, slice by slice so that nothing large is made on the way."""
    array = torch.empty(1, *size, dtype=torch.int16)
    rng = torch.Generator().manual_seed(0)
    for plane in array[0]:
        plane.copy_((torch.randn(size[1:], generator=rng) * 200).clamp(-1000, 1000))
    affine = np.diag([1.5, 0.7, 0.7, 1.0])
    return scan_of(array, affine, source=Path("made.nii"), kind="nifti", units="HU")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", default="2GB", help="default 2GB")
    parser.add_argument("--overlap", type=float, default=0.25, help="of windows, default 0.25")
    parser.add_argument("--size", type=int, nargs=3, default=[400, 512, 512])
    parser.add_argument("--dry", action="store_true", help="keep no row in results/")
    args = parser.parse_args()
    keep_memory()
    net = create_model("p3d_unet", num_classes=3, widths=(8, 16, 32), depths=(1, 1, 1),
                       strides=((1, 2, 2), (2, 2, 2))).eval()  # fmt: skip
    goal = Goal(task="segment", classes=("background", "1", "2"))
    pre = ScanPreprocessing(size=WINDOW, view="patch", window="abdomen")
    before = peak()
    depth, height, width = args.size
    scan, began = made((depth, height, width)), time.perf_counter()
    with progress_bar("segmenting") as progress:
        predict_scan(
            Ready(net=net, pre=pre, goal=goal), scan, how=sliding(args.memory, args.overlap),
            progress=progress,
        )  # fmt: skip
    row = {
        "size": "x".join(map(str, args.size)),
        "window": "x".join(map(str, WINDOW)),
        "overlap": args.overlap,
        "allowed": args.memory,
        "before_mib": round(before),
        "peak_mib": round(peak()),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print("  ".join(f"{k} {v}" for k, v in row.items()))
    if not args.dry:
        record("large_scan", row)


if __name__ == "__main__":
    main()
