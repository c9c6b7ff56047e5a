"""The page of a training run: what was trained, how it went, scores, whether it uses time."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanManifest, read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.evaluate import Evaluation, Progress, Protocol, evaluate
from pseudo3d.engine.training.train import RUN, WEIGHTS
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.scan_report import scan_sections
from pseudo3d.explain.timecheck import section, timecheck
from pseudo3d.models import Network
from pseudo3d.report.curves import curves_png, read_metrics
from pseudo3d.report.html import Media, Section, Table, write_page
from pseudo3d.report.plots import confusion_png
from pseudo3d.report.view import RESEARCH
from pseudo3d.weights import load

PAGE = "report.html"
_ORDERS = Protocol(views=1)  # seven times the videos are looked at, so once each
Stages = Callable[[str], Progress]  # makes the progress of a stage from its name


def run_report(
    run: str | Path,
    store: FrameStore | ScanStore | None = None,
    *,
    views: int = 5,
    progress: Stages | None = None,
) -> Path:
    """Write RUN/report.html, which opens offline, beside the pictures it shows.

    Scored is the part that the run has left alone (test), or the one it has watched (val).

    Args:
        run: folder of a finished training, on videos or on scans.
        store: frames at the run's scale, or its prepared scans; None reads the files.
        views: clips per video for the scores.
        progress: makes the progress of a stage from its name.
    Raises:
        Pseudo3dError: not the folder of a finished run.
    """
    run = Path(run)
    if not (run / WEIGHTS).exists() or not (run / RUN).exists():
        raise Pseudo3dError(f"{run} is not the folder of a finished run; wanted {WEIGHTS}, {RUN}")
    net, tick = load(run / WEIGHTS), progress or _silent
    scans = isinstance(net.card.preprocessing, ScanPreprocessing)
    manifest = (read_scans if scans else read_manifest)(run / "manifest.csv", net.card.classes)
    sections = [_trained(net, json.loads((run / RUN).read_text()), manifest)]
    if (figures := run / "metrics.csv").exists() and (curves := read_metrics(figures)):
        picture = curves_png(curves, run / "curves.png")
        sections.append(Section(title="How it went", media=[Media(picture, "Over the steps.")]))
    part = next((name for name in ("test", "val") if name in manifest.splits), None)
    if part is not None and isinstance(manifest, ScanManifest):
        held = store if isinstance(store, ScanStore) else None
        sections += scan_sections(run, net, manifest, part, held, tick)
    elif part is not None:
        frames = store if isinstance(store, FrameStore) else None
        protocol = Protocol(views=views, split=part)
        sections += _video_sections(run, manifest.split(part), protocol, frames, tick)
    sections.append(Section(title="Go on", code=_commands(run, part, net)))
    footer = RESEARCH if scans else ""
    return write_page(run / PAGE, f"{net.name}: {_goal(net)}", sections, footer=footer)


def _silent(stage: str) -> Progress:
    return lambda done, total: None


def _goal(net: Network) -> str:
    task = net.card.training.get("task", "classify")
    told = {"regress": "a number", "segment": f"masks of {len(net.card.classes) - 1} labels"}
    return told.get(task, f"{len(net.card.classes)} classes")


def _video_sections(
    run: Path, seen: Manifest, protocol: Protocol, store: FrameStore | None, tick: Stages
) -> list[Section]:
    """Scores, and whether the order of frames is used."""
    weights = run / WEIGHTS
    found = [_scored(run, evaluate(weights, seen, store, protocol, tick("evaluating")))]
    if load(weights).card.preprocessing.frames > 1:
        looked = replace(_ORDERS, split=protocol.split)
        orders = timecheck(weights, seen, store, looked, progress=tick("other orders of frames"))
        found.append(section(orders, run / "timecheck.png"))
    return found


def _trained(net: Network, plan: dict[str, Any], manifest: Manifest) -> Section:
    pre, recipe, done = net.card.preprocessing, plan["recipe"], net.card.training
    splits = {name: len(manifest.split(name).items) for name in manifest.splits}
    unit = "scan" if isinstance(pre, ScanPreprocessing) else "clip"
    rows: list[list[str | int | float]] = [
        ["network", net.name],
        ["parameters", f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} million"],
        [unit, _input(pre)],
        [
            "scans" if unit == "scan" else "videos",
            ", ".join(f"{count} {name}" for name, count in splits.items()),
        ],
        ["steps", f"{done['steps']} of {recipe['batch'] * recipe['accumulate']} {unit}s"],
        ["optimizer", f"{recipe['optimizer']}, learning rate {recipe['lr']:g}"],
        ["seed", str(plan["seed"])],
    ]
    if "best_epoch" in net.card.scores:
        rows.append(["epoch kept", str(int(net.card.scores["best_epoch"]) + 1)])
    if left := done["quarantined"]:
        rows.append(["unreadable, left out", ", ".join(left)])
    return Section(title="What was trained", tables=[Table(["", ""], rows)])


def _input(pre: Any) -> str:
    """What the network sees at once."""
    if not isinstance(pre, ScanPreprocessing):
        return f"{'x'.join(map(str, (pre.frames, *pre.size)))}, {pre.color}, {pre.sampling}"
    text = f"{'x'.join(map(str, pre.size))} voxels"
    if pre.spacing is not None:
        text += f" of {' x '.join(f'{mm:g}' for mm in pre.spacing)} mm"
    edges = pre.window
    window = edges if isinstance(edges, str) else f"{edges[0]:g} to {edges[1]:g} HU"
    return f"{text}, window {window}"


def _scored(run: Path, found: Evaluation) -> Section:
    title = f"{found.hit(1):.1%} of {len(found.paths)} videos"
    matrix = confusion_png(found.confusion().numpy(), found.classes, run / "confusion.png", title)
    missing = [[str(path), why] for path, why in found.missing.items()]
    return Section(
        title="What it scores",
        text=f"Protocol: {found.describe()}.",
        cards=[
            (f"{found.hit(1):.1%}", "videos, first answer right"),
            *([(f"{found.hit(5):.1%}", "among the first five")] if len(found.classes) > 5 else []),
            (f"{found.clip_hit1:.1%}", "single clips"),
        ],
        media=[Media(matrix, "What was taken for what.")],
        tables=[Table(["left out", "why"], missing)] if missing else [],
    )


def _commands(run: Path, part: str | None, net: Network) -> str:
    weights, listed = run / WEIGHTS, run / "manifest.csv"
    scans = isinstance(net.card.preprocessing, ScanPreprocessing)
    lines = [f"p3d predict {weights} new.mp4 --timeline timeline.png"]
    if scans:
        lines = [f"p3d predict {weights} new.nii.gz --out seen"]
    if part is not None:
        lines.append(f"p3d evaluate {weights} {listed} --split {part}")
    if part is not None and net.card.training.get("task", "classify") == "classify":
        views = "" if scans else " --views 5"
        lines.append(f"p3d timecheck {weights} {listed} --split {part}{views}")
    return "\n".join(lines)
