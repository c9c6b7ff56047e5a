"""Measure the stages of a job on this machine, with as many processes at work as the job has.

Cores that share caches and memory are slower together than one alone, so what counts is a core
among busy ones. Seconds are of the processor, not of the clock: other programs do not count.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pseudo3d.bench.scale.costs import Costs
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipDataset, ClipSpec, Draw, view_clips
from pseudo3d.data.manifest import Item, read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import Augment, augment
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network
from pseudo3d.models.registry import create_model
from pseudo3d.recycle.files import write_file
from pseudo3d.runtime.lower import optimize
from pseudo3d.weights import load

LEAST = 3  # rounds
MOST = 64  # videos of the sample that are looked at
_PATIENCE = 600.0  # s for all processes to get ready
_SAVES = 3
Clock = Literal["processor", "wall"]  # the second one is slower beside other programs
Times = dict[str, list[float]]  # stage -> s of every call


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What to measure; plain values, since it travels to other processes."""

    task: Literal["predict", "train"]
    videos: tuple[str, ...]
    model: str  # a name, or weights
    options: dict[str, Any] = field(default_factory=dict)  # of a network by name
    precision: Literal["fp32", "bf16"] = "fp32"
    frames: int = 16  # these three as the weights say, where they do
    resize: int = 182
    size: int = 160
    clips: int = 5  # of a video; training: of a process at each step
    processes: int = 1
    seconds: float = 20.0  # for the rounds, of the clock


def sample(data: str | Path) -> tuple[str, ...]:
    """Files of a manifest or folder, taken evenly from it.

    Raises:
        ManifestError: there are none.
    """
    paths = dict.fromkeys(str(item.path) for item in read_manifest(data).items)
    return tuple(paths)[:: -(-len(paths) // MOST)]


def measure(trial: Trial) -> Costs:
    """Measure in all processes at the same time.

    Raises:
        Pseudo3dError: a process could not; says why.
    """
    return costs_of(trial, collect(trial))


def collect(trial: Trial) -> list[Times]:
    """The times of every process.

    Raises:
        Pseudo3dError: a process could not; says why.
    """
    context = get_context("spawn")  # decoders and thread pools do not survive a fork
    together = context.Barrier(trial.processes)
    children, channels, found = [], [], list[Times]()
    with tempfile.TemporaryDirectory() as folder:
        try:
            for _ in range(trial.processes):
                ours, theirs = context.Pipe(duplex=False)
                work = (trial, Path(folder), together, theirs)
                child = context.Process(target=_work, args=work, daemon=True)
                child.start()
                children.append(child)
                theirs.close()
                channels.append(ours)
            while len(found) < trial.processes:
                for channel in wait(channels):
                    found.append(_answer(channel))
                    channels.remove(channel)  # type: ignore[arg-type]  # it is one of them
        finally:
            for child in children:
                child.terminate()
                child.join()
    return found


def _answer(channel: Any) -> Times:
    try:
        found = channel.recv()
    except EOFError:
        found = "a process died"
    if isinstance(found, str):
        raise Pseudo3dError(f"the stages could not be measured: {found}")
    return found


def _work(trial: Trial, folder: Path, together: Any, channel: Any) -> None:
    """In a process of its own: get ready, wait for the others, measure, answer."""
    try:
        torch.set_num_threads(1)
        stages = Predicting(trial) if trial.task == "predict" else Training(trial, folder)
        stages.round(0)
        stages.times.clear()
        stages.times["start"] = [time.process_time()]
        together.wait(_PATIENCE)
        began, done = time.monotonic(), 0
        while done < LEAST or time.monotonic() - began < trial.seconds:
            done += 1
            stages.round(done)
        channel.send(stages.times)
    except Exception as err:  # whatever it is, the user shall read it
        channel.send(f"{type(err).__name__}: {err}")


def costs_of(trial: Trial, found: list[Times], clock: Clock = "processor") -> Costs:
    """Means over all processes; spreads are those of single items."""
    names = [name for name in found[0] if not name.startswith("wall ")]
    chosen = {name: f"wall {name}" if clock == "wall" else name for name in names}
    pooled = {
        name: [t for times in found for t in times.get(key, times[name])]
        for name, key in chosen.items()
    }
    mean = {name: fmean(times) for name, times in pooled.items()}
    per = trial.clips if trial.task == "train" else 1  # items of a timed call of the network
    spread = {name: pstdev(pooled[name]) / mean[name] for name in ("decode", "network")}
    return Costs(
        network=mean["network"] / per,
        decode=mean["decode"],
        size=fmean(Path(path).stat().st_size for path in trial.videos),
        block=mean.get("update", 0.0),
        start=median(pooled["start"]),
        gradient=mean.get("gradient", 0.0),
        save=mean.get("save", 0.0),
        decode_spread=spread["decode"],
        network_spread=spread["network"] * math.sqrt(per),  # of a sum it is smaller
    )


class _Stages:
    """The network and the sample, and what every stage took."""

    def __init__(self, trial: Trial, spec: dict[str, Any]) -> None:
        self.trial, self.times = trial, Times()
        self.net, self.pre = _network(trial)
        self.spec = ClipSpec(preprocessing=self.pre, canvas=self.pre.size, **spec)
        self.items = [Item(path=Path(path), label="") for path in trial.videos]

    def item(self, number: int) -> tuple[Item, FrameStore]:
        """One after the other; nothing of a file is known from before, as in a long list."""
        store = FrameStore(resize=self.pre.resize, gray=self.pre.color == "gray")
        return self.items[number % len(self.items)], store

    def timed(self, name: str, call: Callable[[], Any]) -> Any:
        """Run a stage and note its seconds, of the processor and of the clock."""
        began, wall = time.process_time(), time.monotonic()
        found = call()
        self.times.setdefault(name, []).append(time.process_time() - began)
        self.times.setdefault(f"wall {name}", []).append(time.monotonic() - wall)
        return found


class Predicting(_Stages):
    """Decode the views of a video and recognize them."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial, {"views": trial.clips})
        self.run = optimize(self.net.eval(), precision=trial.precision)

    def round(self, number: int) -> None:
        """One video."""
        item, store = self.item(number)
        views = self.timed("decode", lambda: torch.stack(view_clips(store.read(item), self.spec)))
        self.timed("network", lambda: self._look(views))

    def _look(self, views: Tensor) -> Tensor:
        """Clip by clip, as a job does: a batch of few brings nothing on a processor."""
        return torch.cat([self.run(self.pre.normalize(view[None])).softmax(1) for view in views])


class Training(_Stages):
    """Decode random clips and learn from them."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        super().__init__(trial, {"random": True, "random_crop": True})
        self.folder = folder
        self.net.train()
        self.net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-4, momentum=0.9)
        self.labels = torch.arange(trial.clips) % self.net.cfg.num_classes

    def round(self, number: int) -> None:
        """One step."""
        count = self.trial.clips
        draws = range(number * count, (number + 1) * count)
        clips = [self.timed("decode", partial(self._clip, draw)) for draw in draws]
        self.timed("network", lambda: self._learn(torch.stack(clips), number))
        self.timed("update", self._update)
        if number <= _SAVES:
            self._save()

    def _clip(self, number: int) -> Tensor:
        item, store = self.item(number)
        return ClipDataset([item], [0], store, self.spec)[Draw(0, number)][0]

    def _learn(self, clips: Tensor, number: int) -> None:
        rng = torch.Generator().manual_seed(number)
        clips, _ = augment(clips.float(), self.pre.size, Augment(flip=True), rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.trial.precision == "bf16"):
            logits = self.net(self.pre.normalize(clips))
        loss = F.cross_entropy(logits.float(), self.labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _save(self) -> None:
        """A state to resume from; it waits for the disk, so here the clock counts."""
        began, content = time.monotonic(), BytesIO()
        torch.save([self.net.state_dict(), self.optimizer.state_dict()], content)
        write_file(self.folder / "state", content.getvalue())
        self.times.setdefault("save", []).append(time.monotonic() - began)
        weights = sum(p.numel() * p.element_size() for p in self.net.parameters())
        self.times["gradient"] = [float(weights)]


def _network(trial: Trial) -> tuple[Network, Preprocessing]:
    """The network with its own preprocessing, or the trial's."""
    net = load(Path(trial.model)) if Path(trial.model).suffix else None
    if net is not None and net.card is not None and net.card.preprocessing is not None:
        return net, net.card.preprocessing
    pre = Preprocessing(
        frames=trial.frames,
        resize=trial.resize,
        size=(trial.size, trial.size),
        mean=(0.45,) * 3,
        std=(0.225,) * 3,
    )
    return net or create_model(trial.model, **trial.options), pre
