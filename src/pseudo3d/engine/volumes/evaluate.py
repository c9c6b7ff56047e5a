"""Score a network on labeled scans; masks are compared in the grid of their files."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pseudo3d.data.parting import units
from pseudo3d.data.scans.dataset import ScanDataset, ScanSpec, ScanStore, scan_loader
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest
from pseudo3d.data.scans.masks import read_mask
from pseudo3d.engine.volumes.predict import predict_scan
from pseudo3d.engine.volumes.ready import Mirrors, Ready, ready
from pseudo3d.engine.volumes.sliding import Sliding
from pseudo3d.engine.volumes.train import in_order, readable_scans
from pseudo3d.errors import ManifestError, Pseudo3dError, unknown
from pseudo3d.models.network import Network
from pseudo3d.scores.classify import Classification, ClassifyOptions, classification
from pseudo3d.scores.floors import Floor, foreground_of, majority_floor, size_features, size_floor
from pseudo3d.scores.predictions import Predictions
from pseudo3d.scores.regress import Regression, regression
from pseudo3d.scores.segment import CaseRow, MaskOptions, Segmentation, case_rows, segmentation

Progress = Callable[[int, int], None]
_log = logging.getLogger(__name__)
Scores = Classification | Regression | Segmentation


@dataclass(frozen=True, kw_only=True)
class VolumeProtocol:
    """How scans are looked at."""

    batch: int = 32
    mirrors: bool = False  # average over the mirror images that training drew
    sliding: Sliding = field(default_factory=Sliding)
    tolerance_mm: float = 1.0  # of surface Dice
    split: str = "all"  # name, for the record


@dataclass(frozen=True, kw_only=True)
class VolumeEvaluation:
    """Scores, what they were measured on, and how."""

    task: str
    protocol: str
    scores: Scores
    answers: Float[Tensor, "n k"] | None  # per scan: probabilities, or the number
    items: tuple[ScanItem, ...]
    missing: dict[str, str] = field(default_factory=dict)  # name -> why it is left out

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": self.task,
            "protocol": self.protocol,
            **self.scores.to_dict(),
            "missing": dict(self.missing),
        }

    def predictions(self, classes: tuple[str, ...], seed: int = 0) -> Predictions:
        """What was said about every scan, for a comparison with another network.

        Raises:
            Pseudo3dError: the task is no classification.
        """
        if self.task != "classify" or self.answers is None:
            raise Pseudo3dError(f"predictions are of classes; the task is {self.task}")
        return Predictions(
            classes=classes,
            scans=tuple(item.name for item in self.items),
            units=tuple(units(self.items)),
            labels=np.array([classes.index(item.label) for item in self.items]),
            seeds=(seed,),
            probs=self.answers.double().numpy()[None],
        )


def evaluate_volumes(
    model: Network | Ready | str | Path,
    manifest: ScanManifest,
    *,
    protocol: VolumeProtocol | None = None,
    store: ScanStore | None = None,
    learned: ScanManifest | None = None,
    progress: Progress | None = None,
) -> VolumeEvaluation:
    """Compare what the network says with what is known.

    Args:
        store: holds the prepared scans; made here if None.
        learned: the training part, which the floors (majority class, size features, mean value)
            are learned on; without it the size floor is left out.
    Raises:
        ManifestError: another task or other classes than the network's, or no scan can be read.
    """
    run = model if isinstance(model, Ready) else ready(model)
    how = protocol or VolumeProtocol()
    store = store or ScanStore(run.pre)
    check_part(run, manifest)
    if run.task == "segment":
        return _masks(run, manifest, store, how, progress)
    store.fill(manifest.items)
    part = readable_scans(manifest, store)
    views = run.mirrors() if how.mirrors else ((),)
    answers = _answers(run, part, store, how, views, progress)
    items = part.items
    whose = units(items)
    scores: Scores
    if run.task == "regress":
        truth = [item.value for item in items]
        mean = None if learned is None else learned.values
        scores = regression(answers[:, 0], truth, units=whose, learned=mean)
    else:
        floors = floors_of(part, learned, store)
        options = ClassifyOptions(floors=floors)
        scores = classification(answers, part.labels, run.classes, units=whose, options=options)
    listed = {item.name for item in manifest.items}  # the store knows the training part, too
    told = f"split {how.split}, {len(items)} scans, {len(views)} view{'s'[: len(views) > 1]} each"
    return VolumeEvaluation(
        task=run.task,
        protocol=told,
        scores=scores,
        answers=answers,
        items=items,
        missing={name: why for name, why in store.quarantined.items() if name in listed},
    )


def check_part(run: Ready, manifest: ScanManifest) -> None:
    """Refuse scans that are not for this network.

    Raises:
        ManifestError: another task or another class.
    """
    if manifest.task != run.task:
        raise ManifestError(
            f"the list is for {manifest.task!r}, the network was trained to {run.task!r}"
        )
    for label in sorted({item.label for item in manifest.items}):
        if run.task == "classify" and label not in run.classes:
            raise ManifestError(unknown("class of this network", label, run.classes))


def _answers(
    run: Ready,
    part: ScanManifest,
    store: ScanStore,
    how: VolumeProtocol,
    views: Mirrors,
    progress: Progress | None,
) -> Tensor:
    """Answers of every scan, in order."""
    data = ScanDataset(part, store, ScanSpec(canvas=run.pre.size))
    batches = in_order(len(data), how.batch)
    found = []
    for done, batch in enumerate(scan_loader(data, batches), start=1):
        found.append(run.answers(batch.clips, views))
        if progress is not None:
            progress(done, len(batches))
    return torch.cat(found)


def floors_of(
    part: ScanManifest, learned: ScanManifest | None, store: ScanStore
) -> tuple[Floor, ...]:
    """What needs no network: always the most frequent class, and the size of what is bright."""
    if learned is None:
        return (majority_floor(part.labels, part.classes),)
    found = [majority_floor(part.labels, part.classes, learned.labels)]
    store.fill(learned.items)  # `p3d train` left out what cannot be read, too
    try:
        seen = readable_scans(learned, store)
        known = (_sizes(seen, store), seen.labels)
        found.append(size_floor(known, (_sizes(part, store), part.labels)))
    except Pseudo3dError as err:
        _log.warning("the floor of sizes, learned on the training part, is left out: %s", err)
    except ImportError:  # scikit-learn is an extra; a floor less is said by its absence
        pass
    return tuple(found)


def _sizes(part: ScanManifest, store: ScanStore) -> Float[np.ndarray, "n f"]:
    spacing = store.preprocessing.spacing or (1.0, 1.0, 1.0)
    volumes = (store.read(item).volume[0].float().numpy() for item in part.items)
    return np.stack([size_features(foreground_of(v), spacing) for v in volumes])


def _masks(
    run: Ready,
    manifest: ScanManifest,
    store: ScanStore,
    how: VolumeProtocol,
    progress: Progress | None,
) -> VolumeEvaluation:
    """Masks of every scan against the true ones."""
    options = MaskOptions(names=run.classes[1:], tolerance_mm=how.tolerance_mm)
    rows: list[CaseRow] = []
    missing: dict[str, str] = {}
    for done, item in enumerate(manifest.items, start=1):
        try:
            found = predict_scan(run, store.scan(item), how=how.sliding)
            truth = read_mask(item.mask or item.path, found.scan)[0].numpy()
        except (Pseudo3dError, OSError) as err:
            missing[item.name] = str(err)
            continue
        finally:
            if progress is not None:
                progress(done, len(manifest.items))
        if found.mask is not None:
            scan = found.scan
            rows += case_rows(item.name, found.mask, truth, scan.spacing, options, scan.voxel_ml)
    if not rows:
        raise ManifestError(f"none of the {len(manifest.items)} scans can be read: {missing}")
    items = tuple(item for item in manifest.items if item.name not in missing)
    names = [item.name for item in items]
    told = (
        f"split {how.split}, {len(items)} scans, windows of {run.pre.size} voxels, "
        f"overlap {how.sliding.overlap:.0%}, compared in the files' own grids"
    )
    return VolumeEvaluation(
        task=run.task,
        protocol=told,
        scores=segmentation(rows, options, units=dict(zip(names, units(items), strict=True))),
        answers=None,
        items=items,
        missing=missing,
    )
