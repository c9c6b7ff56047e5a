"""What `p3d evaluate` does when the data are scans."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pseudo3d.cli.cards import kept_scores
from pseudo3d.cli.common import note, progress_bar, say, say_json
from pseudo3d.cli.scans.among import part_of
from pseudo3d.cli.scans.predict import sliding
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.engine.volumes.evaluate import VolumeEvaluation
    from pseudo3d.runtime.lower import Precision


@dataclass(frozen=True, kw_only=True)
class ScanScoring:
    """The options of `p3d evaluate` that scans know."""

    split: str = "test"
    group: tuple[str, ...] = ()
    memory: str | None = None
    mirrors: bool = False
    predictions: Path | None = None  # CSV to write
    precision: "Precision | None" = None  # on the processor; None is fp32
    out: Path | None = None  # folder for the scores and the card


def evaluate_scans(
    weights: Path, data: Path, how: ScanScoring | None = None, *, json: bool = False
) -> "VolumeEvaluation":
    """Score a network on scans, beside what needs no network.

    Raises:
        Pseudo3dError: predictions are wanted of a network that knows no classes, or mirror images
            of one that makes masks.
    """
    from pseudo3d.data.scans.manifest import read_scans
    from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
    from pseudo3d.engine.volumes.ready import ready

    how = how or ScanScoring()
    run = ready(weights, precision=how.precision)
    if how.predictions is not None and run.task != "classify":
        raise Pseudo3dError(f"--predictions is for classes; the network was trained to {run.task}")
    if how.mirrors and run.task == "segment":
        raise Pseudo3dError("--mirrors is for classes and numbers, not for masks: leave it out")
    manifest = read_scans(data, run.classes)
    part, name = part_of(manifest, how.split, how.group)
    tested = how.split == "test" and "train" in manifest.splits
    learned = manifest.split("train") if tested else None
    protocol = VolumeProtocol(split=name, mirrors=how.mirrors, sliding=sliding(how.memory, None))
    kept = kept_scores(how.out, (part, data, name), weights=weights)
    with kept as keep, progress_bar("evaluating") as progress:
        found = evaluate_volumes(run, part, protocol=protocol, learned=learned, progress=progress)
        keep(found.to_dict())
    if how.predictions is not None:
        seed = run.net.card.training.get("seed", 0)
        keep_predictions(found, run.classes, seed, how.predictions)
    if json:
        say_json(found.to_dict())
    else:
        tell_scores(found)
    return found


def keep_predictions(
    found: "VolumeEvaluation", classes: tuple[str, ...], seed: int, path: Path
) -> None:
    """Write what was said about every scan, as `p3d compare` reads it."""
    from pseudo3d.report.files import save_bytes

    text = found.predictions(classes, seed).to_csv()
    note(f"predictions: {save_bytes(path, text.encode())}")


def tell_scores(found: "VolumeEvaluation") -> None:
    """Print the scores, how they were measured, and what is missing from them."""
    from pseudo3d.scores.segment import Segmentation

    if isinstance(found.scores, Segmentation):
        for label in found.scores.labels:
            say(f"dice {label.label}\t{label.dice}")
            say(f"surface_dice {label.label}\t{label.surface_dice}")
            say(f"median hd95_mm {label.label}\t{label.hd95_mm}")
        say(f"scored\t{found.scores.describe()}")
    else:
        for name, text in found.scores.rows():
            say(f"{name}\t{text}")
    say(f"protocol\t{found.protocol}")
    for path, why in found.missing.items():
        say(f"missing\t{path}\t{why}")
