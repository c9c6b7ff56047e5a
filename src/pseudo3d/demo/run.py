"""The whole story in one run: films, a P3D network and its 2-D twin, scores, a new video, a page.

The films' classes come in pairs that only the order of frames tells apart, so the twin, which
averages over frames, can do no better than guess within a pair.
"""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.data.rendered.motions import CLASSES, render_long, render_motions
from pseudo3d.demo.page import Result, write_demo_page
from pseudo3d.engine.evaluate import Protocol, evaluate
from pseudo3d.engine.predict import predict
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe, recipe
from pseudo3d.engine.training.train import train
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.timecheck import timecheck
from pseudo3d.models import create_model
from pseudo3d.report.annotate import annotate
from pseudo3d.report.plots import timeline_png
from pseudo3d.weights import load

Bars = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
NETS = {"P3D": "p3d_nano", "2-D twin": "resnet_nano"}
_MARK = ".p3d-demo"  # in a folder whose films, runs and pages the next demo may replace


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of everything."""

    clips_per_class: int
    epochs: int
    views: int = 3
    size: int = 40
    frames: int = 12

    def recipe(self) -> Recipe:
        """The CPU recipe at the demo's scale."""
        base = recipe("cpu")
        shape = {
            "frames": self.frames,
            "resize": self.size * 9 // 8,
            "size": (self.size,) * 2,
            "color": "gray",  # what the people wear is not what they do
        }
        return base.but(epochs=self.epochs, lr=4e-3, input={**base.input, **shape})


FULL = Plan(clips_per_class=60, epochs=46)
QUICK = Plan(clips_per_class=30, epochs=30)


def run(
    out: Path,
    plan: Plan,
    seed: int,
    *,
    progress: Bars,
    bar: Callable[[str], Callback],
    say: Callable[[str], None],
) -> Path:
    """Make everything in `out` and return the page.

    Raises:
        Pseudo3dError: `out` holds something that no demo made.
    """
    _claim(out)
    with progress("rendering films") as tick:
        listed = render_motions(
            out / "motions", clips_per_class=plan.clips_per_class, seed=seed, progress=tick
        )
    manifest = read_manifest(listed)
    store = FrameStore(resize=plan.recipe().input["resize"], gray=True, folder=out / "frames")
    with progress("decoding") as tick:
        store.fill(manifest.items, tick)
    stage = _Stage(out=out, plan=plan, seed=seed, manifest=manifest, store=store)
    results = {title: stage.train(name, bar(f"training {title}")) for title, name in NETS.items()}
    for title, result in results.items():
        say(
            f"{title}: {result.order_only:.1%} on the order-only pairs, "
            f"{result.scores.hit(1):.1%} on all, trained in {result.seconds:.0f} s"
        )
    stage.film(results["P3D"])
    stage.save_scores(results)
    people = {part: len(manifest.split(part).groups) for part in ("train", "test")}
    return write_demo_page(out, results, len(manifest.split("train").items), people)


def _claim(out: Path) -> None:
    """Take a folder that is new, empty or a demo's: names such as runs/p3d_nano are anybody's."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not (out / _MARK).exists() and not _older_demo(out):
        raise Pseudo3dError(
            f"{out} holds files that no demo made, and the demo would replace some of them; give "
            "a new or empty folder with --out"
        )
    (out / _MARK).write_text("p3d demo replaces what an earlier one made in this folder.\n")


def _older_demo(out: Path) -> bool:
    """Whether a demo from before there was a mark has ended here: its scores name its networks."""
    try:
        scores = json.loads((out / "scores.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(scores, dict) and scores.keys() >= NETS.keys()


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What both networks share."""

    out: Path
    plan: Plan
    seed: int
    manifest: Manifest
    store: FrameStore

    def train(self, name: str, bar: Callback) -> Result:
        """Train one network and score it on the people held out."""
        folder = self.out / "runs" / name
        if folder.exists():  # left by an earlier demo
            shutil.rmtree(folder)
        test = self.manifest.split("test")
        parts = Parts(train=self.manifest.split("train"), held=test)
        torch.manual_seed(self.seed)
        net = create_model(name, num_classes=len(CLASSES), in_channels=1)
        job = Job(recipe=self.plan.recipe(), out=folder, seed=self.seed)
        began = time.perf_counter()
        weights = train(net, parts, self.store, job, [bar])
        seconds = time.perf_counter() - began
        protocol = Protocol(views=self.plan.views, split="test")
        scores = evaluate(load(weights), test, self.store, protocol)
        orders = timecheck(weights, test, self.store, replace(protocol, views=1), seed=self.seed)
        return Result(weights=weights, seconds=seconds, scores=scores, orders=orders)

    def film(self, result: Result) -> None:
        """Render a long video of somebody new, and say what the network sees in it."""
        video = self.out / "new_video.mp4"
        truth = render_long(video, seed=self.seed + 1)
        seen = predict(load(result.weights), video, windows=Windows(hop=0.2, views=4))
        say = (seen.times, seen.window_probs, seen.classes)
        title = "a new video of a person never seen in training"
        timeline_png(*say, self.out / "timeline.png", truth=truth, title=title)
        annotate(video, *say, self.out / "annotated.mp4")

    def save_scores(self, results: dict[str, Result]) -> None:
        """Everything that was measured, for machines."""
        rows: dict[str, Any] = {
            title: {
                "order_only": result.order_only,
                "training_seconds": round(result.seconds, 1),
                "timecheck": result.orders.to_dict(),
                **result.scores.to_dict(),
            }
            for title, result in results.items()
        }
        content = {"seed": self.seed, **vars(self.plan), **rows}
        (self.out / "scores.json").write_text(json.dumps(content, indent=2))
