"""Several networks, one budget, several seeds: the paper's study (Table 1) on your own videos.

Qiu, Yao, Mei, ICCV 2017, section 4.2: blocks A, B and C alone, their mix, and the 2-D network they
come from, trained alike. The full 3-D network, which the pairs stand for, is beside them.
"""

import csv
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.cache import FrameStore
from pseudo3d.engine.evaluate import Protocol, evaluate
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.engine.training.train import WEIGHTS, train
from pseudo3d.engine.training.trainer import LAST
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import Network, create_model, list_models
from pseudo3d.models.registry import default_config
from pseudo3d.report.files import save_bytes
from pseudo3d.weights import load

PLAN, TRIALS, _SECONDS = "study.json", "trials.csv", "seconds.txt"
_PROBE = 8  # steps of a training that is only timed; the first ones, which warm up, do not count
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network of a study."""

    title: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)  # fields of its config

    @property
    def slug(self) -> str:
        """Its title as a file name."""
        return "".join(c if c.isalnum() else "-" for c in self.title)


def block_study(model: str) -> tuple[Variant, ...]:
    """The variants of the paper's Table 1, and the full 3-D network.

    Raises:
        Pseudo3dError: not a P3D network with a 2-D twin.
    """
    twin = model.replace("p3d", "resnet")
    if not hasattr(default_config(model), "mixes") or twin not in list_models():
        raise Pseudo3dError(
            f"{model!r} has no blocks A, B, C and 2-D twin to compare; name networks with "
            "--models, or take one of p3d_nano, p3d_tiny, p3d18, p3d34, p3d50, p3d101, p3d152"
        )
    pure = [
        Variant(title=f"{model} {letter}", model=model, options={"mixes": (letter,)})
        for letter in "ABC"
    ]
    return (
        Variant(title=f"{twin} (2-D)", model=twin),
        *pure,
        Variant(title=f"{model} mixed", model=model, options={"mixes": ("A", "B", "C")}),
        Variant(title=f"{model} full 3-D", model=model, options={"mixes": ("full",)}),
    )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of one network, and what it scored on the part held out."""

    title: str
    seed: int
    steps: int
    train_seconds: float
    videos: int
    video_hit1: float
    clip_hit1: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared, on what, under which budget.

    Args:
        seconds: of training each; the recipe's steps become what a network does in that time, by
            the processor time of a few steps, which other programs do not change. None trains all
            networks for the recipe's steps.
        views: clips per video, averaged.
    """

    variants: tuple[Variant, ...]
    recipe: Recipe
    seeds: tuple[int, ...]
    parts: Parts
    out: Path
    seconds: float | None = None
    views: int = 5

    def __post_init__(self) -> None:
        if self.parts.held is None:
            raise Pseudo3dError(
                "nothing is held out to compare on; give a test split or --hold-out"
            )
        titles = [v.title for v in self.variants]
        if len(set(titles)) < len(titles) or not titles or not self.seeds:
            raise ValueError(
                f"variants {titles}, seeds {self.seeds}; wanted one or more, all other"
            )

    def plan(self) -> dict[str, Any]:
        """What decides the figures, as plain values."""
        counted = {"train": self.parts.train, "test": self.parts.held}
        plan = {
            "variants": [asdict(v) for v in self.variants],
            "recipe": asdict(self.recipe),
            "seconds": self.seconds,
            "views": self.views,
            "videos": {name: len(part.items) for name, part in counted.items() if part},
            "groups": {name: list(part.groups) for name, part in counted.items() if part},
        }
        return json.loads(json.dumps(plan))

    def network(self, variant: Variant, seed: int) -> Network:
        """A fresh network for the recipe's input and the classes."""
        given = self.recipe.input
        channels = (1 if given.get("color") == "gray" else 3) * (
            2 if given.get("difference") else 1
        )
        torch.manual_seed(seed)
        classes = len(self.parts.train.classes)
        return create_model(
            variant.model, **{"num_classes": classes, "in_channels": channels, **variant.options}
        )


def run_study(
    study: Study, store: FrameStore, *, tell: Tell, bar: Callable[[str], Callback] | None = None
) -> list[Trial]:
    """Train and score every network with every seed; what OUT holds already is not done again.

    All networks have had a seed before the next seed begins, so that a study that is cut short is
    still a fair one.

    Args:
        store: frames of the training and the held-out part.
        bar: makes the progress of one training from its title.
    Raises:
        Pseudo3dError: OUT holds another study.
    """
    trials = _begin(study)
    done = {(t.title, t.seed) for t in trials}
    budgets: dict[str, Recipe] = {}
    todo = [
        (seed, v) for seed in study.seeds for v in study.variants if (v.title, seed) not in done
    ]
    for number, (seed, variant) in enumerate(todo, start=1):
        what = f"{variant.title}, seed {seed} ({number} of {len(todo)})"
        if variant.title not in budgets:
            budgets[variant.title] = _budget(study, variant, store, tell)
        bars = [bar(what)] if bar is not None else []
        trial = _trial(study, variant, seed, store, budgets[variant.title], bars)
        tell(f"{what}: {trial.video_hit1:.1%}, trained in {trial.train_seconds:.0f} s")
        trials.append(trial)
        _write(study.out / TRIALS, trials)
    return trials


def weights_of(study: Study, variant: Variant, seed: int) -> Path:
    """Where the weights of a trial are."""
    return study.out / f"{variant.slug}-{seed}" / WEIGHTS


def _begin(study: Study) -> list[Trial]:
    """The trials that are done; the first time, the plan is written down."""
    note, plan = study.out / PLAN, study.plan()
    if not note.exists():
        save_bytes(note, json.dumps(plan, indent=2).encode())
        return []
    before = json.loads(note.read_text())
    known = {v["title"]: v for v in before["variants"]}
    added = [v for v in plan["variants"] if v["title"] not in known]
    differ = [key for key in plan if key != "variants" and plan[key] != before.get(key)]
    differ += [
        v["title"] for v in plan["variants"] if v["title"] in known and v != known[v["title"]]
    ]
    if differ:
        raise Pseudo3dError(
            f"{study.out} holds a study with another {', '.join(differ)}; give another --out"
        )
    if added:  # more networks under the same budget belong to the same study
        before["variants"] += added
        save_bytes(note, json.dumps(before, indent=2).encode())
    return read_trials(study.out)


def read_trials(out: Path) -> list[Trial]:
    """The rows of a study's folder."""
    path = out / TRIALS
    if not path.exists():
        return []
    kinds = {"title": str, "seed": int, "steps": int, "videos": int}
    with path.open(newline="") as file:
        return [
            Trial(**{key: kinds.get(key, float)(value) for key, value in row.items()})
            for row in csv.DictReader(file)
        ]


def _write(path: Path, trials: Sequence[Trial]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(trials[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(trial) for trial in trials)
    save_bytes(path, text.getvalue().encode())


def _trial(
    study: Study,
    variant: Variant,
    seed: int,
    store: FrameStore,
    recipe: Recipe,
    bars: list[Callback],
) -> Trial:
    """Train, unless an interrupted run has got that far, and score."""
    out = weights_of(study, variant, seed).parent
    clock = _Clock()
    if not (out / WEIGHTS).exists():
        job = Job(recipe=recipe, out=out, seed=seed, resume=(out / LAST).exists())
        train(study.network(variant, seed), study.parts, store, job, [*bars, clock])
        if not job.resume:  # else it is the end of the time only
            save_bytes(out / _SECONDS, f"{clock.seconds:.2f}\n".encode())
    net = load(out / WEIGHTS)
    assert study.parts.held is not None  # noqa: S101 (a study has a held-out part)
    found = evaluate(net, study.parts.held, store, Protocol(views=study.views, split="test"))
    took = out / _SECONDS
    return Trial(
        title=variant.title,
        seed=seed,
        steps=net.card.training["steps"],
        train_seconds=float(took.read_text()) if took.exists() else float("nan"),
        videos=len(found.paths),
        video_hit1=round(found.hit(1), 6),
        clip_hit1=round(found.clip_hit1, 6),
    )


class _Clock(Callback):
    """How long a training takes, and how much processor time per thread each of its steps."""

    def __init__(self) -> None:
        self.began = self.ended = self.mark = 0.0
        self.steps: list[float] = []

    @property
    def seconds(self) -> float:
        """From the first step to the last."""
        return self.ended - self.began

    def on_train_start(self, *args: Any) -> None:
        self.began = self.ended = time.perf_counter()
        self.mark = time.process_time()

    def on_train_batch_end(self, *args: Any) -> None:
        self.ended, now = time.perf_counter(), time.process_time()
        self.steps.append((now - self.mark) / torch.get_num_threads())
        self.mark = now


def _budget(study: Study, variant: Variant, store: FrameStore, tell: Tell) -> Recipe:
    """The recipe; where time is given, with the steps that a network does in that time."""
    if study.seconds is None:
        return study.recipe
    folder = study.out / f"{variant.slug}-timed"
    note = folder / "step_seconds.txt"
    if not note.exists():
        clock = _Clock()
        probe = replace(study.recipe, steps=_PROBE)
        job = Job(recipe=probe, out=folder / uuid4().hex)
        train(study.network(variant, 0), replace(study.parts, val=None), store, job, [clock])
        save_bytes(note, f"{statistics.median(clock.steps[_PROBE // 2 :]):.5f}\n".encode())
    step = float(note.read_text())
    steps = max(1, round(study.seconds / step))
    tell(f"{variant.title}: {1e3 * step:.0f} ms a step, so {steps} steps")
    return replace(study.recipe, steps=steps)
