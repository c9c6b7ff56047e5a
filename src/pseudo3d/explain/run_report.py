"""The page of a training run: what was trained, how it went, scores, whether it uses time."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.engine.evaluate import Evaluation, Progress, Protocol, evaluate
from pseudo3d.engine.train import RUN, WEIGHTS
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.timecheck import section, timecheck
from pseudo3d.models import Network
from pseudo3d.report.curves import curves_png, read_metrics
from pseudo3d.report.html import Media, Section, Table, write_page
from pseudo3d.report.plots import confusion_png
from pseudo3d.weights import load

PAGE = "report.html"
_ORDERS = Protocol(views=1)  # seven times the videos are looked at, so once each


def run_report(
    run: str | Path,
    store: FrameStore | None = None,
    *,
    views: int = 5,
    progress: Callable[[str], Progress] | None = None,
) -> Path:
    """Write RUN/report.html, which opens offline, beside the pictures it shows.

    Scored is the part that the run has left alone (test), or the one it has watched (val).

    Args:
        run: folder of a finished training.
        store: frames at the run's scale; None reads the files.
        views: clips per video for the scores.
        progress: makes the progress of a stage from its name.
    Raises:
        Pseudo3dError: not the folder of a finished run.
    """
    run = Path(run)
    if not (run / WEIGHTS).exists() or not (run / RUN).exists():
        raise Pseudo3dError(f"{run} is not the folder of a finished run; wanted {WEIGHTS}, {RUN}")
    net = load(run / WEIGHTS)
    manifest = read_manifest(run / "manifest.csv", net.card.classes)
    sections = [_trained(net, json.loads((run / RUN).read_text()), manifest)]
    if (figures := run / "metrics.csv").exists() and (curves := read_metrics(figures)):
        picture = curves_png(curves, run / "curves.png")
        sections.append(Section(title="How it went", media=[Media(picture, "Over the steps.")]))
    part = next((name for name in ("test", "val") if name in manifest.splits), None)
    if part is not None:
        tick = progress or (lambda stage: lambda done, total: None)
        seen = manifest.split(part)
        protocol = Protocol(views=views, split=part)
        sections.append(
            _scored(run, evaluate(run / WEIGHTS, seen, store, protocol, tick("evaluating")))
        )
        if net.card.preprocessing.frames > 1:
            looked = replace(_ORDERS, split=part)
            orders = timecheck(
                run / WEIGHTS, seen, store, looked, progress=tick("other orders of frames")
            )
            sections.append(section(orders, run / "timecheck.png"))
    sections.append(Section(title="Go on", code=_commands(run, part)))
    return write_page(run / PAGE, f"{net.name}: {len(net.card.classes)} classes", sections)


def _trained(net: Network, plan: dict[str, Any], manifest: Manifest) -> Section:
    pre, recipe, done = net.card.preprocessing, plan["recipe"], net.card.training
    size = "x".join(map(str, (pre.frames, *pre.size)))
    splits = {name: len(manifest.split(name).items) for name in manifest.splits}
    rows: list[list[str | int | float]] = [
        ["network", net.name],
        ["parameters", f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} million"],
        ["clip", f"{size}, {pre.color}, {pre.sampling}"],
        ["videos", ", ".join(f"{count} {name}" for name, count in splits.items())],
        ["steps", f"{done['steps']} of {recipe['batch'] * recipe['accumulate']} clips"],
        ["optimizer", f"{recipe['optimizer']}, learning rate {recipe['lr']:g}"],
        ["seed", str(plan["seed"])],
    ]
    if left := done["quarantined"]:
        rows.append(["unreadable, left out", ", ".join(left)])
    return Section(title="What was trained", tables=[Table(["", ""], rows)])


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


def _commands(run: Path, part: str | None) -> str:
    weights, listed = run / WEIGHTS, run / "manifest.csv"
    lines = [f"p3d predict {weights} new.mp4 --timeline timeline.png"]
    if part is not None:
        lines.append(f"p3d evaluate {weights} {listed} --split {part}")
        lines.append(f"p3d timecheck {weights} {listed} --split {part} --views 5")
    return "\n".join(lines)
