"""The whole story in one run: films, a P3D network and its 2-D twin, scores, a new video, a page.

The films' classes come in pairs that only the order of frames tells apart, so the twin, which
averages over frames, can do no better than guess within a pair.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.data.motions import CLASSES, ORDER_PAIRS, render_long, render_motions
from pseudo3d.engine.evaluate import Evaluation, Protocol, evaluate
from pseudo3d.engine.predict import Prediction, predict
from pseudo3d.engine.recipes import Recipe, recipe
from pseudo3d.engine.train import Job, Parts, train
from pseudo3d.engine.windows import Windows
from pseudo3d.models import create_model
from pseudo3d.report.annotate import annotate
from pseudo3d.report.html import Media, Section, Table, write_page
from pseudo3d.report.plots import bars_png, confusion_png, timeline_png
from pseudo3d.weights import load

Bars = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
NETS = {"P3D": "p3d_nano", "2-D twin": "resnet_nano"}


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


@dataclass(frozen=True, kw_only=True)
class Result:
    """One trained network and what it scored on people it has not seen."""

    weights: Path
    seconds: float
    scores: Evaluation

    def pair(self, pair: Sequence[str]) -> float:
        """Share of right answers on the videos of one pair of classes."""
        return self.among(pair)

    def among(self, classes: Sequence[str]) -> float:
        """Share of right answers on the videos of some classes."""
        known = self.scores.classes
        chosen = torch.isin(
            self.scores.labels, torch.tensor([known.index(name) for name in classes])
        )
        right = self.scores.probs.argmax(1) == self.scores.labels
        return float(right[chosen].float().mean())

    @property
    def order_only(self) -> float:
        """Share of right answers on all classes that only time order separates."""
        return self.among([name for pair in ORDER_PAIRS for name in pair])


def run(
    out: Path,
    plan: Plan,
    seed: int,
    *,
    progress: Bars,
    bar: Callable[[str], Callback],
    say: Callable[[str], None],
) -> Path:
    """Make everything in `out` and return the page."""
    out.mkdir(parents=True, exist_ok=True)
    with progress("rendering films") as tick:
        listed = render_motions(
            out / "motions", clips_per_class=plan.clips_per_class, seed=seed, progress=tick
        )
    manifest = read_manifest(listed)
    store = FrameStore(resize=plan.recipe().input["resize"], gray=True, folder=out / "frames")
    with progress("decoding") as tick:
        store.fill(manifest.items, tick)
    results = {
        title: _train_one(title, name, manifest, store, plan, out, seed, bar)
        for title, name in NETS.items()
    }
    for title, result in results.items():
        say(
            f"{title}: {result.order_only:.1%} on the order-only pairs, "
            f"{result.scores.hit(1):.1%} on all, trained in {result.seconds:.0f} s"
        )
    film = out / "new_video.mp4"
    truth = render_long(film, seed=seed + 1)
    net = load(results["P3D"].weights)
    seen = predict(net, film, windows=Windows(hop=0.2, views=4))
    timeline_png(
        seen.times,
        seen.window_probs,
        seen.classes,
        out / "timeline.png",
        truth=truth,
        title="a new video of a person never seen in training",
    )
    annotate(film, seen.times, seen.window_probs, seen.classes, out / "annotated.mp4")
    _save_scores(out, results, plan, seed)
    return _page(out, plan, manifest, results, seen)


def _train_one(
    title: str,
    name: str,
    manifest: Manifest,
    store: FrameStore,
    plan: Plan,
    out: Path,
    seed: int,
    bar: Callable[[str], Callback],
) -> Result:
    folder = out / "runs" / name
    if folder.exists():  # left by an earlier demo
        shutil.rmtree(folder)
    parts = Parts(train=manifest.split("train"), held=manifest.split("test"))
    torch.manual_seed(seed)
    net = create_model(name, num_classes=len(CLASSES), in_channels=1)
    job = Job(recipe=plan.recipe(), out=folder, seed=seed)
    began = time.perf_counter()
    weights = train(net, parts, store, job, [bar(f"training {title}")])
    seconds = time.perf_counter() - began
    protocol = Protocol(views=plan.views, split="test")
    scores = evaluate(load(weights), manifest.split("test"), store, protocol)
    return Result(weights=weights, seconds=seconds, scores=scores)


def _save_scores(out: Path, results: dict[str, Result], plan: Plan, seed: int) -> None:
    rows: dict[str, Any] = {
        title: {
            "order_only": result.order_only,
            "training_seconds": round(result.seconds, 1),
            **result.scores.to_dict(),
        }
        for title, result in results.items()
    }
    (out / "scores.json").write_text(json.dumps({"seed": seed, **vars(plan), **rows}, indent=2))


def _page(
    out: Path, plan: Plan, manifest: Manifest, results: dict[str, Result], seen: Prediction
) -> Path:
    groups = [*ORDER_PAIRS, ("wave", "clap")]
    groups = [g for g in groups if all(name in CLASSES for name in g)]
    names = [" / ".join(group) for group in groups]
    bars_png(
        names,
        {title: [r.pair(g) for g in groups] for title, r in results.items()},
        out / "pairs.png",
        chance=0.5,
        title="right answers on people not seen in training",
    )
    p3d, twin = results["P3D"], results["2-D twin"]
    confusion_png(p3d.scores.confusion().numpy(), seen.classes, out / "confusion.png", title="P3D")
    people = {name: len(manifest.split(name).groups) for name in ("train", "test")}
    sections = [
        Section(
            title="Does it see the order of time?",
            text=(
                f"Two networks were trained on the same {len(manifest.split('train').items)} "
                f"short films of {people['train']} drawn people and tested on {people['test']} "
                "others. The classes come in pairs that are the same frames in reverse order: "
                "sitting down and standing up, opening and closing. The 2-D twin looks at frames "
                "one by one and averages, so half right is the best it can do within a pair. P3D "
                "adds 3x1x1 convolutions over time."
            ),
            cards=[
                (f"{p3d.order_only:.1%}", "P3D on the order-only pairs"),
                (f"{twin.order_only:.1%}", "2-D twin on the same"),
                (f"{p3d.seconds + twin.seconds:.0f} s", "training time, both networks"),
            ],
            media=[Media(out / "pairs.png", "Right answers by pair; the dashed line is guessing.")],
        ),
        Section(
            title="A new, long video",
            text=(
                "Somebody not in the training set does one thing after another. The upper band is "
                "what was drawn, the lower one what the network says, in overlapping windows."
            ),
            media=[
                Media(out / "timeline.png", "Labels over time."),
                Media(out / "annotated.mp4", "The video with its label and probability."),
            ],
        ),
        Section(
            title="All classes",
            text=f"Protocol: {p3d.scores.describe()}.",
            tables=[
                Table(
                    ["", "order-only pairs", "all classes", "one clip", "trained in"],
                    [
                        [
                            title,
                            f"{r.order_only:.1%}",
                            f"{r.scores.hit(1):.1%}",
                            f"{r.scores.clip_hit1:.1%}",
                            f"{r.seconds:.0f} s",
                        ]
                        for title, r in results.items()
                    ],
                )
            ],
            media=[Media(out / "confusion.png", "What P3D took for what.")],
        ),
        Section(
            title="The same with your videos",
            text="A folder with one folder of videos per class is enough.",
            code=(
                "p3d train my_videos --out run\n"
                "p3d evaluate run/weights.safetensors run/manifest.csv --split test\n"
                "p3d predict run/weights.safetensors new.mp4 --timeline timeline.png"
            ),
        ),
    ]
    return Path(write_page(out / "report.html", "pseudo3d: what the demo found", sections))
