"""The part of a training run's page that says what it scores on scans."""

from collections.abc import Callable
from pathlib import Path

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest
from pseudo3d.engine.evaluate import Progress, Protocol
from pseudo3d.engine.volumes.evaluate import VolumeEvaluation, VolumeProtocol, evaluate_volumes
from pseudo3d.engine.volumes.ready import ready
from pseudo3d.explain.timecheck import section, timecheck_scans
from pseudo3d.models.network import Network
from pseudo3d.report.html import Media, Section, Table
from pseudo3d.report.plots import confusion_png
from pseudo3d.scores.classify import Classification
from pseudo3d.scores.regress import Regression

_SHOWN = ("auc", "accuracy", "mae", "r2")  # as big figures


def scan_sections(
    run: Path,
    net: Network,
    manifest: ScanManifest,
    part: str,
    store: ScanStore | None,
    tick: Callable[[str], Progress],
) -> list[Section]:
    """Scores beside their floors, and of a classifier whether the order of slices is used."""
    network, seen = ready(net), manifest.split(part)
    learned = manifest.split("train") if "train" in manifest.splits else None
    found = evaluate_volumes(
        network,
        seen,
        protocol=VolumeProtocol(split=part),
        store=store,
        learned=learned,
        progress=tick("evaluating"),
    )
    sections = [_scored(run, found)]
    if network.task == "classify" and network.pre.size[0] > 1:
        stage = tick("other orders of slices")
        orders = timecheck_scans(network, seen, store, Protocol(split=part), progress=stage)
        sections.append(section(orders, run / "timecheck.png"))
    return sections


def _scored(run: Path, found: VolumeEvaluation) -> Section:
    scores = found.scores
    media: list[Media] = []
    if isinstance(scores, Classification | Regression):
        cards = [(f"{s.value:.3g}", k) for k, s in scores.scores.items() if k in _SHOWN]
        rows = [list(row) for row in scores.rows()]
    else:
        cards = [(f"{label.dice.value:.3f}", f"Dice of {label.label}") for label in scores.labels]
        rows = [
            [f"{name} of {label.label}", str(value)]
            for label in scores.labels
            for name, value in (
                ("Dice", label.dice),
                ("surface Dice", label.surface_dice),
                ("median HD95, mm", label.hd95_mm),
            )
        ]
    if isinstance(scores, Classification):
        title = scores.describe()
        matrix = confusion_png(scores.confusion, scores.classes, run / "confusion.png", title)
        media = [Media(matrix, "What was taken for what.")]
    tables = [Table(["score", "value and 95 % interval"], rows)]
    if found.missing:
        left = [[str(path), why] for path, why in found.missing.items()]
        tables.append(Table(["left out", "why"], left))
    return Section(
        title="What it scores",
        text=f"Protocol: {found.protocol}.",
        cards=cards,
        media=media,
        tables=tables,
    )
